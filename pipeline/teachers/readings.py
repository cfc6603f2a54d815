"""Other ways to read a teacher's file than its spec says: the mistakes that give wrong poses without any error."""

from dataclasses import dataclass, replace

from pipeline.skeletons import Skeleton, mirrored
from pipeline.spec import IMAGENET_MEAN, IMAGENET_STD, Kind, NetworkSpec

PADDINGS = (1.0, 1.25, 1.5)


@dataclass(frozen=True)
class Reading:
    """A spec that differs from the declared one in one thing."""

    what: str
    """The change, in the words of params.yaml."""
    spec: NetworkSpec
    decisive: bool
    """Is the declared spec wrong where this one scores clearly higher? Padding and affine convention are matters of degree: networks
    trained with one often do better with another. The kind of a map changes how its peak is refined, so a wrong one can do better;
    what gives it away is the confidence."""
    remedy: str = "say so in params.yaml"


def other_readings(spec: NetworkSpec) -> list[Reading]:
    """Colour order, scale of mean and std, what a map's values are, left and right, padding, affine convention."""
    color = "bgr" if spec.color == "rgb" else "rgb"
    readings = [Reading(f"color {color}", replace(spec, color=color), True)]  # type: ignore[arg-type]
    statistics = {
        "pixels 0-1 (mean and std times 255)": (_times(spec.mean, 255), _times(spec.std, 255)),
        "pixels 0-255 (mean and std over 255)": (_times(spec.mean, 1 / 255), _times(spec.std, 1 / 255)),
        "mean and std of ImageNet": (IMAGENET_MEAN, IMAGENET_STD),
        "mean 0 and std 255": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    }
    tried = {_rounded(spec.mean, spec.std)}
    for what, (mean, std) in statistics.items():
        if _rounded(mean, std) not in tried:
            tried.add(_rounded(mean, std))
            readings.append(Reading(what, replace(spec, mean=mean, std=std), True))
    if spec.kind != "simcc":
        kind: Kind = "heatmap" if spec.kind == "heatmap_logits" else "heatmap_logits"
        readings.append(Reading(f"kind {kind}", replace(spec, kind=kind), False))
    swapped = Skeleton(f"{spec.skeleton.name}, left and right swapped", tuple(map(mirrored, spec.skeleton.keypoints)))
    order = f"export it again with its outputs in the order of {spec.skeleton.name}"
    readings.append(Reading("left and right keypoints swapped", replace(spec, skeleton=swapped), True, order))
    readings += [Reading(f"padding {p}", replace(spec, padding=p), False) for p in PADDINGS if p != spec.padding]
    affine = "udp" if spec.affine == "classic" else "classic"
    readings.append(Reading(f"affine {affine}", replace(spec, affine=affine), False))  # type: ignore[arg-type]
    return readings


def _times(values: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    first, second, third = values
    return first * factor, second * factor, third * factor


def _rounded(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in (*mean, *std))
