"""The choices that settings offer, by their names in params.yaml. The code behind them is elsewhere, so that settings import no network."""

from dataclasses import dataclass
from typing import Literal

Device = Literal["auto", "cuda", "cpu"]
"""Where networks run; `auto` is CUDA where it works, else the CPU."""

Kind = Literal["heatmap", "heatmap_logits", "simcc"]
"""The kind of a network's output, see pipeline.pose.spec."""

TeacherPrecision = Literal["float32", "float16"]
"""The number type that a teacher computes in; `float16` converts a float32 file when it is opened."""

TrainingPrecision = Literal["auto", "float32", "bfloat16", "float16"]
"""The number type of the forward pass in training; `auto` is bfloat16 where the hardware has it."""

ScoreKind = Literal["ap", "pckh", "pck", "none"]
"""The metric of a dataset: `ap`, OKS average precision; `pckh`, PCKh@0.5; `pck`, PCK@0.2 of the torso; `none` if it has boxes only."""

Network = Literal["pyramid", "efficientnet-lite0", "rtmpose-t", "rtmpose-s", "rtmpose-m"]
"""The small heatmap network (pipeline.networks.pyramid), one that starts from ImageNet (pipeline.networks.efficientnet), or a published
one that fits small machines (pipeline.networks.rtmpose)."""

LITE_MEAN, LITE_STD = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)
"""Mean and standard deviation per channel, on 0-255, that EfficientNet-Lite was trained with (google/tpu, efficientnet_lite_builder.py)."""

Schedule = Literal["one-cycle", "flat-cosine"]
"""How the learning rate changes over a training, see pipeline.training.optimizer."""

Weighting = Literal["fixed", "confidence", "adaptive"]
"""How the teachers' total weight is distributed: `fixed` by `terms`, or per person and keypoint by pipeline.training.teacher_weights."""

Logger = Literal["tensorboard", "wandb", "mlflow"]
"""Where a training's metrics are logged to besides DVCLive, see stages.training.loggers."""

Preset = Literal["paper", "reference-code", "reference-balance"]
"""Published weights of labels and teachers, see pipeline.training.loss_presets."""

WIDEST, DEEPEST = 1024, 32
"""Largest width and depth of a pyramid, as a file of a few bytes can ask for any size."""


@dataclass(frozen=True)
class NetworkSettings:
    """The student's network, and the size of the pyramid, whose name does not imply one."""

    network: Network = "pyramid"
    width: int = 32
    depth: int = 1
    """Width and depth of the pyramid, width of the head of `efficientnet-lite0`; published networks ignore both."""

    @property
    def output_kind(self) -> Kind:
        """The kind of output that the network has."""
        return "simcc" if self.network.startswith("rtmpose-") else "heatmap_logits"
