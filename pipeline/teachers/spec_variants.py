"""Variants of a teacher's spec: the mistakes in a spec that give wrong poses without any error."""

from dataclasses import dataclass, replace

from pipeline.pose.options import Kind
from pipeline.pose.spec import IMAGENET_MEAN, IMAGENET_STD, NetworkSpec

PADDINGS = (1.0, 1.25, 1.5)


@dataclass(frozen=True)
class SpecVariant:
    """A spec that differs from the declared one in one value."""

    change: str
    """The difference, in the words of params.yaml."""
    spec: NetworkSpec
    decisive: bool
    """Whether the declared spec is wrong if this one scores clearly higher. Padding, affine convention and decoding are not: networks
    trained with one often do better with another. Neither is the kind of a map: it changes how its peak is refined, so a wrong kind can do
    better; there the confidence shows the mistake."""
    remedy: str = "set this in params.yaml"
    """What to do if this spec is the right one."""


def spec_variants(spec: NetworkSpec) -> list[SpecVariant]:
    """Return variants in colour order, scale of mean and std, kind of map, left and right, padding, affine convention and decoding."""
    color = "bgr" if spec.color == "rgb" else "rgb"
    variants = [SpecVariant(f"color {color}", replace(spec, color=color), True)]  # type: ignore[arg-type]
    statistics = {
        "pixels 0-1 (mean and std times 255)": (_times(spec.mean, 255), _times(spec.std, 255)),
        "pixels 0-255 (mean and std over 255)": (_times(spec.mean, 1 / 255), _times(spec.std, 1 / 255)),
        "mean and std of ImageNet": (IMAGENET_MEAN, IMAGENET_STD),
        "mean 0 and std 255": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    }
    tried = {_rounded(spec.mean, spec.std)}
    for change, (mean, std) in statistics.items():
        if _rounded(mean, std) not in tried:
            tried.add(_rounded(mean, std))
            variants.append(SpecVariant(change, replace(spec, mean=mean, std=std), True))
    if spec.kind != "simcc":
        kind: Kind = "heatmap" if spec.kind == "heatmap_logits" else "heatmap_logits"
        variants.append(SpecVariant(f"kind {kind}", replace(spec, kind=kind), False))
    skeleton = spec.skeleton
    names = tuple(skeleton.flipped(keypoint) for keypoint in skeleton.keypoints)
    swapped = replace(skeleton, name=f"{skeleton.name}, left and right swapped", keypoints=names, own_sigmas=())
    order = f"export it again with its outputs in the order of {skeleton.name}"
    variants.append(SpecVariant("left and right keypoints swapped", replace(spec, skeleton=swapped), True, order))
    variants += [SpecVariant(f"padding {p}", replace(spec, padding=p), False) for p in PADDINGS if p != spec.padding]
    affine = "udp" if spec.affine == "classic" else "classic"
    variants.append(SpecVariant(f"affine {affine}", replace(spec, affine=affine), False))  # type: ignore[arg-type]
    if spec.kind == "heatmap" and spec.affine == "classic":
        decode = "dark" if spec.decode == "standard" else "standard"
        variants.append(SpecVariant(f"decode {decode}", replace(spec, decode=decode), False))  # type: ignore[arg-type]
    return variants


def _times(values: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    first, second, third = values
    return first * factor, second * factor, third * factor


def _rounded(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in (*mean, *std))
