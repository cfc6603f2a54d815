"""From a checkpoint to a teacher: the ONNX file's outputs equal MMPose's (tests/pipeline/networks/golden.json)."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml

from pipeline.common.errors import UserError
from pipeline.inference.session import infer, open_teacher
from pipeline.networks.architectures import build_architecture
from pipeline.pose.skeletons import COCO17, MPII16, SKELETONS, union
from pipeline.pose.spec import parse_spec
from stages import teacher_import as import_teacher
from stages.teacher_import import PUBLISHED_INPUT, InputSettings, parse_input
from tests.pipeline.networks.golden import TOLERANCE, differences, filled, golden, golden_batch

BOTH = replace(union([COCO17, MPII16]), name="both21")
GAINS = {"rtmpose": 1.6, "hrnet": 0.25, "resnet": 1.0}


def network(arch, skeleton, input_hw):
    """Return the project's network with the golden weights."""
    made = build_architecture(arch, len(SKELETONS[skeleton]), (input_hw[1], input_hw[0]))
    made.load_state_dict(filled(made.state_dict(), GAINS[arch.split("-")[0]]))
    return made.eval()


def published(weights, path):
    torch.save({"meta": {"epoch": np.int64(210)}, "state_dict": weights}, path)


def of_2020(weights, path):
    renamed = {"keypoint_" + name if name.startswith("head.") else name: value for name, value in weights.items()}
    torch.save({"meta": {}, "state_dict": renamed}, path, _use_new_zipfile_serialization=False)


def bare(weights, path):
    torch.save(weights, path)


@pytest.mark.parametrize(
    ("arch", "skeleton", "input_hw", "write", "mmposes", "seen"),
    [
        ("rtmpose-t", "both21", (256, 192), of_2020, True, InputSettings("bgr", 1.0, "udp")),
        pytest.param("rtmpose-m", "coco17", (256, 192), published, True, PUBLISHED_INPUT, marks=pytest.mark.long),
        pytest.param("rtmpose-m", "mpii16", (256, 256), bare, False, PUBLISHED_INPUT, marks=pytest.mark.long),
        pytest.param("resnet-50", "coco17", (256, 192), of_2020, True, PUBLISHED_INPUT, marks=pytest.mark.long),
        pytest.param("hrnet-w32", "coco17", (256, 192), published, True, PUBLISHED_INPUT, marks=pytest.mark.long),
    ],
)
def test_a_checkpoint_becomes_a_teacher(tmp_path, monkeypatch, arch, skeleton, input_hw, write, mmposes, seen):
    monkeypatch.setitem(SKELETONS, BOTH.name, BOTH)
    ours, points = network(arch, skeleton, input_hw), SKELETONS[skeleton]
    write(ours.state_dict(), tmp_path / "published.pth")
    out, lines = tmp_path / "new" / "teacher.onnx", []
    import_teacher.run(tmp_path / "published.pth", arch, skeleton, input_hw, out, seen, lines.append)

    assert sorted(path.name for path in out.parent.iterdir()) == ["teacher.json", "teacher.onnx"]
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    inputs = golden_batch(*input_hw)
    for count in (1, 2, 7):
        batch = inputs[[0, 1, 1, 0, 1, 0, 0][:count]]
        with torch.inference_mode():
            expected = ours(batch)
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = session.run(None, {"crops": batch.numpy()})
        for theirs, each in zip(found, expected, strict=True):
            assert np.abs(theirs - each.numpy()).max() < TOLERANCE * each.abs().max()
    if mmposes:
        assert len(points) == golden(arch).keypoints
        assert max(differences(arch, session.run(None, {"crops": inputs.numpy()}))) < TOLERANCE

    beside = parse_spec(json.loads(out.with_suffix(".json").read_text()), "beside")
    assert (beside.color, beside.padding, beside.affine) == (seen.color, seen.padding, seen.affine)
    teacher = open_teacher("it", out, beside, "cpu", threads=1)
    other = "rgb" if seen.color == "bgr" else "bgr"
    with pytest.raises(
        UserError, match=rf"was made for color '{seen.color}', .*: correct .*, or import it again with --color"
    ):
        open_teacher("it", out, replace(beside, color=other), "cpu", threads=1)
    width, height = input_hw[1], input_hw[0]
    assert teacher.batch is None
    assert teacher.target_wh == ((2 * width, 2 * height) if arch.startswith("rtmpose") else (width // 4, height // 4))
    assert all(len(each) == 1 for each in infer(teacher, np.zeros((1, height, width, 3), np.uint8), 64))

    pasted = yaml.safe_load("teachers:\n" + "\n".join(line for line in lines if line.startswith("  ")))
    (name, values), *others = pasted["teachers"].items()
    assert (name, others) == (skeleton[:-2], [])
    assert (values.pop("onnx"), values.pop("dataset")) == (str(out), name)
    assert parse_spec(values, "pasted") == beside
    assert lines[-1] == f"Then run `pipeline teacher check --teacher {name}`"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Save a checkpoint of the smallest network with COCO's keypoints, for an input of 32 x 32."""
    path = tmp_path_factory.mktemp("checkpoint") / "small.pth"
    torch.save({"state_dict": network("rtmpose-t", "coco17", (32, 64)).state_dict()}, path)
    return path


class Touch:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


def damaged(path):
    path.write_bytes(path.read_bytes()[:50_000])


def with_code(path):
    torch.save(
        {"state_dict": torch.load(path, weights_only=True)["state_dict"], "meta": Touch(path.parent / "ran")}, path
    )


def with_nan(path):
    weights = torch.load(path, weights_only=True)["state_dict"]
    torch.save({"state_dict": {**weights, "head.mlp.0.g": torch.tensor([float("nan")])}}, path)


def as_it_is(path):
    pass


@pytest.mark.parametrize(
    ("damage", "changes", "message"),
    [
        (damaged, {}, "not a readable PyTorch checkpoint"),
        (with_code, {}, "contains `pathlib"),
        (with_nan, {}, "holds NaN or infinite weights in head.mlp.0.g"),
        (as_it_is, {"arch": "rtmpose"}, "unknown architecture `rtmpose`: expected one of rtmpose-t, "),
        (as_it_is, {"skeleton": "coco"}, "unknown skeleton `coco`: expected one of coco17, "),
        (as_it_is, {"input_hw": (32, 60)}, "multiples of 32, found 32x60"),
        (
            as_it_is,
            {"arch": "resnet-50"},
            "it fits `--arch rtmpose-t --input 32x64` with a skeleton of 17 keypoints (coco17)",
        ),
        (
            as_it_is,
            {"skeleton": "mpii16"},
            "does not fit rtmpose-t with the 16 keypoints of mpii16 and input 32x64: 2 of another",
        ),
        (as_it_is, {"out": "teacher.json"}, "--out: expected a file name that ends in .onnx, found "),
    ],
)
def test_what_does_not_fit_writes_nothing(tmp_path, checkpoint, damage, changes, message):
    source = tmp_path / "published.pth"
    source.write_bytes(checkpoint.read_bytes())
    damage(source)
    asked = {"arch": "rtmpose-t", "skeleton": "coco17", "input_hw": (32, 64), "out": "teacher.onnx", **changes}
    asked["out"] = tmp_path / "new" / asked["out"]
    messages = []
    with pytest.raises(UserError) as error:
        import_teacher.run(source, log=messages.append, **asked)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert messages == []
    assert [path.name for path in tmp_path.iterdir()] == ["published.pth"]


def test_nonsense_it_was_trained_to_see_is_refused(tmp_path, checkpoint):
    with pytest.raises(UserError, match=r"teacher import.padding: expected a number from 0.5 to 4 .*, found 9"):
        import_teacher.run(checkpoint, "rtmpose-t", "coco17", (32, 64), tmp_path / "b.onnx", InputSettings("rgb", 9.0))


def test_without_room_for_the_spec_there_is_no_teacher(tmp_path, checkpoint, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(import_teacher, "write_atomically", full)
    monkeypatch.setattr(
        import_teacher, "export_onnx", lambda network, spec, path, crops: path.write_bytes(b"onnx") and 0.0
    )
    with pytest.raises(OSError, match="No space left"):
        import_teacher.run(checkpoint, "rtmpose-t", "coco17", (32, 64), tmp_path / "teacher.onnx")
    assert not list(tmp_path.iterdir())


def test_inputs_are_height_by_width():
    assert parse_input("256x192") == (256, 192)
    assert parse_input("96x1280") == (96, 1280)


@pytest.mark.parametrize(
    "text", ["256", "256x", "256,192", "256X192", "0x32", "-256x192", "256x192x3", "1e2x192", "²56x192", ""]
)
def test_other_inputs_are_refused(text):
    with pytest.raises(UserError, match="--input: expected height x width in pixels, like 256x192, found "):
        parse_input(text)
