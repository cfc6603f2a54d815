import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.common.errors import UserError
from pipeline.datasets.coco import read_coco, read_listing
from pipeline.metrics.coco_ap import METRIC_NAMES, keypoint_ap
from pipeline.metrics.prediction_files import read_coco_results, refuse_unknown_images
from pipeline.people.poses import person_score
from pipeline.pose.skeletons import COCO17, HALPE26, MPII16, union

README = [0.504884, 0.722772, 0.633663, 0.466337, 0.750495, 0.518182, 0.727273, 0.636364, 0.466667, 0.75]
"""METRIC_NAMES on the files of `evaluation/`, computed with another implementation."""


def spread(people, skeleton=COCO17):
    """Keypoints (N, K, 2) that lie apart."""
    k = len(skeleton)
    return np.random.default_rng(0).uniform(0, 200, (people, k, 2))


def test_the_published_numbers_to_the_digit(real):
    found = keypoint_ap(
        read_coco(real / "evaluation" / "keypoints_truth.json"),
        read_coco_results(real / "evaluation" / "keypoints_results.json"),
    )
    assert list(found) == list(METRIC_NAMES)
    assert [round(value, 6) for value in found.values()] == README


def official(truth, results, persons=None):
    """pycocotools' numbers of two files, of the categories `persons` where they are given."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(str(results)), "keypoints")
        evaluation.params.catIds = persons or evaluation.params.catIds
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [value if value >= 0 else np.nan for value in evaluation.stats]


def test_tables_score_as_pycocotools_scores_the_files(real, capsys):
    truth, results = (real / "evaluation" / f"keypoints_{name}.json" for name in ("truth", "results"))
    assert list(keypoint_ap(read_coco(truth), read_coco_results(results)).values()) == official(truth, results)
    assert capsys.readouterr().out == ""


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_persons_category_the_score_is_pycocotools(tmp_path, data):
    """People and dogs, whose ids are anything; poses of both and of a category that the truth lacks; images that stand twice."""
    person, dog, foreign = data.draw(st.lists(st.integers(0, 9), min_size=3, max_size=3, unique=True))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(3)] * data.draw(st.integers(1, 2))
    of_truth = data.draw(st.lists(st.sampled_from([person, dog]), max_size=5))
    of_poses = data.draw(st.lists(st.sampled_from([person, dog, foreign]), max_size=5))
    annotations, poses = [], []
    for n, category in enumerate([person, *of_truth]):
        points = np.column_stack([random.uniform(0, 60, (17, 2)), np.full(17, 2)])
        moved = points + np.array([random.uniform(0, 8), 0, 0])
        entry = {"image_id": n % 3, "category_id": category, "keypoints": points.ravel().tolist()}
        annotations.append(
            {**entry, "id": n + 1, "bbox": [0, 0, 60, 60], "area": 2000, "iscrowd": 0, "num_keypoints": 17}
        )
        poses.append(
            {
                **entry,
                "keypoints": moved.ravel().tolist(),
                "category_id": [person, *of_poses, *[foreign] * 5][n],
                "score": 1 - n / 9,
            }
        )
    categories = [{"id": dog, "name": "dog"}, {"id": person, "name": "person"}]
    truth, results = tmp_path / "truth.json", tmp_path / "results.json"
    truth.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    results.write_text(json.dumps(poses))
    found = keypoint_ap(read_coco(truth), read_coco_results(results, persons=read_listing(truth).persons))
    assert list(found.values()) == pytest.approx(official(truth, results, [person]), nan_ok=True)


def test_the_truth_as_its_own_prediction_is_perfect(real, make_poses):
    truth = read_coco(real / "coco" / "person_keypoints.json")
    used = truth.rows(truth.use)
    poses = make_poses(COCO17, used.keypoints, image_id=used.image_id)
    found = keypoint_ap(truth, poses)
    assert found["AP"] > 0.99 and found["AR"] > 0.99


def test_keypoints_are_matched_by_name(make_people, make_poses):
    points = spread(3)
    truth = make_people(COCO17, points)
    student = union([MPII16, COCO17])
    predicted = np.full((3, len(student), 2), 7.0)
    predicted[:, [student.index(k) for k in COCO17.keypoints]] = points
    assert keypoint_ap(truth, make_poses(student, predicted))["AP"] == pytest.approx(1)


def test_a_subset_of_the_keypoints(make_people, make_poses):
    points = spread(3, HALPE26)
    truth = make_people(HALPE26, points)
    wrong = points.copy()
    wrong[:, [HALPE26.index(k) for k in ("left_heel", "right_heel", "pelvis")]] += 1000
    poses = make_poses(HALPE26, wrong)
    assert keypoint_ap(truth, poses, COCO17.keypoints)["AP"] == pytest.approx(1)
    assert keypoint_ap(truth, poses, ("left_heel", "pelvis"))["AP"] == 0
    with pytest.raises(UserError, match="expected ones of halpe26, found thorax"):
        keypoint_ap(truth, poses, ("nose", "thorax"))


def test_a_keypoint_that_is_not_predicted_scores_nothing(make_people, make_poses):
    points = spread(1)
    truth = make_people(COCO17, points)
    student = union([MPII16])
    predicted = points[:, np.maximum(MPII16.positions_in(COCO17), 0)]
    # 12 of 17 are there and exact: OKS 0.70588, which passes the thresholds 0.50, 0.55, .. 0.70, five of ten.
    found = keypoint_ap(truth, make_poses(student, predicted))
    assert found["AP"] == pytest.approx(0.5) and found["AP50"] == pytest.approx(1) and found["AP75"] == 0
    as_nan = points.copy()
    as_nan[:, COCO17.positions_in(MPII16) < 0] = np.nan
    assert keypoint_ap(truth, make_poses(COCO17, as_nan)) == pytest.approx(found, nan_ok=True)
    # The far away stand-in must not turn an unmatched pose into a large one, that APM would then ignore.
    small = make_people(COCO17, points / 4, area=np.array([2000.0]))
    false = make_poses(student, np.concatenate([predicted / 4, predicted / 4 + 400]), image_id=np.array([500, 500]))
    first_false = make_poses(
        student, false.keypoints, image_id=false.image_id, score=np.array([0.5, 0.9]), person=false.person
    )
    assert keypoint_ap(small, false)["APM"] == pytest.approx(0.5)
    assert keypoint_ap(small, first_false)["APM"] == pytest.approx(0.25)


def test_oks_by_hand(make_people, make_poses):
    nose = COCO17.index("nose")
    only_nose = np.full((1, 17, 2), np.nan)
    only_nose[0, nose] = 50, 60
    truth = make_people(COCO17, only_nose, area=np.array([10_000.0]))
    # OKS = exp(-d^2 / (2 x area x (2 sigma)^2)), sigma 0.026: at 5 px exp(-0.46227) = 0.62985, so 0.50 to 0.60 pass.
    predicted = np.zeros((1, 17, 2))
    predicted[0, nose] = 53, 64
    assert keypoint_ap(truth, make_poses(COCO17, predicted))["AP"] == pytest.approx(0.3)


def test_crowds_and_unlabelled_people_excuse_poses(make_people, make_poses):
    points = spread(2)
    unlabelled = points.copy()
    unlabelled[1] = np.nan
    poses = make_poses(COCO17, points, image_id=np.array([500, 500]), score=np.array([0.5, 0.9]))
    same = {"image_id": np.array([500, 500]), "box": np.tile([0.0, 0, 200, 200], (2, 1))}
    crowd = np.array([False, True])
    assert keypoint_ap(make_people(COCO17, unlabelled, crowd=crowd, **same), poses)["AP"] == pytest.approx(1)
    assert keypoint_ap(make_people(COCO17, unlabelled, **same), poses)["AP"] == pytest.approx(1)
    assert keypoint_ap(make_people(COCO17, points[:1]), poses)["AP"] == pytest.approx(0.5)


def test_a_pose_on_a_image_without_people_is_false(make_people, make_poses):
    points = spread(2)
    poses = make_poses(COCO17, points, score=np.array([0.5, 0.9]))
    assert keypoint_ap(make_people(COCO17, points[:1]), poses)["AP"] == pytest.approx(0.5)


def test_nobody_predicted_and_nobody_there(make_people, make_poses):
    nobody = make_poses(COCO17, np.zeros((0, 17, 2)))
    truth = make_people(COCO17, spread(2))
    found = keypoint_ap(truth, nobody)
    assert found["AP"] == 0 and found["AR"] == 0
    empty = keypoint_ap(truth.rows(np.zeros(2, bool)), make_poses(COCO17, spread(1)))
    assert np.isnan(list(empty.values())).all()
    missing = make_poses(COCO17, np.full((1, 17, 2), np.nan))
    assert keypoint_ap(truth, missing)["AP"] == 0


def test_scores_that_are_no_numbers_are_refused(make_people, make_poses):
    with pytest.raises(UserError, match="expected finite numbers, found nan in row 1"):
        keypoint_ap(make_people(COCO17, spread(2)), make_poses(COCO17, spread(2), score=np.array([1, np.nan])))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keypoints": [0] * 48}, "pose 0: expected `keypoints` to hold 51 numbers, found 48"),
        ({"keypoints": None}, "pose 0: expected `keypoints` to be a list of numbers, found None"),
        ({"score": "high"}, "pose 0: expected `score` to be a finite number, found 'high'"),
        ({"image_id": 1.5}, "pose 0: expected `image_id` to be a whole number of at least 0, found 1.5"),
    ],
)
def test_bad_results_files_are_named(tmp_path, change, words):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 5, "category_id": 1, "keypoints": [0] * 51, "score": 1} | change]))
    with pytest.raises(UserError) as error:
        read_coco_results(path)
    assert str(error.value) == f"{path}: {words}"


def test_results_on_unknown_images_are_refused(tmp_path):
    results, truth = tmp_path / "results.json", tmp_path / "truth.json"
    results.write_text(json.dumps([{"image_id": 5, "category_id": 1, "keypoints": [0] * 51, "score": 1}]))
    images = [{"id": 4, "file_name": "a.jpg", "width": 9, "height": 9}]
    categories = [{"id": 1, "name": "person"}]
    truth.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    with pytest.raises(
        UserError, match=r"results\.json: expected poses on the images of .*truth\.json, found image_id 5"
    ):
        refuse_unknown_images(read_coco_results(results), read_listing(truth).images, results, truth)


def test_person_score_by_hand():
    confidence = np.array([[0.9, 0.5, 0.2, 0.1], [0.1, 0.2, 0.0, 0.0]])
    np.testing.assert_allclose(person_score(confidence), [0.7, 0])
    np.testing.assert_allclose(person_score(confidence, np.array([0.5, 1])), [0.35, 0])
    np.testing.assert_allclose(person_score(confidence, threshold=0.05), [0.425, 0.15])
    assert person_score(confidence[0]) == pytest.approx(0.7)
