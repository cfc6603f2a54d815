import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.networks.architectures import ARCHITECTURES, build_architecture, published_spec
from pipeline.pose.skeletons import COCO17, MPII16
from pipeline.pose.spec import NetworkSpec, parse_spec, spec_values
from tests.pipeline.networks.golden import parameters

PUBLISHED = {
    # Millions at 256 x 192 with 17 keypoints: RTMPose's model zoo; HRNet's and Simple Baselines' papers.
    "rtmpose-t": 3.34,
    "rtmpose-s": 5.47,
    "rtmpose-m": 13.59,
    "rtmpose-l": 27.66,
    "hrnet-w32": 28.5,
    "hrnet-w48": 63.6,
    "resnet-50": 34.0,
    "resnet-101": 53.0,
}


def test_all_are_here():
    assert tuple(PUBLISHED) == ARCHITECTURES


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_those_published(name):
    with torch.device("meta"):
        network = build_architecture(name, 17, (192, 256))
    digits = 2 if name.startswith("rtmpose") else 1
    assert round(parameters(network) / 1e6, digits) == PUBLISHED[name]


def test_the_large_ones_to_the_last_parameter():
    # Simple Baselines as others have rebuilt them (osmr/imgclsmob, the table of COCO keypoint networks).
    with torch.device("meta"):
        assert parameters(build_architecture("resnet-50", 17, (192, 256))) == 33_999_697
        assert parameters(build_architecture("resnet-101", 17, (192, 256))) == 52_991_825


@pytest.mark.parametrize(
    ("name", "wh", "message"),
    [
        ("rtmpose-x", (192, 256), "unknown architecture `rtmpose-x`: expected one of rtmpose-t, rtmpose-s, "),
        ("rtmpose", (192, 256), "unknown architecture `rtmpose`"),
        ("hrnet-w32", (190, 256), "hrnet-w32: expected an input .* multiples of 32, found 256x190"),
        ("resnet-50", (192, 0), "multiples of 32, found 0x192"),
    ],
)
def test_what_is_not_there_is_refused(name, wh, message):
    with pytest.raises(UserError, match=message):
        build_architecture(name, 17, wh)


def test_published_inputs():
    expected = {"color": "rgb", "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375), "padding": 1.25}
    for name in ARCHITECTURES:
        spec = published_spec(name, MPII16, (192, 256))
        kind = "simcc" if name.startswith("rtmpose") else "heatmap"
        assert spec == NetworkSpec(MPII16, (192, 256), affine="classic", kind=kind, **expected)
        assert parse_spec(spec_values(spec), "here") == spec
    assert published_spec("rtmpose-m", COCO17, (192, 256)).factor == 10
