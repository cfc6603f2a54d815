"""One export for all tests: a student of 21 keypoints whose norms have seen pictures."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from pipeline.errors import UserError
from pipeline.networks import export
from pipeline.networks.build import PyramidSettings, build
from pipeline.networks.export import export_onnx
from pipeline.skeletons import COCO17, MPII16
from pipeline.teachers.session import infer, open_teacher
from tests.pipeline.examples import spec

SPEC = spec(input_wh=(32, 64))
CROPS = np.random.default_rng(0).integers(0, 256, (7, 64, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = build(PyramidSettings(width=8, depth=1), 17)
    made(torch.randn(8, 3, 64, 32))
    return made.eval()


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "new" / "student.onnx"
    assert export_onnx(network, SPEC, path, CROPS) <= 1e-4
    return path


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("batch", [64, 3])
def test_outputs_are_torchs(network, file, count, batch):
    teacher = open_teacher("student", file, SPEC, "cpu", threads=1)
    with torch.inference_mode():
        expected = network(torch.from_numpy(SPEC.normalised(CROPS[:count]))).numpy()
    # float32 sums in another order, through some ten layers
    assert np.abs(infer(teacher, CROPS[:count], batch) - expected).max() < 1e-4 * np.abs(expected).max()


def test_weights_are_inside_and_nothing_else_is_left(file):
    assert [path.name for path in file.parent.iterdir()] == ["student.onnx"]
    model = onnx.load(file, load_external_data=False)
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    onnx.checker.check_model(model)


def test_the_file_says_what_it_is(file):
    model = onnx.load(file)
    entries = {
        entry.key: json.loads(entry.value) for entry in model.metadata_props if entry.key.startswith("pose_fusion.")
    }
    assert entries == {
        "pose_fusion.keypoints": list(COCO17.keypoints),
        "pose_fusion.spec": {
            "skeleton": "coco17",
            "input": [64, 32],
            "color": "rgb",
            "mean": [120.0, 115.0, 100.0],
            "std": [60.0, 50.0, 40.0],
            "padding": 1.25,
            "affine": "udp",
            "kind": "heatmap_logits",
        },
    }
    assert ([i.name for i in model.graph.input], [o.name for o in model.graph.output]) == (["crops"], ["heatmaps"])


def test_it_is_a_teacher_at_once(file):
    teacher = open_teacher("student", file, SPEC, "cpu", threads=1)
    assert (teacher.target_wh, teacher.batch, teacher.provider) == ((8, 16), None, "CPUExecutionProvider")


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("skeleton", {"skeleton": MPII16}),
        ("input", {"input_wh": (64, 64)}),
        ("color", {"color": "bgr"}),
        ("mean", {"mean": (0.0, 0.0, 0.0)}),
        ("std", {"std": (60.0, 50.0, 41.0)}),
        ("padding", {"padding": 1.0}),
        ("affine", {"affine": "classic"}),
        ("kind", {"kind": "heatmap"}),
    ],
)
def test_another_spec_is_refused(file, key, changes):
    with pytest.raises(UserError, match=rf"was exported with {key} .*, teachers\.student\.{key} says "):
        open_teacher("student", file, replace(SPEC, **changes), "cpu", threads=1)


def test_a_file_that_differs_from_torch_is_not_kept(network, tmp_path, monkeypatch):
    # The program is the slow part and not what is tested: any file will do.
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: type("Program", (), {"model_proto": tiny_model()})())
    monkeypatch.setattr(export, "compare", lambda *_: 0.5)
    with pytest.raises(
        UserError, match=r"expected ONNX Runtime within 0\.0001 of torch, found 5\.0e-01: nothing was written"
    ):
        export_onnx(network, SPEC, tmp_path / "student.onnx", CROPS)
    assert not list(tmp_path.iterdir())


def tiny_model():
    return onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
