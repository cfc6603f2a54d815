"""EfficientNet-Lite0: the published package's own features, and a student that learns all but what is fixed."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, relu6

from pipeline.export.onnx_export import export_onnx
from pipeline.networks.build import Student, build_network, load_student, save_student
from pipeline.networks.efficientnet import (
    FIXED_BATCH,
    FIXED_BLOCKS,
    STAGES,
    EfficientNetLite0,
    EfficientNetPose,
    _FixedDepthwise,
    _Relu6,
    published_names,
)
from pipeline.pose.options import LITE_MEAN, LITE_STD, NetworkSettings
from pipeline.pose.skeletons import Skeleton
from tests.pipeline.examples import SPEC
from tests.pipeline.networks.golden import TOLERANCE, filled

FEATURES = (
    ([2, 24, 16, 24], 12.6839, {2712: 0.40676, 1155: 0.469, 17864: 0.22758, 1301: 0.51135}),
    ([2, 40, 8, 12], 18.2735, {5784: 0.92342, 7299: -8.52602, 4040: 0.91427, 7445: -8.53601}),
    ([2, 112, 4, 6], 18.8941, {2712: 1.92288, 4995: 2.08862, 4040: 10.63757, 3605: 6.85857}),
    ([2, 320, 2, 3], 10.1688, {1944: -0.09432, 3459: 0.14298, 200: -1.43607, 3605: -2.62617}),
)
"""efficientnet_lite_pytorch 0.1.0 with the golden weights of its own names and gain 2: shape, largest, values at flat indices."""


def published():
    """Weights of the published file's names and shapes."""
    named = {_theirs(name): value for name, value in EfficientNetLite0().state_dict().items()}
    return filled({**named, "_conv_head.weight": torch.zeros(1280, 320, 1, 1), "_fc.bias": torch.zeros(1000)}, 2.0)


def _theirs(name):
    parts = name.split(".")
    return ".".join([part if part.isdigit() else f"_{part}" for part in parts[:-1]] + parts[-1:])


def test_it_is_the_published_network():
    backbone = EfficientNetLite0().eval()
    backbone.load_state_dict(published_names(published()))
    with torch.inference_mode():
        features = backbone(torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(7)))
    for found, (shape, largest, values) in zip(features, FEATURES, strict=True):
        assert list(found.shape) == shape
        assert (found.flatten()[list(values)] - torch.tensor(list(values.values()))).abs().max() / largest < TOLERANCE


@pytest.mark.parametrize(("height", "width", "keypoints"), [(64, 96, 5), (32, 32, 1)])
def test_maps_are_a_quarter_of_the_input(height, width, keypoints):
    network = EfficientNetPose(keypoints, 16)
    crops = torch.zeros(2, 3, height, width)
    assert network.features(crops).shape == (2, network.channels, height // 4, width // 4)
    assert network(crops).shape == (2, keypoints, height // 4, width // 4)


def test_all_but_the_first_blocks_and_depthwise_kernels_learn():
    torch.manual_seed(0)
    network = EfficientNetPose(3, 16)
    network.backbone.load_state_dict(published_names(published()))
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    still = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    blocks = range(sum(stage[0] for stage in STAGES))
    first = tuple(f"backbone.{part}." for part in ("conv_stem", "bn0", *(f"blocks.{n}" for n in range(FIXED_BLOCKS))))
    assert {name for name in still if not name.startswith(first)} == {
        f"backbone.blocks.{n}.{of}.weight" for n in blocks[FIXED_BLOCKS:] for of in ("depthwise_conv", "bn1")
    }
    assert {name for name, _ in network.named_parameters() if name.startswith(first)} <= still


def test_a_training_leaves_the_published_statistics():
    network = EfficientNetPose(3, 16).train()
    before = network.backbone.bn0.running_mean.clone()
    network(torch.randn(4, 3, 64, 64))
    assert torch.equal(network.backbone.bn0.running_mean, before)


@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(3, 1, (6, 8)), (5, 1, (7, 4)), (4, 2, (10, 14)), (6, 2, (12, 8))]
)
def test_a_fixed_depthwise_convolution_has_torchs_gradient(kernel, stride, size):
    """Strided kernels are of even size, as `_normed` makes them."""
    torch.manual_seed(0)
    x = torch.randn(2, 4, *size, dtype=torch.double, requires_grad=True)
    weight, bias = (
        torch.randn(4, 1, kernel, kernel, dtype=torch.double),
        torch.zeros(4, dtype=torch.double, requires_grad=True),
    )
    around = (kernel - 1) // 2 + (stride - 1)
    theirs = conv2d(x, weight, bias, stride, around, 1, 4)
    ours = _FixedDepthwise.apply(x, weight, bias, around, stride)
    gradient = torch.randn_like(ours)
    assert torch.allclose(ours, theirs)
    for one, other in zip(*(torch.autograd.grad(y, (x, bias), gradient) for y in (ours, theirs)), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_relu6_in_place_has_torchs_gradient():
    x = torch.linspace(-3, 9, 25, requires_grad=True)
    gradient = torch.randn(25)
    ours, theirs = _Relu6.apply(2 * x), relu6(2 * x)
    assert torch.equal(ours, theirs)
    assert torch.equal(*(torch.autograd.grad(y, x, gradient)[0] for y in (ours, theirs)))


def test_the_first_blocks_run_in_parts_only_while_it_learns():
    torch.manual_seed(0)
    network = EfficientNetPose(3, 16)
    network.backbone.load_state_dict(published_names(published()))
    crops = torch.randn(FIXED_BATCH + 3, 3, 32, 32)
    learning, still = network.train().backbone(crops), network.eval().backbone(crops)
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(learning, still, strict=True))


def test_a_student_starts_from_the_published_file_and_is_saved_loaded_and_exported(tmp_path):
    skeleton = Skeleton("two", ("nose", "left_eye"))
    spec = dataclasses.replace(SPEC, skeleton=skeleton, input_wh=(96, 64), mean=LITE_MEAN, std=LITE_STD)
    settings = NetworkSettings("efficientnet-lite0", width=16)
    torch.save(published(), tmp_path / "published.pth")
    network = build_network(settings, spec, tmp_path / "published.pth")
    assert torch.equal(network.backbone.conv_stem.weight, published()["_conv_stem.weight"])
    save_student(Student(network.eval(), settings, spec), tmp_path, {})
    again = load_student(tmp_path)
    crops = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(again.network(crops), network(crops))
    assert again.spec == spec
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    assert export_onnx(again.network, spec, tmp_path / "student.onnx", images) <= 1e-4
