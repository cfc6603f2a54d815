import math

import pytest
import torch

from pipeline.networks.rtmpose import RTMPose
from tests.pipeline.networks.golden import (
    TOLERANCE,
    differences,
    golden,
    golden_batch,
    golden_network,
    names_and_shapes,
    parameters,
)


@pytest.mark.parametrize("name", ["rtmpose-t", "rtmpose-s", "rtmpose-m"])
def test_it_is_mmposes_network(name):
    network, numbers = golden_network(name), golden(name)
    assert names_and_shapes(network) == numbers.names
    assert parameters(network) == numbers.parameters
    with torch.inference_mode():
        outputs = network(golden_batch(*numbers.input))
    assert max(differences(name, [output.numpy() for output in outputs])) < TOLERANCE


@pytest.mark.parametrize(("height", "width", "keypoints"), [(64, 96, 5), (32, 32, 1), (256, 256, 16)])
def test_two_bins_for_each_pixel_of_the_input(height, width, keypoints):
    network = RTMPose("t", keypoints, (width, height)).eval()
    with torch.inference_mode():
        x, y = network(torch.zeros(3, 3, height, width))
    assert (x.shape, y.shape) == ((3, keypoints, 2 * width), (3, keypoints, 2 * height))


def test_every_parameter_is_trained():
    torch.manual_seed(0)
    network = RTMPose("t", 3, (64, 64))
    x, y = network(torch.randn(4, 3, 64, 64))
    (x.square().sum() + y.square().sum()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_new_network_is_uniform_and_learns():
    # Four images are overfitted in 20 steps, from a uniform distribution over the 128 bins of each axis.
    torch.manual_seed(0)
    network = RTMPose("t", 1, (64, 64))
    crops, bins = torch.zeros(4, 3, 64, 64), torch.tensor([[20, 90], [90, 20], [20, 20], [90, 90]])
    for crop, (x, y) in zip(crops, bins // 2, strict=True):
        crop[:, y - 5 : y + 6, x - 5 : x + 6] = 3
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-4)
    losses = []
    for _ in range(20):
        scores = network(crops)
        loss = sum(torch.nn.functional.cross_entropy(10 * s[:, 0], bins[:, axis]) for axis, s in enumerate(scores))
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[0] == pytest.approx(2 * math.log(128), abs=0.2)
    assert losses[-1] < 0.1


def test_nothing_in_it_is_random():
    torch.manual_seed(0)
    network, crops = RTMPose("t", 2, (32, 32)), torch.randn(2, 3, 32, 32)
    first, second = network(crops), network(crops)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
