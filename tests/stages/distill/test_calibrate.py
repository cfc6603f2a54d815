"""`calibrate`: a teacher's offset from the labels by its stores, as a table, as JSON and as corrections."""

import json
from pathlib import Path

import numpy as np
import pytest

from cache.targets import open_targets
from pipeline.common.errors import UserError
from pipeline.people.table import write_people
from pipeline.pose.skeletons import COCO17
from stages import prepare
from stages.distill import calibrate
from stages.project.datasets import load_people, load_views, table_path
from stages.project.project import project_of
from stages.project.teachers import store_path
from stages.stores.targets import open_target_store
from stages.teach import run as teach
from tests.fixtures import PARAMS, params

STORE = ("tiny", "coco", "train")


def relabelled(by: tuple[float, float]) -> None:
    """Make the teacher's keypoints minus an offset in longer box sides (mirrored for the right) the labels."""
    people = load_people("coco", "train")
    poses = teach.stored_poses(project_of(params()).teacher("tiny"), "coco", "train", people)
    away = np.tile(np.array(by), (17, 1))
    away[[k.startswith("right_") for k in COCO17.keypoints], 0] *= -1
    points = people.keypoints.copy()
    points[people.use] = poses.keypoints - away * people.box[people.use, None, 2:].max(axis=2, keepdims=True)
    changed = people.__class__(**{**vars(people), "keypoints": points})
    write_people(changed, table_path("coco", "train", "people"))


def messages(min_score: float = 0.0) -> list[str]:
    lines: list[str] = []
    calibrate.run(project_of(params()), min_score, log=lines.append)
    return lines


def test_the_offset_of_a_store_is_measured_printed_and_written(taught):
    relabelled((0.03, -0.02))
    lines = messages()
    assert lines[0] == "teacher tiny on coco: offset in % of the longer box side, to the right and down"
    by_name = {line.split()[0]: line for line in lines[1:18]}
    # 40 people in use, those of one and the other side pooled; the offset is the same for all, so that nothing is left as an error.
    count = int(load_people("coco", "train").use.sum())
    assert by_name["left_hip"].split() == f"left_hip +3.00 ± 0.00 -2.00 ± 0.00 {2 * count} labels *".split()
    assert by_name["right_hip"].split()[1:5] == ["-3.00", "±", "0.00", "-2.00"]
    assert by_name["nose"].split()[1:7] == ["+0.00", "±", "0.00", "-2.00", "±", "0.00"]
    assert lines[-1] == "data/calibration.json: written"
    (written,) = json.loads(Path("data/calibration.json").read_text())
    assert (written["teacher"], written["dataset"], written["unit"]) == ("tiny", "coco", "longer box side")
    assert written["offset"][COCO17.index("left_hip")] == pytest.approx([0.03, -0.02], abs=1e-6)
    assert written["count"][COCO17.index("nose")] == count


def test_corrections_bring_the_teacher_to_the_labels(taught):
    relabelled((0.03, -0.02))
    people = load_people("coco", "train")
    spec = project_of(params()).teacher("tiny").spec
    store = open_targets(store_path(*STORE), "again", people.person)
    found = calibrate.corrections({"tiny": spec}, "coco", people, {"tiny": store}, 0.0)["tiny"]
    assert found.shape == (len(people), 17, 2)
    side = people.box[:, 2:].max(axis=1)
    hips = found[:, [COCO17.index("left_hip"), COCO17.index("right_hip")]]
    assert np.allclose(hips[:, 0], side[:, None] * [-0.03, 0.02], rtol=0, atol=1e-4)
    assert np.allclose(hips[:, 1], side[:, None] * [0.03, 0.02], rtol=0, atol=1e-4)


def test_a_limit_takes_shards_from_everywhere(taught):
    """Three shards of 16 people: for 20 people one or two of them are enough, and for one person one."""
    people = load_people("coco", "train")
    views = load_views("coco", "train", people)
    store = open_target_store(project_of(params()), *STORE, people, views)
    spec = project_of(params()).teacher("tiny").spec

    def counted(limit: int) -> int:
        return int(calibrate.measure_calibration("tiny", spec, "coco", people, store, 0.0, limit).count[0])

    assert counted(5000) == people.use.sum()
    assert counted(1) == people.use[:16].sum()
    assert counted(27) == people.use[:16].sum() + people.use[32:].sum()


def test_scores_up_to_min_score_do_not_count(taught):
    lines = messages(min_score=1.0)
    assert lines[1].split() == ["nose", "+nan", "±", "nan", "+nan", "±", "nan", "0", "labels"]
    (written,) = json.loads(Path("data/calibration.json").read_text())
    assert written["offset"][0] == [None, None]


def test_another_dataset_is_compared_with_the_teachers_own(unprepared):
    """The same people under a second name: no difference."""
    changed = params()
    changed["datasets"]["other"] = PARAMS["datasets"]["coco"]
    prepare.run(project_of(changed), log=lambda line: None)
    teach.run(project_of(changed), "tiny", device="cpu", log=lambda line: None)
    lines: list[str] = []
    calibrate.run(project_of(changed), 0.0, log=lines.append)
    other = lines[lines.index("teacher tiny on other: offset in % of the longer box side, to the right and down") + 1]
    assert "+0.00  +0.00 against coco" in other
    assert "against" not in lines[1]


def test_a_missing_teacher_and_a_missing_store_are_errors_with_a_remedy(project):
    with pytest.raises(UserError, match="expected at least one to calibrate"):
        calibrate.run(project_of(params(teachers={})), 0.2, log=print)
    with pytest.raises(UserError, match="run `pipeline teach --teacher tiny`"):
        calibrate.run(project_of(params()), 0.2, log=print)
