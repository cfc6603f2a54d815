"""Exports of one small student, made once: the files, their cards, and the Python on these."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.common.files import sha256
from pipeline.export.model_card import model_card
from pipeline.export.onnx_export import export_onnx
from pipeline.inference.exported import open_exported
from pipeline.networks.build import Student, build_network, load_student, save_student
from pipeline.pose.options import NetworkSettings
from pipeline.pose.skeletons import COCO17, Skeleton
from stages import prepare
from stages.export import card
from stages.export import run as export
from stages.export.card import collect_card
from stages.project.project import project_of
from stages.project.students import StudentConfig
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
    """A project, as the current folder, with a student whose batch norms have run on data."""
    place = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_project(place)
        prepare.run(project_of(PARAMS), log=lambda line: None)
        torch.manual_seed(0)
        network = build_network(NetworkSettings(width=8, depth=1), SPEC)
        network(torch.randn(16, 3, 64, 32))
        torch.nn.init.normal_(network.head.weight, std=3)
        FOLDER.mkdir(parents=True)
        more = {"arm": {"datasets": ["coco"], "teachers": ["tiny"], "views": "replayed"}}
        save_student(Student(network.eval(), NetworkSettings(width=8, depth=1), SPEC), FOLDER, more)
        yield place


@pytest.fixture(scope="module")
def messages(project):
    """The messages of the export of each form."""
    lines = {form: [] for form in FORMS}
    exported = {}

    def once(network, spec, path, *rest):
        """Make the float32 file of three forms once, because torch takes seconds for it."""
        if spec not in exported:
            exported[spec] = (export_onnx(network, spec, path, *rest), path.read_bytes())
        path.write_bytes(exported[spec][1])
        return exported[spec][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "export_onnx", once)
        for form, options in FORMS.items():
            export.run(project_of(PARAMS), log=lines[form].append, **options)
    return lines


def card_text(form):
    return Path(f"data/exported/unified{form}.md").read_text()


def blocks(text):
    """Return the blocks of Python on a card."""
    return re.findall(r"```python\n(.*?)\n```", text, re.DOTALL)


def test_files_and_cards_lie_side_by_side_and_nothing_else(messages):
    names = [f"unified{form}{end}" for form in FORMS for end in (".onnx", ".md")]
    assert sorted(path.name for path in Path("data/exported").iterdir()) == sorted(names)
    assert messages[""][0].startswith("data/exported/unified.onnx: 18 keypoints, any batch, ONNX Runtime within ")
    assert re.search(r"of torch on \d+ crops$", messages[""][0])
    assert messages[""][1:] == ["data/exported/unified.md: its model card"]


@pytest.mark.parametrize("form", FORMS)
def test_no_file_holds_a_path_of_this_machine(messages, form):
    for end in (".onnx", ".md"):
        content = Path(f"data/exported/unified{form}{end}").read_bytes()
        assert b"/tmp" not in content and os.getcwd().encode() not in content


AGREEMENT = (
    r"half of its keypoints are within ([\d.]+) pixels, in the student's crop, of the student's own, 95 % within ([\d.]+); "
    r"95 % of its confidences are within ([\d.]+)"
)


def agreement(text):
    match = re.fullmatch(AGREEMENT, text)
    assert match
    return tuple(float(number) for number in match.groups())


def test_the_messages_tell_how_far_a_form_is_from_the_student(messages):
    """The distance depends on the student: here it is untrained and its maps are flat, so that small differences move the peak far."""
    assert all(number >= 0 for number in agreement(messages["-rtmlib"][1]))
    half, most, score = agreement(messages["-float16"][1])
    assert half <= 0.02 and most <= 0.2 and score <= 0.01  # ten bits of a mantissa
    half, most, score = agreement(messages["-int8"][1])
    assert 0.02 < half <= 0.5 and score <= 0.05


def test_a_form_is_compared_with_the_student_itself(messages):
    loaded, people = load_student(FOLDER), export._people("coco")
    compared = (Path("data/exported/unified.onnx"), people, project_of(PARAMS).dataset("coco").images("train"))
    assert agreement(export._agreement(loaded, *compared)) == (0, 0, 0)
    with torch.no_grad():
        loaded.network.head.weight.copy_(loaded.network.head.weight.flip(0))
    assert agreement(export._agreement(loaded, *compared))[0] > 2


def test_the_message_of_the_rtmlib_form_tells_how_to_open_it(messages):
    assert messages["-rtmlib"][2] == "rtmlib: RTMPose('unified-rtmlib.onnx', model_input_size=(128, 256))"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_carries_its_spec_and_opens_as_a_network_of_ours(messages, form):
    opened = open_exported(Path(f"data/exported/unified{form}.onnx"), "cpu", 1)
    assert opened.spec.skeleton == SPEC.skeleton
    assert (opened.spec.kind, opened.spec.color) == (
        ("simcc", "bgr") if form == "-rtmlib" else ("heatmap_logits", "rgb")
    )
    assert opened.batch is None


def test_fewer_bits_are_in_the_file(messages):
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
def test_three_lines_load_the_student(messages, form):
    block = blocks(card_text(form))[0]
    assert len(block.splitlines()) == 3
    student = run_block(block)["student"]
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), dtype=np.uint8)
    expected = load_student(FOLDER).network(torch.from_numpy(SPEC.normalised(crops)))
    assert torch.equal(student.network(torch.from_numpy(student.spec.normalised(crops))), expected)
    assert not student.network.training


@pytest.mark.parametrize("form", FORMS)
def test_three_lines_run_the_file(messages, form, monkeypatch):
    block = blocks(card_text(form))[1]
    assert len(block.splitlines()) == 3
    text = card_text(form)
    monkeypatch.chdir("data/exported")
    shape, outputs = ((3, 3, 256, 128), ["simcc_x", "simcc_y"]) if form == "-rtmlib" else ((3, 3, 64, 32), ["heatmaps"])
    crops = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ran = run_block(block, crops=crops)
    session = onnxruntime.InferenceSession(f"unified{form}.onnx", providers=["CPUExecutionProvider"])
    for name, expected in zip(outputs, session.run(outputs, {"crops": crops}), strict=True):
        assert np.array_equal(ran[name], expected)
        assert f"`{name}`, float32 (batch, {', '.join(map(str, expected.shape[1:]))})" in text


def test_three_lines_run_rtmlib(messages, monkeypatch):
    """With a stand-in for its class, whose signature rtmlib 0.0.16 has; the class itself is in tests/pipeline/export/test_rtmlib.py."""
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
    block = blocks(card_text("-rtmlib"))[2]
    monkeypatch.chdir("data/exported")
    assert len(block.splitlines()) == 3
    ran = run_block(block, image="image", boxes="boxes")
    assert (ran["keypoints"], ran["scores"], calls) == ("keypoints", "scores", [("image", "boxes")])


def test_the_card_describes_the_student(messages):
    text = card_text("")
    assert text.startswith("# unified: `unified.onnx`\n")
    assert ", ".join(f"`{name}`" for name in SPEC.skeleton.keypoints) in text
    assert "It has learned `pelvis` from no label and no teacher" in text
    assert (
        "`crops`, float32 (batch, 3, 64, 32): channels R, G, B, values of 0-255 less 120, 115, 100, divided by 60, 50, 40."
        in text
    )
    assert "(`udp`)" in text and "sides 1.25 times as long" in text
    # 32 pixels to 8 columns and 64 to 16, first to first and last to last: 31 / 7 and 63 / 15
    assert "times 4.4286 in x and 4.2000 in y" in text
    assert "- Labels and images of coco (`train.json`)." in text
    assert "- Maps of teacher tiny on these images: a network for coco, keypoints coco17." in text
    assert "CC BY 4.0" in text and "MPII" not in text


def test_a_student_of_mpii_is_for_non_commercial_use(messages):
    mpii = {**PARAMS["datasets"]["coco"], "format": "mpii"}
    teachers = {"tiny": {**PARAMS["teachers"]["tiny"], "dataset": "mpii", "skeleton": "mpii16"}}
    both = {**PARAMS, "datasets": {**PARAMS["datasets"], "mpii": mpii}, "teachers": teachers}
    exported = Path("data/exported/unified.onnx")
    config = StudentConfig(["coco"], ["tiny"])
    card = collect_card(project_of(both), "unified", FOLDER, config, exported, SPEC, "onnx", "float32")
    assert any("non-commercial" in line for line in card.licences)
    assert card.unlearned == []
    drawn = {**PARAMS, "sample": {"folder": "annotations"}}
    card = collect_card(project_of(drawn), "unified", FOLDER, config, exported, SPEC, "onnx", "float32")
    assert card.licences[0] == "The built-in sample is drawn by this project: Apache-2.0."


def test_the_card_says_what_is_no_longer_known_or_did_not_count(messages, tmp_path):
    exported = Path("data/exported/unified.onnx")

    def card_of(params, **recorded):
        document = json.loads((FOLDER / "student.json").read_text())
        (tmp_path / "student.json").write_text(json.dumps({**document, **recorded}))
        config = StudentConfig(["coco"], ["tiny"])
        return collect_card(project_of(params), "unified", tmp_path, config, exported, SPEC, "onnx", "float32")

    unknown = card_of({**PARAMS, "teachers": {}})
    assert (
        "Maps of teacher tiny on these images, which params.yaml no longer has: the licence of its data is not known here."
    ) in unknown.learned
    without_labels = card_of(PARAMS, settings={"terms": {"truth": 0, "tiny": 1}})
    assert without_labels.learned[0] == "Images and boxes, without labels, of coco (`train.json`)."
    without_teacher = card_of(PARAMS, settings={"terms": {"truth": 1, "tiny": 0}})
    assert not any("tiny" in line for line in without_teacher.learned)
    started = card_of(PARAMS, start={"file": "data/students/other", "sha256": "0" * 64})
    assert "No label and no teacher of its own training gives `pelvis`" in model_card(started)
    assert "meaningless" not in model_card(started)


@pytest.fixture
def metrics(project):
    """Give a function that writes results/metrics.json, which is deleted afterwards."""
    path = Path("results/metrics.json")
    path.parent.mkdir(exist_ok=True)

    def write(document, seconds_after=10):
        path.write_text(json.dumps(document))
        trained = WEIGHTS.stat().st_mtime
        os.utime(path, (trained + seconds_after, trained + seconds_after))

    yield write
    path.unlink(missing_ok=True)


def scores():
    return card._scores(project_of(PARAMS).datasets, "unified", FOLDER, "onnx", "float32")


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
    found, text = scores()
    assert found == {}
    assert note in text and "`pipeline evaluate`" in text


@pytest.fixture
def exported_before(messages, monkeypatch):
    """An exported file, which is given out again instead of exporting for seconds."""
    content = Path("data/exported/unified.onnx").read_bytes()
    monkeypatch.setattr(export, "export_onnx", lambda network, spec, path, *rest: path.write_bytes(content) * 0.0)


def test_a_student_in_any_folder_is_exported_under_its_place(exported_before):
    """An arm of the comparison: its scores are not those of the student of params.yaml."""
    arm = Path("data/experiment/students/offline-4/1")
    shutil.copytree(FOLDER, arm)  # the same weights
    lines: list[str] = []
    export.run(project_of(PARAMS), str(arm), log=lines.append)
    assert lines[0].startswith("data/exported/offline-4-1.onnx: 18 keypoints")
    card = Path("data/exported/offline-4-1.md").read_text()
    assert "# offline-4-1:" in card and "`pipeline evaluate --model` with this file does" in card
    (arm / "student.json").write_text(json.dumps({**json.loads((arm / "student.json").read_text()), "arm": None}))
    with pytest.raises(UserError, match="expected what it was trained with, under `arm`, found none: train it again"):
        export.run(project_of(PARAMS), str(arm), log=lines.append)


def test_impossible_options_are_refused(project):
    with pytest.raises(UserError, match="--for rtmlib: expected float32, found int8"):
        export.run(project_of(PARAMS), log=print, target="rtmlib", precision="int8")
    with pytest.raises(UserError, match=r"--out: expected a file name that ends in \.onnx, found student\.md"):
        export.run(project_of(PARAMS), log=print, out=Path("student.md"))


def test_an_export_that_fails_leaves_nothing(project, monkeypatch):
    monkeypatch.setattr(export, "rtmlib_spec", lambda spec: (_ for _ in ()).throw(UserError("padding")))
    with pytest.raises(UserError, match="padding"):
        export.run(project_of(PARAMS), log=print, out=Path("new/student.onnx"), target="rtmlib")
    assert not Path("new").exists()


def fails(*_):
    raise UserError("no card")


@pytest.mark.parametrize("cause", ["the card cannot be made", "the card is a folder"])
@pytest.mark.parametrize("before", [True, False], ids=["over an older pair", "for the first time"])
def test_file_and_card_are_both_new_or_both_as_they_were(exported_before, tmp_path, monkeypatch, cause, before):
    file, card_file = tmp_path / "out/student.onnx", tmp_path / "out/student.md"
    file.parent.mkdir()
    if before:
        file.write_bytes(b"old file")
    if cause == "the card is a folder":
        card_file.mkdir()
        expected = pytest.raises(IsADirectoryError)
    else:
        monkeypatch.setattr(export, "collect_card", fails)
        expected = pytest.raises(UserError, match="no card")
        if before:
            card_file.write_bytes(b"old card")
    with expected:
        export.run(project_of(PARAMS), log=print, out=file)
    assert file.read_bytes() == b"old file" if before else not file.exists()
    assert card_file.is_dir() or (card_file.read_bytes() == b"old card" if before else not card_file.exists())
    assert {path.name for path in file.parent.iterdir()} <= {"student.onnx", "student.md"}
