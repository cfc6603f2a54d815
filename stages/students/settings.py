"""The section `distill` of params.yaml, and what follows from it: the student's network and its spec."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt

from pipeline.pose.options import DEEPEST, LITE_MEAN, LITE_STD, WIDEST, Network, NetworkSettings, Preset, Weighting
from pipeline.pose.spec import IMAGENET_MEAN, IMAGENET_STD, NetworkSpec, parse_spec
from stages.project.project import Project
from stages.project.students import StudentConfig
from stages.students.training_settings import TrainingSettings


@dataclass(frozen=True)
class DistillSettings:
    """The settings of students; a student may change any of them under its own `distill`."""

    network: Network = "pyramid"
    """The network, see pipeline.networks.build; the paper's students are `rtmpose-*`, with input [256, 192]."""
    start: str | None = None
    """A published checkpoint that initialises the backbone (`rtmpose-*`, `efficientnet-lite0`, which needs one), or the folder of a
    trained student of the same network, keypoints and input; random weights without one."""
    width: Annotated[int, Ge(8), Le(WIDEST)] = 32
    depth: Annotated[int, Ge(1), Le(DEEPEST)] = 1
    """Width and depth of the pyramid, see pipeline.networks.pyramid."""
    input: tuple[int, int] = (128, 96)
    """Height and width of the student's crops, multiples of 32."""
    padding: Annotated[float, Ge(1), Le(2)] = 1.25
    """Factor from the size of a view to the size of its crop."""
    weights: Weighting = "fixed"
    """How the teachers' total weight is distributed: `fixed` as in `terms`, or per person and keypoint by
    pipeline.training.teacher_weights."""
    preset: Preset | None = None
    """Published weights of the labels and of the teachers `coco` and `mpii` instead of `terms`, see pipeline.training.loss_presets."""
    terms: dict[str, float] = field(default_factory=lambda: {"truth": 1.0})
    """Weight of the labels, `truth`, and of each teacher by name; Khan et al. 2024 take 0.3, 0.25 for COCO's and 0.45 for MPII's."""
    min_score: Annotated[float, Ge(0), Le(1)] = 0.2
    """Teacher keypoints with a lower score are not learned from."""
    temperature: Annotated[float, Ge(0.05)] = 1.0
    """Teacher maps are raised to 1 / temperature: below 1 sharpens them."""
    images: Literal["files", "crops"] = "files"
    """Source of the pixels of students that replay stored views: the dataset's image files, or the crops that stage `crops` wrote."""
    calibrate: bool = False
    """Whether the teachers' keypoints are corrected by their systematic offset from each dataset's labels, see
    pipeline.training.calibration."""
    seeds: list[Annotated[int, Ge(0), Lt(2**63)]] = field(default_factory=list)
    """Seeds that a student is trained with. The first gives the student that is exported and drawn, the others give its spread over
    trainings. By default the project's seed alone."""
    training: TrainingSettings = field(default_factory=TrainingSettings)


def settings_of(project: Project, name: str, student: StudentConfig) -> DistillSettings:
    """Return the settings of `distill` with the changes of a student."""
    settings = project.section("distill", DistillSettings, student.distill, f"students.{name}.distill")
    return dataclasses.replace(settings, training=settings.training.times(student.length))


def recipe(settings: DistillSettings) -> dict[str, Any]:
    """Return the settings that a student's weights depend on, besides its seed, as values of JSON: student.json keeps them."""
    values = {name: value for name, value in vars(settings).items() if name != "seeds"}
    return dict(json.loads(json.dumps(values | {"training": settings.training.affects_weights})))


def network_settings(settings: DistillSettings) -> NetworkSettings:
    """Return the student's network."""
    return NetworkSettings(settings.network, settings.width, settings.depth)


def student_spec(project: Project, settings: DistillSettings) -> NetworkSpec:
    """Return the spec of a student of these settings.

    Maps have the `udp` frame, in which first and last pixels of crop and map coincide. Bins have the `classic` frame that RTMPose
    is trained, exported and run with (bin = 2 x position in the crop). Its published backbones were trained on `udp` crops, which
    show the same region less than a pixel apart, a difference that does not matter to a backbone's features.
    """
    kind = network_settings(settings).output_kind
    lite = settings.network == "efficientnet-lite0"
    values: dict[str, object] = {
        "skeleton": "unified",
        "input": list(settings.input),
        "color": "rgb",
        "mean": list(LITE_MEAN if lite else IMAGENET_MEAN),
        "std": list(LITE_STD if lite else IMAGENET_STD),
        "padding": settings.padding,
        "affine": "classic" if kind == "simcc" else "udp",
        "kind": kind,
    }
    return parse_spec(values, "params.yaml: distill", project.skeleton)
