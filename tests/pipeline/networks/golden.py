"""MMPose's own numbers: golden.json has, per network, MMPose 1.3.2's names and shapes (as a hash), parameters and some outputs.

The weights behind them are drawn by name, so that two implementations can have the same ones without a file of 100 MB.
"""

import hashlib
import json
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.networks.architectures import build_architecture

TOLERANCE = 1e-4
"""Of the largest value: float32 sums in another order through at most some 300 layers (seen: 1e-6). The smallest mistake tried,
batch norms with an epsilon of 1e-3, is 4e-4 off; a pooling in another order 1e-2, a shortcut too many 1e-1."""


@dataclass(frozen=True)
class Golden:
    """The outputs of MMPose's network: for each (x and y, or heatmaps) its `values` at the flat indices `at`."""

    keypoints: int
    input: tuple[int, int]
    gain: float
    parameters: int
    names: str
    outputs: list[dict]


@cache
def golden(name: str) -> Golden:
    return Golden(**json.loads((Path(__file__).parent / "golden.json").read_text())[name])


def filled(weights: dict[str, torch.Tensor], gain: float) -> dict[str, torch.Tensor]:
    """Draw weights of the same names and shapes, each from a generator seeded with the CRC-32 of its name.

    Matrices and kernels: normal with variance gain / fan-in. Variances: uniform from 0.75 to 1.25. Other scales: around 1 by 0.1.
    All else, biases and means: around 0 by 0.05.
    """
    return {name: _drawn(name, value, gain) for name, value in weights.items()}


def _drawn(name: str, value: torch.Tensor, gain: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros_like(value)
    if last == "running_var":
        return 0.75 + 0.5 * torch.rand(value.shape, generator=generator)
    normal = torch.randn(value.shape, generator=generator)
    if last == "running_mean":
        return 0.05 * normal
    if value.ndim > 1:
        return normal * (gain / value[0].numel()) ** 0.5
    return 1 + 0.1 * normal if last in ("weight", "g", "scale") else 0.05 * normal


def golden_network(name: str) -> nn.Module:
    """Return the project's network with the golden weights, in evaluation mode."""
    numbers = golden(name)
    network = build_architecture(name, numbers.keypoints, (numbers.input[1], numbers.input[0]))
    network.load_state_dict(filled(network.state_dict(), numbers.gain))
    return network.eval()


def golden_batch(height: int, width: int) -> torch.Tensor:
    """Return the two inputs (2, 3, H, W) that the outputs belong to."""
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(7))


def names_and_shapes(network: nn.Module) -> str:
    """Return the sha256 over the sorted lines `name 64x3x7x7`."""
    lines = (f"{name} {'x'.join(map(str, value.shape))}\n" for name, value in sorted(network.state_dict().items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def differences(name: str, outputs: list[np.ndarray]) -> list[float]:
    """Return for each output the largest difference from MMPose's values relative to its largest value; assert the shapes."""
    expected = golden(name).outputs
    assert [list(output.shape) for output in outputs] == [each["shape"] for each in expected]
    return [
        float(np.abs(output.ravel()[each["at"]] - np.array(each["values"])).max() / each["largest"])
        for output, each in zip(outputs, expected, strict=True)
    ]
