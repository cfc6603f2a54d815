"""How torch networks are run: their device, their precision, and a forward pass on crops for pipeline.inference.predict."""

import numpy as np
import torch
from torch import nn

from pipeline.common.errors import UserError
from pipeline.pose.flip_averaging import Forward, with_flip_averaging
from pipeline.pose.options import Device, TrainingPrecision
from pipeline.pose.spec import NetworkSpec


def torch_device(device: Device) -> torch.device:
    """Return the torch device of a setting; UserError for `cuda` where torch finds none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device cuda was asked for, torch finds none: install a CUDA build of torch, or use `--device cpu`"
        )
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def autocast_type(precision: TrainingPrecision, device: torch.device) -> torch.dtype | None:
    """Return the data type of a training's forward pass, None for float32; `auto` is bfloat16 where the hardware computes in it.

    UserError for float16 without a GPU, because torch scales gradients of float16 on GPUs only.
    """
    if precision == "float32":
        return None
    if precision == "float16":
        if device.type != "cuda":
            raise UserError("params.yaml: training.precision: float16 needs a GPU: use bfloat16, float32 or auto")
        return torch.float16
    supported = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bfloat16()
    return torch.bfloat16 if supported or precision == "bfloat16" else None


def _cpu_has_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def as_tuple(output: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return a network's output as a tuple: maps alone, or bins of x and of y."""
    return output if isinstance(output, tuple) else (output,)


def forward_of(network: nn.Module, spec: NetworkSpec) -> Forward:
    """Return a forward pass of the network, which must be in evaluation mode, on the device of its weights.

    It takes RGB crops uint8 (N, H, W, 3) and averages with the mirrored crops where the spec has `flip`.
    """
    device = next(network.parameters()).device

    def forward(crops: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.inference_mode():
            outputs = as_tuple(network(torch.from_numpy(spec.normalised(crops)).to(device)))
        return tuple(output.float().cpu().numpy() for output in outputs)

    return with_flip_averaging(forward, spec)
