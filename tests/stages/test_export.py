"""Exports of one small student, made once: the files, their cards, and the Python on these."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.networks.build import NetworkSettings, Student, build, load_student, save_student
from pipeline.networks.export import export_onnx
from pipeline.skeletons import COCO17, Skeleton
from pipeline.teachers.exported import open_exported
from stages import export, prepare
from tests.fixtures import make_project, params
from tests.pipeline.examples import spec

SPEC = spec(skeleton=Skeleton("unified", (*COCO17.keypoints, "pelvis")), input_wh=(32, 64))
PARAMS = params(students={"unified": {"datasets": ["coco"], "teachers": ["tiny"]}})
FOLDER = Path("data/students/unified")
WEIGHTS = FOLDER / "student.safetensors"
FORMS = {
    "": {},
    "-rtmlib": {"target": "rtmlib"},
    "-float16": {"precision": "float16"},
    "-int8": {"precision": "int8"},
}


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory):
    """A project with a student whose norms have seen pictures, and every form of its export; the current folder."""
    place = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_project(place)
        prepare.run(PARAMS, say=lambda line: None)
        torch.manual_seed(0)
        network = build(NetworkSettings(width=8, depth=1), SPEC)
        network(torch.randn(16, 3, 64, 32))
        torch.nn.init.normal_(network.head.weight, std=3)
        FOLDER.mkdir(parents=True)
        more = {"arm": {"datasets": ["coco"], "teachers": ["tiny"], "views": "replayed"}}
        save_student(Student(network.eval(), NetworkSettings(width=8, depth=1), SPEC), FOLDER, more)
        yield place


@pytest.fixture(scope="module")
def said(project):
    """What each form's export printed."""
    lines = {form: [] for form in FORMS}
    exported = {}

    def once(network, wanted, path, *rest):
        """The float32 file that three forms begin with is made once: torch takes seconds for it."""
        if wanted not in exported:
            exported[wanted] = (export_onnx(network, wanted, path, *rest), path.read_bytes())
        path.write_bytes(exported[wanted][1])
        return exported[wanted][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "export_onnx", once)
        for form, options in FORMS.items():
            export.run(PARAMS, say=lines[form].append, **options)
    return lines


def card(form):
    return Path(f"data/exported/unified{form}.md").read_text()


def blocks(text):
    """The blocks of Python on a card."""
    return re.findall(r"```python\n(.*?)\n```", text, re.DOTALL)


def test_files_and_cards_lie_side_by_side_and_nothing_else(said):
    names = [f"unified{form}{end}" for form in FORMS for end in (".onnx", ".md")]
    assert sorted(path.name for path in Path("data/exported").iterdir()) == sorted(names)
    assert said[""][0].startswith("data/exported/unified.onnx: 18 keypoints, any batch, ONNX Runtime within ")
    assert re.search(r"of torch on \d+ crops$", said[""][0])
    assert said[""][1:] == ["data/exported/unified.md: its model card"]


@pytest.mark.parametrize("form", FORMS)
def test_no_file_names_a_place_on_this_machine(said, form):
    for end in (".onnx", ".md"):
        content = Path(f"data/exported/unified{form}{end}").read_bytes()
        assert b"/tmp" not in content and os.getcwd().encode() not in content


AGREEMENT = (
    r"its keypoints are the student's own to ([\d.]+) pixels of its crop \(half of them\), ([\d.]+) \(95 of 100\); "
    r"its confidences to ([\d.]+) \(95 of 100\)"
)


def agreement(text):
    found = re.fullmatch(AGREEMENT, text)
    assert found
    return tuple(float(number) for number in found.groups())


def test_the_stage_says_how_far_a_form_is_from_the_student(said):
    """How far it is depends on the student: here an untrained one on noise, whose flat maps turn little into much."""
    assert all(number >= 0 for number in agreement(said["-rtmlib"][1]))
    half, most, score = agreement(said["-float16"][1])
    assert half <= 0.02 and most <= 0.2 and score <= 0.01  # ten bits of a mantissa
    half, most, score = agreement(said["-int8"][1])
    assert 0.02 < half <= 0.5 and score <= 0.05


def test_a_form_is_compared_with_the_student_itself(said):
    loaded, people = load_student(FOLDER), export._people(PARAMS, "coco")
    assert agreement(export._agreement(loaded, Path("data/exported/unified.onnx"), people)) == (0, 0, 0)
    with torch.no_grad():
        loaded.network.head.weight.copy_(loaded.network.head.weight.flip(0))
    assert agreement(export._agreement(loaded, Path("data/exported/unified.onnx"), people))[0] > 2


def test_the_rtmlib_form_says_how_it_is_opened(said):
    assert said["-rtmlib"][2] == "rtmlib: RTMPose('unified-rtmlib.onnx', model_input_size=(128, 256))"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_carries_its_spec_and_opens_as_a_network_of_ours(said, form):
    opened = open_exported(Path(f"data/exported/unified{form}.onnx"), "cpu", 1)
    assert opened.spec.skeleton == SPEC.skeleton
    assert (opened.spec.kind, opened.spec.color) == (
        ("simcc", "bgr") if form == "-rtmlib" else ("heatmap_logits", "rgb")
    )
    assert opened.batch is None


def test_fewer_bits_are_in_the_file(said):
    whole, half, int8 = (onnx.load(f"data/exported/unified{form}.onnx") for form in ("", "-float16", "-int8"))
    types = {t.data_type for t in half.graph.initializer if len(t.dims) == 4}
    assert types == {onnx.TensorProto.FLOAT16}
    convolutions = sum(node.op_type == "Conv" for node in whole.graph.node)
    quantised = [t for t in int8.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    assert len(quantised) == convolutions - 1


def run_block(block, **names):
    exec(block, names)
    return names


@pytest.mark.parametrize("form", FORMS)
def test_three_lines_load_the_student(said, form):
    block = blocks(card(form))[0]
    assert len(block.splitlines()) == 3
    student = run_block(block)["student"]
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), dtype=np.uint8)
    expected = load_student(FOLDER).network(torch.from_numpy(SPEC.normalised(crops)))
    assert torch.equal(student.network(torch.from_numpy(student.spec.normalised(crops))), expected)
    assert not student.network.training


@pytest.mark.parametrize("form", FORMS)
def test_three_lines_run_the_file(said, form, monkeypatch):
    block = blocks(card(form))[1]
    assert len(block.splitlines()) == 3
    text = card(form)
    monkeypatch.chdir("data/exported")
    shape, outputs = ((3, 3, 256, 128), ["simcc_x", "simcc_y"]) if form == "-rtmlib" else ((3, 3, 64, 32), ["heatmaps"])
    crops = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ran = run_block(block, crops=crops)
    session = onnxruntime.InferenceSession(f"unified{form}.onnx", providers=["CPUExecutionProvider"])
    for name, expected in zip(outputs, session.run(outputs, {"crops": crops}), strict=True):
        assert np.array_equal(ran[name], expected)
        assert f"`{name}`, float32 (batch, {', '.join(map(str, expected.shape[1:]))})" in text


def test_three_lines_run_rtmlib(said, monkeypatch):
    """With a stand-in for its class, whose signature rtmlib 0.0.16 has; the class itself is in tests/pipeline/networks/test_rtmlib.py."""
    calls = []

    class RTMPose:
        def __init__(self, onnx_model, model_input_size=(192, 256)):
            (width, height) = model_input_size
            assert onnxruntime.InferenceSession(onnx_model, providers=["CPUExecutionProvider"]).get_inputs()[0].shape[
                2:
            ] == [height, width]

        def __call__(self, image, bboxes):
            calls.append((image, bboxes))
            return "keypoints", "scores"

    monkeypatch.setitem(sys.modules, "rtmlib", type("rtmlib", (), {"RTMPose": RTMPose}))
    block = blocks(card("-rtmlib"))[2]
    monkeypatch.chdir("data/exported")
    assert len(block.splitlines()) == 3
    ran = run_block(block, picture="picture", boxes="boxes")
    assert (ran["keypoints"], ran["scores"], calls) == ("keypoints", "scores", [("picture", "boxes")])


def test_the_card_says_what_the_student_is(said):
    text = card("")
    assert text.startswith("# unified: `unified.onnx`\n")
    assert ", ".join(f"`{name}`" for name in SPEC.skeleton.keypoints) in text
    assert "No label and no teacher has shown it `pelvis`" in text
    assert (
        "`crops`, float32 (batch, 3, 64, 32): channels R, G, B, values of 0-255 less 120, 115, 100, divided by 60, 50, 40."
        in text
    )
    assert "(`udp`)" in text and "sides 1.25 times as long" in text
    # 32 pixels to 8 columns and 64 to 16, first to first and last to last: 31 / 7 and 63 / 15
    assert "times 4.4286 in x and 4.2000 in y" in text
    assert "- Labels and pictures of coco (`train.json`)." in text
    assert "- Maps of teacher tiny on these pictures: a network for coco, keypoints coco17." in text
    assert "CC BY 4.0" in text and "MPII" not in text


def test_mpii_is_not_for_business(said):
    mpii = {**PARAMS["datasets"]["coco"], "format": "mpii"}
    teachers = {"tiny": {**PARAMS["teachers"]["tiny"], "dataset": "mpii"}}
    both = {**PARAMS, "datasets": {**PARAMS["datasets"], "mpii": mpii}, "teachers": teachers}
    found = export._card(both, "unified", Path("data/exported/unified.onnx"), SPEC, "onnx", "float32")
    assert any("non-commercial" in line for line in found.licences)
    assert found.unlearned == []
    drawn = {**PARAMS, "sample": {"folder": "annotations"}}
    found = export._card(drawn, "unified", Path("data/exported/unified.onnx"), SPEC, "onnx", "float32")
    assert found.licences[0] == "The built-in sample is drawn by this project: Apache-2.0."


@pytest.fixture
def metrics(project):
    """Writes results/metrics.json, and takes it away again."""
    path = Path("results/metrics.json")
    path.parent.mkdir(exist_ok=True)

    def write(document, seconds_after=10):
        path.write_text(json.dumps(document))
        trained = WEIGHTS.stat().st_mtime
        os.utime(path, (trained + seconds_after, trained + seconds_after))

    yield write
    path.unlink(missing_ok=True)


def scores():
    return export._scores(export.dataset_settings(PARAMS), "unified", "onnx", "float32")


VALUES = {"coco": {"AP": 55.196, "ARL": None}, "average": 55.2, "intervals": {"coco": {"AP": [50.04, 60.06]}}}


@pytest.mark.parametrize("known", [True, False])
def test_scores_of_these_weights_are_on_the_card(metrics, known):
    metrics({"unified": {**VALUES, **({"sha256": sha256(WEIGHTS)} if known else {})}}, -10 if known else 10)
    found, note = scores()
    assert found == {"coco": {"AP": "55.2 (50.0 to 60.1)", "ARL": "none"}}
    assert note.startswith("0 to 100, from `results/metrics.json`")


@pytest.mark.parametrize(
    ("document", "seconds_after", "note"),
    [
        (None, 0, "Not scored when it was exported"),
        ({"joint": VALUES}, 10, "`results/metrics.json` has no scores of this student"),
        ({"unified": {**VALUES, "sha256": "0" * 64}}, 10, "has scores of another training of this student"),
        ({"unified": VALUES}, -10, "`results/metrics.json` is older than this student"),
    ],
)
def test_scores_of_other_weights_are_not(metrics, document, seconds_after, note):
    if document is not None:
        metrics(document, seconds_after)
    found, said = scores()
    assert found == {}
    assert note in said and "`pipeline evaluate`" in said


def test_what_cannot_be_asked_for(project):
    with pytest.raises(UserError, match="--for rtmlib: expected float32, found int8"):
        export.run(PARAMS, say=print, target="rtmlib", precision="int8")
    with pytest.raises(UserError, match=r"--out: expected a file name that ends in \.onnx, found there\.md"):
        export.run(PARAMS, say=print, out=Path("there.md"))


def test_an_export_that_fails_leaves_nothing(project, monkeypatch):
    monkeypatch.setattr(export, "rtmlib_spec", lambda spec: (_ for _ in ()).throw(UserError("padding")))
    with pytest.raises(UserError, match="padding"):
        export.run(PARAMS, say=print, out=Path("new/there.onnx"), target="rtmlib")
    assert not Path("new").exists()
