import pytest
import torch

from pipeline.networks.resnet import PoseResNet
from tests.pipeline.networks.golden import (
    TOLERANCE,
    differences,
    golden,
    golden_batch,
    golden_network,
    names_and_shapes,
    parameters,
)


def test_it_is_mmposes_network():
    network, numbers = golden_network("resnet-50"), golden("resnet-50")
    assert names_and_shapes(network) == numbers.names
    assert parameters(network) == numbers.parameters
    with torch.inference_mode():
        output = network(golden_batch(*numbers.input))
    assert max(differences("resnet-50", [output.numpy()])) < TOLERANCE


@pytest.mark.parametrize(("height", "width", "keypoints"), [(64, 96, 5), (32, 32, 1)])
def test_maps_are_a_quarter_of_the_input(height, width, keypoints):
    network = PoseResNet(50, keypoints).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, height, width)).shape == (2, keypoints, height // 4, width // 4)


def test_every_parameter_is_trained():
    torch.manual_seed(0)
    network = PoseResNet(50, 3)
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
