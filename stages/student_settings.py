"""The settings of `distill`, and what follows from them: the student's network, its spec, the weights of its loss terms."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from pipeline.errors import UserError
from pipeline.networks.build import DEEPEST, WIDEST, Network, NetworkSettings, kind_of
from pipeline.presets import Preset, refuse_other_teachers, term_weights
from pipeline.spec import IMAGENET_MEAN, IMAGENET_STD, NetworkSpec, parse_spec
from pipeline.training.trainer import Weighting
from stages.datasets import unified
from stages.params import parse, refuse_unknown
from stages.students import Arm
from stages.teachers import listed_teachers


@dataclass(frozen=True)
class DistillSettings:
    network: Network = "pyramid"
    """See pipeline.networks.build; the paper's students are `rtmpose-*`, with input [256, 192]."""
    start: str | None = None
    """The published checkpoint that an `rtmpose-*` student's backbone starts from; drawn weights without one."""
    width: Annotated[int, Ge(8), Le(WIDEST)] = 32
    depth: Annotated[int, Ge(1), Le(DEEPEST)] = 1
    """Of the pyramid, see pipeline.networks.pyramid."""
    input: tuple[int, int] = (128, 96)
    """Height and width of the student's crops, multiples of 32."""
    padding: Annotated[float, Ge(1), Le(2)] = 1.25
    weights: Weighting = "fixed"
    """How the teachers' total is shared out: `fixed` as in `terms`, or by pipeline.weightings per person and keypoint."""
    preset: Preset | None = None
    """Published weights of truth and of the teachers `coco` and `mpii`, see pipeline.presets, instead of `terms`."""
    consistency: Annotated[float, Ge(0)] = 0.0
    """Weight of what keeps midpoints like the pelvis between their keypoints, see pipeline.losses."""
    terms: dict[str, float] = field(default_factory=lambda: {"truth": 1.0})
    """Weight of the labels and of each teacher by name; Khan et al. 2024 take 0.3, 0.25 for COCO's and 0.45 for MPII's."""
    score_floor: Annotated[float, Ge(0), Le(1)] = 0.2
    """Teacher keypoints of a lower score are not learned from."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Teacher maps are raised to 1 / temperature: below 1 sharpens them."""
    pictures: Literal["files", "crops"] = "files"
    """Where students that replay stored views see people: in the dataset's pictures, or in the crops that stage `crops` made."""
    calibrate: bool = False
    """Are the teachers' keypoints moved by their systematic offset from each dataset's labels, see pipeline.calibration."""
    training: dict[str, Any] = field(default_factory=dict)
    """TrainingSettings that differ from the defaults."""


def settings_of(params: dict[str, Any], name: str, arm: Arm) -> DistillSettings:
    """What `distill` says, and what the arm says otherwise."""
    common = params.get("distill") or {}
    if not isinstance(common, dict):
        raise UserError(f"params.yaml: distill: expected a mapping, found {common!r}")
    where = f"students.{name}.distill" if arm.distill else "distill"
    for part in (common.get("training", {}), arm.distill.get("training", {})):
        if not isinstance(part, dict):
            raise UserError(f"params.yaml: {where}.training: expected a mapping, found {part!r}")
    training = {**common.get("training", {}), **arm.distill.get("training", {})}
    return parse({**common, **arm.distill, "training": training}, where, DistillSettings)


def network_settings(chosen: DistillSettings) -> NetworkSettings:
    """The student's network."""
    return NetworkSettings(chosen.network, chosen.width, chosen.depth)


def student_spec(params: dict[str, Any], chosen: DistillSettings) -> NetworkSpec:
    """What every student of these parameters wants and says.

    Maps have the `udp` frame, in which first and last pixels of crop and map coincide. Bins have the `classic` one that RTMPose is
    trained, exported and run with (bin = 2 x position in the crop); its published starts were trained on `udp` crops, which show
    the same part of the picture less than a pixel apart: a backbone's features know no such difference.
    """
    kind = kind_of(network_settings(chosen))
    values: dict[str, object] = {
        "skeleton": "unified",
        "input": list(chosen.input),
        "color": "rgb",
        "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD),
        "padding": chosen.padding,
        "affine": "classic" if kind == "simcc" else "udp",
        "kind": kind,
    }
    return parse_spec(values, "params.yaml: distill", unified(params))


def weights_of(params: dict[str, Any], chosen: DistillSettings, arm: Arm) -> dict[str, float]:
    """Of the labels and of each of the arm's teachers, in the beginning; UserError where one is not given."""
    if chosen.preset is not None:
        refuse_other_teachers(chosen.preset, arm.teachers, "params.yaml: distill.preset")
        named = term_weights(chosen.preset, 0.0)
        return {term: named[term] for term in ("truth", *arm.teachers)}
    refuse_unknown(chosen.terms, ("truth", *listed_teachers(params)), "params.yaml: distill.terms")
    weights = {term: chosen.terms.get(term, math.nan) for term in ("truth", *arm.teachers)}
    for term, weight in weights.items():
        if not weight >= 0:
            raise UserError(
                f"params.yaml: distill.terms.{term}: expected a weight of at least 0, found {chosen.terms.get(term)}"
            )
    return weights
