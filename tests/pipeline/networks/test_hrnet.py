import pytest
import torch

from pipeline.networks.hrnet import HRNet
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
    network, numbers = golden_network("hrnet-w32"), golden("hrnet-w32")
    assert names_and_shapes(network) == numbers.names
    assert parameters(network) == numbers.parameters
    with torch.inference_mode():
        output = network(golden_batch(*numbers.input))
    assert max(differences("hrnet-w32", [output.numpy()])) < TOLERANCE


@pytest.mark.parametrize(("height", "width", "keypoints"), [(64, 96, 5), (32, 32, 1)])
def test_maps_are_a_quarter_of_the_input(height, width, keypoints):
    network = HRNet(8, keypoints).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, height, width)).shape == (2, keypoints, height // 4, width // 4)


def test_every_parameter_is_trained():
    torch.manual_seed(0)
    network = HRNet(8, 3)
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
