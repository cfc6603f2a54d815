"""Checkpoints as their makers write them, and files that are no checkpoints. MMEngine's classes are imitated here."""

import collections
import os
import sys
import types
import zipfile

import numpy as np
import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.networks import checkpoint
from pipeline.networks.architectures import ARCHITECTURES, build_architecture
from pipeline.networks.checkpoint import ArchitectureMatch, load_backbone, load_into, match_architecture
from pipeline.networks.checkpoint_reader import read_state_dict
from pipeline.networks.cspnext import CSPNeXt
from pipeline.networks.rtmpose import SIZES, RTMPose
from tests.pipeline.networks.golden import filled

WEIGHTS = {"backbone.conv.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.tensor([7.0])}


def save(path, document, legacy=False):
    torch.save(document, path, _use_new_zipfile_serialization=not legacy)
    return path


def same(found, expected):
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


MODULES = (
    "mmengine",
    "mmengine.logging",
    "mmengine.logging.history_buffer",
    "mmengine.config",
    "mmengine.config.config",
)


@pytest.fixture
def mmengine(monkeypatch):
    """Define two of MMEngine's classes under their own names, so that they pickle as MMEngine's."""

    class HistoryBuffer:
        def __init__(self):
            self.values, self.methods = np.array([1.0, 2.0]), {"mean": HistoryBuffer.mean}

        def mean(self):
            return self.values.mean()

    class ConfigDict(dict):
        def __reduce_ex__(self, protocol):
            return ConfigDict, (dict(self),), None, None, None

    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for cls, module in ((HistoryBuffer, MODULES[2]), (ConfigDict, MODULES[4])):
        cls.__module__, cls.__qualname__ = module, cls.__name__
        setattr(sys.modules[module], cls.__name__, cls)
    HistoryBuffer.mean.__module__, HistoryBuffer.mean.__qualname__ = MODULES[2], "HistoryBuffer.mean"
    return HistoryBuffer, ConfigDict


@pytest.mark.parametrize("legacy", [False, True])
def test_what_a_training_leaves_beside_the_weights(tmp_path, mmengine, monkeypatch, legacy):
    history, config = mmengine
    document = {
        "meta": {
            "epoch": np.int64(420),
            "best": np.float32(0.746),
            "done": np.bool_(True),
            "dataset_meta": config(sigmas=np.array([0.026, 0.025], np.float32), names=np.array(["nose", "left_eye"])),
            "pairs": np.array([{"a": 1}, None], dtype=object),
        },
        "state_dict": collections.OrderedDict(WEIGHTS),
        "message_hub": {"log_scalars": collections.OrderedDict(loss=history())},
        "hooks": collections.defaultdict(list, {"a": [1]}),
        "last": collections.deque([1, 2], maxlen=2),
        "count": collections.Counter("aab"),
    }
    path = save(tmp_path / "trained.pth", document, legacy)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name)
    assert b"mmengine.logging.history_buffer" in path.read_bytes()
    allowed = torch.serialization.get_safe_globals()
    same(read_state_dict(path), WEIGHTS)
    assert set(torch.serialization.get_safe_globals()) == set(allowed)


@pytest.mark.parametrize("core", ["core", "_core"])
def test_numbers_of_numpy_1_and_2(tmp_path, core):
    path = save(tmp_path / "old.pth", {"state_dict": WEIGHTS, "meta": [np.float64(1), np.arange(3)]})
    other = tmp_path / "renamed.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b"numpy._core.", f"numpy.{core}.".encode()))
    same(read_state_dict(other), WEIGHTS)


@pytest.mark.parametrize("legacy", [False, True])
def test_bare_weights_and_other_prefixes(tmp_path, legacy):
    same(read_state_dict(save(tmp_path / "bare.pth", WEIGHTS, legacy)), WEIGHTS)
    parallel = {f"module.{name}": value for name, value in WEIGHTS.items()}
    same(read_state_dict(save(tmp_path / "parallel.pth", {"state_dict": parallel}, legacy)), WEIGHTS)
    of_2020 = {name.replace("head.", "keypoint_head."): value for name, value in WEIGHTS.items()}
    same(read_state_dict(save(tmp_path / "2020.pth", {"state_dict": of_2020}, legacy)), WEIGHTS)


def test_of_two_sets_the_one_that_mmengine_saves_averaged(tmp_path):
    raw = {f"module.{name}": value + 1 for name, value in WEIGHTS.items()}
    path = save(tmp_path / "ema.pth", {"ema_state_dict": raw, "state_dict": WEIGHTS})
    same(read_state_dict(path), WEIGHTS)


class Trap:
    """An object whose pickle makes a folder when an ordinary unpickler loads it."""

    def __init__(self, call, *arguments):
        self.parts = call, arguments

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("call", "named"), [(os.mkdir, f"{os.mkdir.__module__}.mkdir"), (os.path.join, "posixpath.join"), (eval, "eval")]
)
def test_code_in_a_checkpoint_is_not_run(tmp_path, legacy, call, named):
    place = tmp_path / "made by the checkpoint"
    argument = f"__import__('os').mkdir({str(place)!r})" if call is eval else str(place)
    path = save(tmp_path / "trap.pth", {"state_dict": WEIGHTS, "meta": Trap(call, argument)}, legacy)
    with pytest.raises(UserError) as error:
        read_state_dict(path)
    assert str(error.value).startswith(f"{path}: contains `{named}`, which is not among the types")
    assert "\n" not in str(error.value)
    assert not place.exists()
    if call is not os.path.join:  # the trap works: the assertion above can fail
        torch.load(path, weights_only=False)
        assert place.is_dir()


def test_getattr_in_a_checkpoint_gets_nothing(tmp_path):
    path = save(tmp_path / "getattr.pth", {"state_dict": {"a": Trap(getattr, torch.zeros(1), "data")}})
    with pytest.raises(UserError, match="expected weights by name"):
        read_state_dict(path)


def shorten(path):
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_weight(path):
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(5).tobytes()) + 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "a page": lambda path: path.write_text("<html>404</html>"),
    "shorter": shorten,
    "one bit": flip_a_weight,
    "another zip": lambda path: np.savez(path.open("wb"), a=np.zeros(3)),
}


@pytest.mark.parametrize("kept", [300, 50_000, 399_000])
def test_a_download_that_broke_off_is_refused(tmp_path, kept):
    path = save(tmp_path / "file.pth", {"state_dict": {"a": torch.zeros(100_000)}})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="not a readable PyTorch checkpoint"):
        read_state_dict(path)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_no_checkpoint_is_refused(tmp_path, damage):
    path = save(tmp_path / "file.pth", {"state_dict": WEIGHTS})
    damage(path)
    with pytest.raises(UserError, match=r"file\.pth: not a readable PyTorch checkpoint \(truncated, damaged") as error:
        read_state_dict(path)
    assert "\n" not in str(error.value)


def test_half_a_legacy_file_is_refused(tmp_path):
    path = save(tmp_path / "file.pth", {"state_dict": WEIGHTS}, legacy=True)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"not a readable PyTorch checkpoint"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([torch.zeros(1)], "expected weights by name, alone or under `state_dict`, found list"),
        ({"model": {"a": torch.zeros(1)}, "epoch": 3}, "found a mapping with model, epoch"),
        ({"state_dict": {}}, "expected weights by name"),
        ({"state_dict": {"a": torch.zeros(1), "b\n": 3}}, r"others under b\n: take another file"),
        ({"a": torch.zeros(1), "b": torch.zeros(2, 2).to_sparse()}, "others under b"),
        ({"a": torch.zeros(1), "b": torch.zeros(1, dtype=torch.complex64)}, "others under b"),
        ({"a": torch.zeros(1), "b": np.zeros(3)}, "others under b"),
        ({"a": torch.zeros(1), "b": torch.zeros(1, dtype=torch.float8_e4m3fn)}, "others under b"),
        ({"a": torch.zeros(1), "b": torch.zeros(1, dtype=torch.float8_e5m2)}, "others under b"),
    ],
)
def test_other_contents_are_named(tmp_path, document, message):
    with pytest.raises(UserError) as error:
        read_state_dict(save(tmp_path / "file.pth", document))
    assert message in str(error.value)


def test_a_path_without_a_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.pth: there is no such file"):
        read_state_dict(tmp_path / "none.pth")
    with pytest.raises(UserError, match="there is no such file"):
        read_state_dict(tmp_path)


def weights_of(name, keypoints, input_wh):
    """Return names and shapes alone, on the meta device."""
    with torch.device("meta"):
        return build_architecture(name, keypoints, input_wh).state_dict()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_architecture_of_weights_is_matched(name):
    size = (288, 384) if name.startswith("rtmpose") else None
    assert match_architecture(weights_of(name, 21, (288, 384))) == ArchitectureMatch(name, 21, size)


def test_weights_of_something_else_fit_nothing():
    assert match_architecture(WEIGHTS) is None
    weights = weights_of("resnet-50", 17, (64, 64))
    assert match_architecture({name: value for name, value in weights.items() if "layer3.5" not in name}) is None
    assert match_architecture({**weights, "head.final_layer.weight": torch.zeros(17)}) is None
    bins = weights_of("rtmpose-t", 17, (64, 64))
    assert match_architecture({**bins, "head.cls_x.weight": torch.zeros(130, 256)}) is None
    assert match_architecture({**bins, "head.cls_x.weight": torch.tensor(1.0)}) is None


def claimed(*shape):
    """Return a tensor of one stored number that claims that shape, as a file of a few bytes can."""
    return torch.zeros(1).expand(shape)


HUGE = 2**40


@pytest.mark.parametrize("count", [0, 1025, HUGE, 2**62])
@pytest.mark.parametrize("name", ["rtmpose-t", "resnet-50"])
def test_a_claim_of_absurdly_many_keypoints_fits_nothing(monkeypatch, name, count):
    weights = weights_of(name, 17, (64, 64))
    monkeypatch.setattr(checkpoint, "build_architecture", lambda *_: pytest.fail("a network was built"))
    assert match_architecture({**weights, "head.final_layer.weight": claimed(count, 1, 1, 1)}) is None


@pytest.mark.parametrize("count", [2 * 4128, HUGE, 2**62])
@pytest.mark.parametrize("axis", "xy")
def test_a_claim_of_absurdly_many_bins_fits_nothing(monkeypatch, count, axis):
    monkeypatch.setattr(checkpoint, "build_architecture", lambda *_: pytest.fail("a network was built"))
    weights = weights_of("rtmpose-t", 17, (64, 64))
    assert match_architecture({**weights, f"head.cls_{axis}.weight": claimed(count, 1)}) is None


def test_a_huge_claim_in_a_file_is_one_line(tmp_path):
    weights = {**build_architecture("rtmpose-t", 3, (32, 32)).state_dict(), "head.cls_x.weight": claimed(HUGE, 256)}
    path = save(tmp_path / "file.pth", {"state_dict": weights})
    with pytest.raises(UserError) as error:
        load_into(build_architecture("rtmpose-t", 3, (32, 32)), read_state_dict(path), path, "it")
    assert "1 of another shape (head.cls_x.weight is [1099511627776, 256], expected [64, 256])" in str(error.value)
    assert "nor does it fit any other" in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_are_read(tmp_path, dtype):
    weights = {name: value.to(dtype) for name, value in WEIGHTS.items()}
    same(read_state_dict(save(tmp_path / "file.pth", weights)), weights)


def test_weights_are_copied(tmp_path):
    torch.manual_seed(0)
    ours, other = (build_architecture("rtmpose-t", 3, (64, 32)) for _ in range(2))
    weights = dict(other.state_dict(), **{"data_preprocessor.mean": torch.zeros(3, 1, 1)})
    weights.pop("backbone.stem.0.bn.num_batches_tracked")
    load_into(
        ours,
        {name: value.double() if value.is_floating_point() else value for name, value in weights.items()},
        tmp_path,
        "it",
    )
    same(ours.state_dict(), other.state_dict())
    assert next(ours.parameters()).dtype is torch.float32


@pytest.mark.parametrize(
    ("name", "keypoints", "input_wh", "message"),
    [
        (
            "rtmpose-t",
            17,
            (64, 32),
            "file: does not fit it: 2 of another shape (head.final_layer.weight is [16, 384, 7, 7], expected [17, 384, 7, 7], "
            "head.final_layer.bias is [16], expected [17]): "
            "it fits `--arch rtmpose-t --input 32x64` with a skeleton of 16 keypoints (mpii16)",
        ),
        (
            "rtmpose-t",
            16,
            (32, 64),
            "file: does not fit it: 2 of another shape (head.cls_x.weight is [128, 256], expected [64, 256], "
            "head.cls_y.weight is [64, 256], expected [128, 256]): "
            "it fits `--arch rtmpose-t --input 32x64` with a skeleton of 16 keypoints (mpii16)",
        ),
        (
            "resnet-50",
            16,
            (64, 32),
            # MMPose's ResNet-50 has 338 names: 56 are counters, two are RTMPose's as well.
            "file: does not fit it: 280 missing (backbone.conv1.weight, backbone.bn1.weight, backbone.bn1.bias and 277 more)",
        ),
    ],
)
def test_weights_of_another_network_are_refused_with_its_name(tmp_path, name, keypoints, input_wh, message):
    weights = build_architecture("rtmpose-t", 16, (64, 32)).state_dict()
    network = build_architecture(name, keypoints, input_wh)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_into(network, weights, "file", "it")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    same(network.state_dict(), before)


def test_weights_that_fit_no_architecture_are_refused(tmp_path):
    with pytest.raises(
        UserError,
        match=r"2 unexpected \(backbone\.conv\.weight, head\.bias\): nor does it fit any other of rtmpose-t, ",
    ):
        load_into(build_architecture("rtmpose-t", 3, (32, 32)), WEIGHTS, tmp_path, "it")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    weights = build_architecture("rtmpose-t", 3, (32, 32)).state_dict()
    weights["head.final_layer.bias"] = torch.tensor([0.0, float("nan"), 0.0])
    with pytest.raises(UserError, match=r"holds NaN or infinite weights in head\.final_layer\.bias"):
        load_into(build_architecture("rtmpose-t", 3, (32, 32)), weights, tmp_path, "it")


def published_start(path, size, **more):
    """Save a CSPNeXt under a heatmap head, as the published backbones are, with random weights; return the backbone's weights."""
    backbone = {f"backbone.{name}": value for name, value in CSPNeXt(*SIZES[size]).state_dict().items()}
    weights = filled(backbone, 1.6) | {"head.final_layer.weight": torch.zeros(17, backbone_channels(size), 1, 1)}
    save(path, {"meta": {}, "state_dict": {"data_preprocessor.mean": torch.zeros(3), **weights, **more}})
    return {name.removeprefix("backbone."): weights[name] for name in backbone}


def backbone_channels(size):
    return int(1024 * SIZES[size][1])


@pytest.mark.parametrize("size", ["t", "s"])
def test_a_published_start_fills_the_backbone_and_nothing_else(tmp_path, size):
    expected = published_start(tmp_path / "cspnext.pth", size)
    torch.manual_seed(0)
    network = RTMPose(size, 5, (64, 64))
    head = {name: value.clone() for name, value in network.head.state_dict().items()}
    load_backbone(network, tmp_path / "cspnext.pth", f"rtmpose-{size}")
    same(network.backbone.state_dict(), expected)
    same(network.head.state_dict(), head)
    assert not torch.equal(RTMPose(size, 5, (64, 64)).backbone.stem[0].conv.weight, expected["stem.0.conv.weight"])


def test_a_whole_rtmpose_gives_its_backbone_whatever_its_keypoints_and_input(tmp_path):
    whole = filled(build_architecture("rtmpose-t", 17, (192, 256)).state_dict(), 1.6)
    network = RTMPose("t", 5, (64, 64))
    load_backbone(network, save(tmp_path / "coco.pth", {"state_dict": whole}), "rtmpose-t")
    same(
        network.backbone.state_dict(),
        {name.removeprefix("backbone."): value for name, value in whole.items() if name.startswith("backbone.")},
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            lambda: filled(build_architecture("rtmpose-s", 17, (192, 256)).state_dict(), 1.6),
            r"coco\.pth: its backbone does not fit rtmpose-t: .* of another shape \(stem\.0\.conv\.weight is "
            r"\[16, 3, 3, 3\], expected \[12, 3, 3, 3\], .* and \d+ more\): it is rtmpose-s's$",
        ),
        (
            lambda: build_architecture("resnet-50", 17, (192, 256)).state_dict(),
            r"does not fit rtmpose-t: \d+ missing \(.*\); \d+ unexpected \(.*\): it is none of rtmpose-t, .*: take another",
        ),
        (lambda: {"neck.weight": torch.zeros(1)}, r"expected weights under `backbone\.\*`, found none"),
        (
            lambda: {
                **build_architecture("rtmpose-t", 1, (32, 32)).state_dict(),
                "backbone.stem.0.bn.bias": torch.full((12,), float("inf")),
            },
            r"holds NaN or infinite weights in stem\.0\.bn\.bias",
        ),
    ],
    ids=["another size", "another network", "no backbone", "infinite"],
)
def test_a_start_of_another_network_is_refused_and_changes_nothing(tmp_path, weights, message):
    network = RTMPose("t", 5, (64, 64))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UserError, match=message) as error:
        load_backbone(network, save(tmp_path / "coco.pth", {"state_dict": weights()}), "rtmpose-t")
    assert "\n" not in str(error.value)
    same(network.state_dict(), before)


def test_a_backbone_offered_as_a_teacher_is_refused_with_its_use(tmp_path):
    published_start(tmp_path / "cspnext.pth", "s")
    weights = read_state_dict(tmp_path / "cspnext.pth")
    with pytest.raises(
        UserError, match=r"; its backbone, rtmpose-s's, can initialise a student's \(`distill\.start`\)$"
    ):
        load_into(build_architecture("rtmpose-s", 17, (192, 256)), weights, tmp_path / "cspnext.pth", "rtmpose-s")
