"""Both stages on real pictures with a real teacher: an RTMPose student learns them by heart from the teacher's store and the labels."""

import json
from pathlib import Path

import pytest
import torch

from stages import distill, evaluate, prepare, teach
from tests.test_real import real_params

PLAIN = {"scale": 0, "shift": 0, "flip": 0, "color": 0, "cut_out": 0, "settle": 1}
"""No augmentation: these people are to be learned by heart."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("terms", "temperature", "steps"),
    [({"truth": 0.5, "coco": 0.5}, 0.1, 260), ({"truth": 0, "coco": 1}, 0.03, 450)],
    ids=["labels and teacher", "teacher alone"],
)
def test_rtmpose_t_learns_the_real_pictures_by_heart(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    real: Path,
    terms: dict[str, float],
    temperature: float,
    steps: int,
) -> None:
    """115 people from drawn weights, some two minutes on a core: AP on them above 0.9 of the teacher's, which is 50.6.

    The teacher's maps are Gaussians of 4 pixels of the student's input, where SimCC's labels have half a one: hence the temperatures.
    """
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    params = real_params(real)
    del params["datasets"]["mpii"], params["datasets"]["halpe"]
    params["prepare"]["views"] = 1
    training = {"steps": steps, "batch": 32, "learning_rate": 1e-3, "weight_decay": 0, "precision": "float32", **PLAIN}
    params["distill"] = {
        "network": "rtmpose-t",
        "input": [128, 96],
        "terms": terms,
        "score_floor": 0.05,
        "temperature": temperature,
        "training": training,
    }
    params["students"] = {"heart": {"datasets": ["coco"], "teachers": ["coco"]}}
    prepare.run(params, say=lambda line: None)
    teach.run(params, "coco", "cpu", check=False, say=lambda line: None)
    distill.run(params, None, "cpu", say=lambda line: None)
    evaluate.run(params, None, "cpu", say=lambda line: None)
    scores = json.loads(Path("results/metrics.json").read_text())
    teacher = scores["teacher coco"]["coco"]["AP"]
    assert teacher == pytest.approx(50.6, abs=1.0)
    assert scores["heart"]["coco"]["AP"] > 0.9 * teacher
