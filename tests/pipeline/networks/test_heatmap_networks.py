"""HRNet and ResNet with deconvolutions: their outputs equal MMPose's, and they can be trained."""

import pytest
import torch

from pipeline.networks.hrnet import HRNet
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

NETWORKS = {"hrnet": lambda keypoints: HRNet(8, keypoints), "resnet": lambda keypoints: PoseResNet(50, keypoints)}


@pytest.mark.parametrize("arch", ["hrnet-w32", "resnet-50"])
def test_it_is_mmposes_network(arch):
    network, numbers = golden_network(arch), golden(arch)
    assert names_and_shapes(network) == numbers.names
    assert parameters(network) == numbers.parameters
    with torch.inference_mode():
        output = network(golden_batch(*numbers.input))
    assert max(differences(arch, [output.numpy()])) < TOLERANCE


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("height", "width", "keypoints"), [(64, 96, 5), (32, 32, 1)])
def test_maps_are_a_quarter_of_the_input(network, height, width, keypoints):
    with torch.inference_mode():
        maps = network(keypoints).eval()(torch.zeros(2, 3, height, width))
    assert maps.shape == (2, keypoints, height // 4, width // 4)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_every_parameter_is_trained(network):
    torch.manual_seed(0)
    trained = network(3)
    trained(torch.randn(4, 3, 64, 64)).square().sum().backward()
    assert [name for name, p in trained.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
