"""RTMPose students through every stage, 64 x 64 and hardly trained: settings, start, file, scores, exported forms, model card."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.export.onnx_export import export_onnx
from pipeline.inference.exported import open_exported
from pipeline.networks.build import load_student
from pipeline.networks.cspnext import CSPNeXt
from pipeline.networks.rtmpose import SIZES
from pipeline.training.trainer import Trainer
from stages import prepare
from stages.distill import run as distill
from stages.evaluate import run as evaluate
from stages.export import run as export
from stages.project.project import project_of
from stages.teach import run as teach
from tests.fixtures import make_project, params
from tests.pipeline.networks.golden import filled

START = Path("published/cspnext-tiny_udp-aic-coco_210e-256x192-cbed682d_20230130.pth")
FOLDER = Path("data/students/both")


def with_rtmpose(**changes: Any) -> dict[str, Any]:
    training = {"steps": 4, "batch": 4, "precision": "float32", "learning_rate": 1e-9, "weight_decay": 0}
    chosen = {"network": "rtmpose-t", "start": str(START), "input": [64, 64], "min_score": 0.0, "training": training}
    return params(
        datasets__coco__test={"file": "train.json", "images": "pictures"},
        distill={"terms": {"truth": 0.5, "tiny": 0.5}, **chosen, **changes},
        students={"both": {"datasets": ["coco"], "teachers": ["tiny"]}},
    )


def write_start(size: str = "t") -> dict[str, torch.Tensor]:
    """Save a backbone under a heatmap head, as published ones; return its weights."""
    START.parent.mkdir(exist_ok=True)
    weights = filled({f"backbone.{n}": value for n, value in CSPNeXt(*SIZES[size]).state_dict().items()}, 1.6)
    head = {"head.final_layer.weight": torch.zeros(17, 8, 1, 1), "head.final_layer.bias": torch.zeros(17)}
    torch.save({"meta": {"epoch": 210}, "state_dict": {**weights, **head}}, START)
    return weights


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory):
    """Make a project with a distilled student in the current folder; give the initial weights of its backbone."""
    place = tmp_path_factory.mktemp("rtmpose")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_project(place)
        weights = write_start()
        project = project_of(with_rtmpose())
        prepare.run(project, log=lambda line: None)
        teach.run(project, "tiny", "cpu", log=lambda line: None)
        distill.run(project, None, "cpu", log=lambda line: None)
        yield weights


def test_the_student_is_what_was_asked_for(started):
    student = load_student(FOLDER)
    assert student.settings.network == "rtmpose-t"
    assert (student.spec.kind, student.spec.affine, student.spec.factor) == ("simcc", "classic", 10.0)
    assert student.spec.input_wh == (64, 64)
    header, *rows = (FOLDER / "curve.csv").read_text().splitlines()
    values = np.array([[float(value) for value in row.split(",")] for row in rows])
    columns = dict(zip(header.split(","), values.T, strict=True))
    # an untrained head is uniform over 128 bins per axis; the loss is that less the labels' own entropy, which is positive
    assert 0 < columns["truth"].min() <= columns["truth"].max() < 2 * np.log(128)
    assert 0 < columns["tiny"].min() <= columns["tiny"].max() < 2 * np.log(128)


def test_its_backbone_started_from_the_published_one(started):
    """At a learning rate of 1e-9 four steps move no weight by 1e-6; random weights differ by tenths."""
    backbone = load_student(FOLDER).network.backbone.state_dict()
    for name in (
        "stem.0.conv.weight",
        "stage2.1.blocks.0.conv2.pointwise_conv.conv.weight",
        "stage4.2.attention.fc.weight",
    ):
        assert torch.allclose(backbone[name], started[f"backbone.{name}"], rtol=0, atol=1e-6)
        assert backbone[name].abs().max() > 0.05
    written = json.loads((FOLDER / "student.json").read_text())
    assert written["network"] == {"network": "rtmpose-t", "width": 32, "depth": 1}
    assert written["start"]["file"] == START.name and len(written["start"]["sha256"]) == 64


def test_it_is_scored(started):
    evaluate.run(project_of(with_rtmpose()), None, "cpu", log=lambda line: None)
    scores = json.loads(Path("results/metrics.json").read_text())["both"]
    assert 0 <= scores["coco"]["AP"] <= 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "pyramid"}, r"distill\.start: expected distill\.network: rtmpose-t, .* found pyramid"),
        (
            {"network": "rtmpose-s"},
            r"cbed682d_20230130\.pth: its backbone does not fit rtmpose-s: .*: it is rtmpose-t's",
        ),
        (
            {"start": "published/none.pth", "network": "rtmpose-m"},
            "none.pth is missing: run `pipeline teacher fetch cspnext-m`",
        ),
        ({"start": str(START.parent)}, "is missing: run `pipeline teacher fetch cspnext-t`"),
        (
            {"network": "rtmpose-l"},
            r"distill\.network: Input should be 'pyramid', 'efficientnet-lite0', 'rtmpose-t', 'rtmpose-s' or 'rtmpose-m'",
        ),
        ({"input": [64, 48]}, "multiples of 32"),
        ({"training": {"simcc_sigma": [4.9]}}, r"distill\.training\.simcc_sigma"),
    ],
    ids=["no start for pyramids", "another size", "missing", "a folder", "too large", "input", "one sigma"],
)
def test_what_cannot_be_trained_is_refused(started, changes, message):
    with pytest.raises(UserError, match=message) as error:
        distill.run(project_of(with_rtmpose(**changes)), None, "cpu", log=lambda line: None)
    assert "\n" not in str(error.value)


def test_another_start_is_another_training(started, monkeypatch):
    """A checkpoint of a training with other initial weights is not used."""
    steps, step = [], Trainer.step

    def counted(trainer, batch):
        steps.append(batch.people)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return step(trainer, batch)

    monkeypatch.setattr(Trainer, "step", counted)
    changes = with_rtmpose()["distill"]["training"] | {"checkpoint_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        distill.run(project_of(with_rtmpose(training=changes)), None, "cpu", log=lambda line: None)
    before = START.read_bytes()
    try:
        torch.save({"state_dict": torch.load(START, weights_only=True)["state_dict"], "meta": {"epoch": 1}}, START)
        messages: list[str] = []
        monkeypatch.setattr(Trainer, "step", step)
        distill.run(project_of(with_rtmpose(training=changes)), None, "cpu", log=messages.append)
    finally:
        START.write_bytes(before)
    assert (
        "data/checkpoints/student-both.pt is of other settings, inputs or code: training starts from the beginning"
        in messages[0]
    )


FORMS = {
    "": {},
    "-rtmlib": {"target": "rtmlib"},
    "-float16": {"precision": "float16"},
    "-int8": {"precision": "int8"},
}


@pytest.mark.long
def test_every_form_gives_the_students_keypoints(started, monkeypatch):
    """The weights are random, so that scores differ over the bins. A form takes two seconds, torch's export eight."""
    student = load_student(FOLDER)
    student.network.load_state_dict(filled(student.network.state_dict(), 1.6))
    monkeypatch.setattr(export, "load_student", lambda folder: student)
    made: dict[Any, bytes] = {}

    def once(network, wanted, path, *rest):
        if wanted.color not in made:
            export_onnx(network, wanted, path, *rest)
            made[wanted.color] = path.read_bytes()
        path.write_bytes(made[wanted.color])
        return 0.0

    monkeypatch.setattr(export, "export_onnx", once)
    crops = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = [part.numpy() for part in student.network(torch.from_numpy(student.spec.normalised(crops)))]
    # ten bits of a mantissa through some fifty layers; eight bits; rtmlib's file is float32, with our own crop and bins
    for form, tolerance in {"": 1e-4, "-rtmlib": 1e-4, "-float16": 2e-2, "-int8": 0.2}.items():
        messages: list[str] = []
        export.run(project_of(with_rtmpose()), log=messages.append, **FORMS[form])
        opened = open_exported(Path(f"data/exported/both{form}.onnx"), "cpu")
        assert (opened.spec.kind, opened.spec.affine) == ("simcc", "classic")
        assert opened.target_wh == (128, 128)
        found = opened.forward(4)(crops)
        for ours, theirs in zip(expected, found, strict=True):
            assert np.abs(ours - theirs).max() < tolerance * np.abs(ours).max()
        card = Path(f"data/exported/both{form}.md").read_text()
        assert "`simcc_x`, float32 (batch, 17, 128) and `simcc_y`, float32 (batch, 17, 128)" in card
        assert "2 bins a pixel of the crop" in card
        assert re.search(r"- Its backbone started from `cspnext-tiny_.*\.pth` \(sha256 [0-9a-f]{8}\.\.\.\)\.", card)
        assert "- Initial weights: unknown, see the source of the file." in card, "not the published file: another hash"
        assert not messages[1:-1] or messages[1].startswith("half of its keypoints are within ")
