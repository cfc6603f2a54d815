"""Running torch networks: the device and precision they get, and a forward pass on crops as pipeline.predict wants it."""

from typing import Literal

import numpy as np
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.flip import Forward, averaging
from pipeline.spec import NetworkSpec

Device = Literal["auto", "cuda", "cpu"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


def torch_device(device: Device) -> torch.device:
    """The device asked for; UserError for a CUDA that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device cuda was asked for, torch finds none: install a CUDA build of torch, or use `--device cpu`"
        )
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def autocast_type(precision: Precision, device: torch.device) -> torch.dtype | None:
    """What a training's forward pass computes in, None for plain float32; `auto` takes bfloat16 where the hardware has it.

    UserError for float16 without a GPU, whose gradients nobody would scale.
    """
    if precision == "float32":
        return None
    if precision == "float16":
        if device.type != "cuda":
            raise UserError("params.yaml: training.precision: float16 wants a GPU: use bfloat16, float32 or auto")
        return torch.float16
    has_it = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bfloat16()
    return torch.bfloat16 if has_it or precision == "bfloat16" else None


def _cpu_has_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def as_tuple(output: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """A network's output as all code here takes it: maps alone, or the bins of x and of y."""
    return output if isinstance(output, tuple) else (output,)


def forward_of(network: nn.Module, spec: NetworkSpec) -> Forward:
    """The network, in evaluation mode, on RGB crops uint8 (N, H, W, 3), where its weights are."""
    device = next(network.parameters()).device

    def forward(crops: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.inference_mode():
            outputs = as_tuple(network(torch.from_numpy(spec.normalised(crops)).to(device)))
        return tuple(output.float().cpu().numpy() for output in outputs)

    return averaging(forward, spec)
