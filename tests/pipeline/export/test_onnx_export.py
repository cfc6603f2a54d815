"""Export to ONNX: one file for all tests, of a student of 21 keypoints whose batch norms have run on data."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from pipeline.common.errors import UserError
from pipeline.export import onnx_export as export
from pipeline.export.compatibility import oldest_runtime
from pipeline.export.int8 import quantise_int8
from pipeline.export.onnx_export import export_onnx
from pipeline.inference.onnx_file import half_precision
from pipeline.inference.session import infer, open_teacher
from pipeline.networks.build import build_network
from pipeline.pose.options import NetworkSettings
from pipeline.pose.skeletons import COCO17, MPII16
from tests.pipeline.examples import spec

SPEC = spec(input_wh=(32, 64))
CROPS = np.random.default_rng(0).integers(0, 256, (7, 64, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = build_network(NetworkSettings(width=8, depth=1), SPEC)
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


def test_older_runtimes_open_every_precision(file):
    """ONNX Runtime 1.17 refuses a file of IR version 10 for that alone. It opens operators of version 20, with which IR 9 came."""
    for data in (file.read_bytes(), half_precision(file), quantise_int8(file, SPEC, CROPS)):
        model = onnx.load_from_string(data)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
        assert (model.ir_version, oldest_runtime(model)) == (9, "1.17")


def test_the_file_holds_its_spec(file):
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
    assert (teacher.target_wh, teacher.batch, teacher.outputs) == ((8, 16), None, ("heatmaps",))


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
    with pytest.raises(UserError, match=rf"was made for {key} .*, teachers\.student\.{key} says "):
        open_teacher("student", file, replace(SPEC, **changes), "cpu", threads=1)


class Bins(nn.Module):
    """A network with two bins per pixel of x and of y. RTMPose itself is exported in tests/stages/test_teacher_import.py."""

    def __init__(self):
        super().__init__()
        self.maps, self.x, self.y = nn.Conv2d(3, 17, 3, padding=1), nn.Linear(32, 64), nn.Linear(64, 128)

    def forward(self, crops):
        maps = self.maps(crops)
        return self.x(maps.mean(2)), self.y(maps.mean(3))


def test_two_outputs_are_bins_of_x_and_y(tmp_path):
    torch.manual_seed(0)
    bins, wanted = Bins(), replace(SPEC, kind="simcc")
    path = tmp_path / "bins.onnx"
    assert export_onnx(bins, wanted, path, CROPS[:1]) <= 1e-4
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(o.name, o.shape[1:]) for o in session.get_outputs()] == [("simcc_x", [17, 64]), ("simcc_y", [17, 128])]
    bins.eval()
    for count in (1, 2, 7):
        inputs = wanted.normalised(CROPS[:count])
        with torch.inference_mode():
            expected = bins(torch.from_numpy(inputs))
        for ours, theirs in zip(session.run(None, {"crops": inputs}), expected, strict=True):
            assert np.abs(ours - theirs.numpy()).max() < 1e-4 * theirs.abs().max()


def test_the_spec_may_name_the_outputs(network, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **named: asked.update(named) or program())
    monkeypatch.setattr(export, "largest_difference", lambda *_: 0.0)
    export_onnx(network, replace(SPEC, outputs=("maps",)), tmp_path / "student.onnx", CROPS)
    assert asked["output_names"] == ["maps"]


def test_the_network_is_left_as_it_was(tmp_path, monkeypatch):
    made = build_network(NetworkSettings(width=8, depth=1), SPEC)
    made.levels[0].eval()
    before = {name: module.training for name, module in made.named_modules()}
    weights = {name: value.clone() for name, value in made.state_dict().items()}
    monkeypatch.setattr(torch.onnx, "export", lambda network, *_, **__: seen.append(network) or program())
    monkeypatch.setattr(export, "largest_difference", lambda *_: 0.0)
    seen: list[torch.nn.Module] = []
    export_onnx(made, SPEC, tmp_path / "student.onnx", CROPS)
    assert not any(module.training for module in seen[0].modules())
    assert {name: module.training for name, module in made.named_modules()} == before
    assert all(torch.equal(value, weights[name]) for name, value in made.state_dict().items())


@pytest.mark.parametrize("count", [1, 2, 30])
def test_it_is_checked_at_batches_of_1_2_and_7_whatever_it_is_given(network, tmp_path, monkeypatch, count):
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program())
    sizes = []

    class Session:
        def __init__(self, *_, **__):
            pass

        def get_inputs(self):
            return [type("Input", (), {"name": "crops"})]

        def run(self, _, inputs):
            sizes.append(len(inputs["crops"]))
            with torch.inference_mode():
                return [network(torch.from_numpy(inputs["crops"])).numpy()]

    monkeypatch.setattr(export.ort, "InferenceSession", Session)
    crops = np.random.default_rng(1).integers(0, 256, (count, 64, 32, 3), dtype=np.uint8)
    assert export_onnx(network, SPEC, tmp_path / "student.onnx", crops) == 0
    assert sizes == [1, 2, 7]


def test_the_file_names_no_place_on_this_machine(file):
    assert b"pyramid.py" not in file.read_bytes()


def test_a_file_that_differs_from_torch_is_not_kept(network, tmp_path, monkeypatch):
    # The program is the slow part and not what is tested: any file will do.
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program())
    monkeypatch.setattr(export, "largest_difference", lambda *_: 0.5)
    with pytest.raises(
        UserError, match=r"expected ONNX Runtime within 0\.0001 of torch, found 5\.0e-01: nothing was written"
    ):
        export_onnx(network, SPEC, tmp_path / "new" / "student.onnx", CROPS)
    assert not list(tmp_path.iterdir())


def test_a_network_that_gives_nan_is_not_exported(tmp_path):
    made = nn.Conv2d(3, 17, 4, stride=4)
    nn.init.constant_(made.bias, float("nan"))
    with pytest.raises(UserError, match="found nan: nothing was written"):
        export_onnx(made, SPEC, tmp_path / "student.onnx", CROPS)
    assert not list(tmp_path.iterdir())


def program():
    return type("Program", (), {"model_proto": tiny_model()})()


def tiny_model():
    return onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
