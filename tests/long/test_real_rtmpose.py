"""Both stages on real images with a real teacher: an RTMPose student overfits them from the teacher's store and the labels."""

import json
from pathlib import Path

import pytest

from stages import prepare
from stages.distill import run as distill
from stages.evaluate import run as evaluate
from stages.project.project import project_of
from stages.teach import run as teach
from tests.test_real import real_params

PLAIN = {"scale": 0, "shift": 0, "flip": 0, "color": 0, "cut_out": 0, "final_weak_share": 1}
"""No augmentation, because the student is meant to overfit these people."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("terms", "temperature", "steps"),
    [({"truth": 0.5, "coco": 0.5}, 0.1, 260), ({"truth": 0, "coco": 1}, 0.03, 450)],
    ids=["labels and teacher", "teacher alone"],
)
def test_rtmpose_t_overfits_the_real_images(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    real: Path,
    terms: dict[str, float],
    temperature: float,
    steps: int,
) -> None:
    """Train on 115 people from random weights, in about two minutes on a core: AP on them exceeds 0.9 of the teacher's, which is 50.6.

    The teacher's maps are Gaussians of 4 pixels of the student's input, where SimCC's labels have half a one: hence the temperatures.
    """
    monkeypatch.chdir(tmp_path)
    params = real_params(real)
    del params["datasets"]["mpii"], params["datasets"]["halpe"]
    params["prepare"]["views"] = 1
    training = {"steps": steps, "batch": 32, "learning_rate": 1e-3, "weight_decay": 0, "precision": "float32", **PLAIN}
    params["distill"] = {
        "network": "rtmpose-t",
        "input": [128, 96],
        "terms": terms,
        "min_score": 0.05,
        "temperature": temperature,
        "training": training,
    }
    params["students"] = {"heart": {"datasets": ["coco"], "teachers": ["coco"]}}
    prepare.run(project_of(params), log=lambda line: None)
    teach.run(project_of(params), "coco", "cpu", check=False, log=lambda line: None)
    distill.run(project_of(params), None, "cpu", log=lambda line: None)
    evaluate.run(project_of(params), None, "cpu", log=lambda line: None)
    scores = json.loads(Path("results/metrics.json").read_text())
    teacher = scores["teacher coco"]["coco"]["AP"]
    assert teacher == pytest.approx(50.6, abs=1.0)
    assert scores["heart"]["coco"]["AP"] > 0.9 * teacher
