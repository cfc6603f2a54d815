"""AP of resamples against pycocotools on files that really hold the drawn images, as often as they were drawn."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.datasets.coco import read_coco
from pipeline.metrics.ap_resampled import average_precision
from pipeline.metrics.bootstrap import Resamples, draw_resamples
from pipeline.metrics.coco_ap import keypoint_ap, keypoint_evaluation
from pipeline.metrics.prediction_files import read_coco_results
from pipeline.people.poses import Poses
from pipeline.pose.skeletons import COCO17, Skeleton

TWO = Skeleton("two", ("nose", "left_eye"))


def crowd_of(make_people, make_poses, images=12):
    """Up to four people an image, crowds and unlabelled ones among them, and poses of all qualities, some on empty images."""
    random = np.random.default_rng(4)
    image_id = np.sort(random.integers(100, 100 + images, 3 * images))
    n = len(image_id)
    points = random.uniform(0, 200, (n, 2, 2))
    points[random.random(n) < 0.15] = np.nan
    crowd = random.random(n) < 0.1
    truth = make_people(TWO, points, image_id=image_id, crowd=crowd)
    again = np.concatenate([np.arange(n), random.integers(0, n, n // 2)])  # some people are found twice
    off = np.nan_to_num(points[again]) + random.normal(0, 1, (len(again), 2, 2)) * random.uniform(
        0, 12, (len(again), 1, 1)
    )
    where = np.where(random.random(len(again)) < 0.1, random.integers(200, 203, len(again)), image_id[again])
    rank = np.array([(where[:i] == image).sum() for i, image in enumerate(where)])
    score = (random.permutation(where.max() + 1)[where] % 3 + rank) / 30  # ties, but none inside an image
    return truth, make_poses(TWO, off, image_id=where, score=score)


def drawn_files(truth, poses, images, counts):
    """The truth and the poses with every image as often as it was drawn, copies under ids of their own, in order."""
    people, found, ids, pose_ids = [], [], [], []
    for n, (image, count) in enumerate(zip(images, counts, strict=True)):
        for copy in range(count):
            rows, hits = np.flatnonzero(truth.image_id == image), np.flatnonzero(poses.image_id == image)
            people.append(rows)
            found.append(hits)
            ids.append(np.full(len(rows), 1000 * n + copy))
            pose_ids.append(np.full(len(hits), 1000 * n + copy))
    rows, hits = np.concatenate(people), np.concatenate(found)
    return replace(truth.rows(rows), image_id=np.concatenate(ids)), replace(
        poses.rows(hits), image_id=np.concatenate(pose_ids)
    )


def test_every_image_once_is_pycocotools_own_number(real):
    truth = read_coco(real / "evaluation" / "keypoints_truth.json")
    poses = read_coco_results(real / "evaluation" / "keypoints_results.json")
    metrics, matches = keypoint_evaluation(truth, poses)
    images = np.unique(np.concatenate([truth.image_id, poses.image_id]))
    once = Resamples(images, np.ones((1, len(images)), int))
    assert average_precision(matches, once) == pytest.approx([metrics["AP"]], abs=1e-12)
    assert round(metrics["AP"], 6) == 0.504884


def test_a_resample_is_what_pycocotools_says_of_the_drawn_images(make_people, make_poses):
    truth, poses = crowd_of(make_people, make_poses)
    metrics, matches = keypoint_evaluation(truth, poses)
    resamples = draw_resamples(np.concatenate([truth.image_id, poses.image_id]), 25, [3])
    found = average_precision(matches, resamples)
    expected = [
        keypoint_ap(*drawn_files(truth, poses, resamples.image_id, counts))["AP"] for counts in resamples.counts
    ]
    assert found == pytest.approx(expected, abs=1e-12)
    assert min(expected) > 0.1 and max(expected) < 0.9 and np.std(expected) > 0.02
    assert min(expected) < metrics["AP"] < max(expected)


def test_in_parts_it_is_the_same(make_people, make_poses, monkeypatch):
    matches = keypoint_evaluation(*crowd_of(make_people, make_poses))[1]
    resamples = draw_resamples(np.concatenate([matches.image_id, matches.person_image_id]), 7, [0])
    whole = average_precision(matches, resamples)
    monkeypatch.setattr("pipeline.metrics.ap_resampled.VALUES_AT_ONCE", 2 * len(matches.image_id))
    np.testing.assert_array_equal(average_precision(matches, resamples), whole)


def test_nobody_there_and_nobody_found(make_people, make_poses):
    points = np.zeros((2, 2, 2))
    truth, poses = make_people(TWO, points), make_poses(TWO, points)  # on images 500 and 501
    only = Resamples(np.array([500, 501]), np.array([[2, 0], [1, 1], [0, 2]]))
    matches = keypoint_evaluation(truth.rows(np.array([0])), poses)[1]
    np.testing.assert_allclose(average_precision(matches, only), [1, 1, np.nan])  # the false pose is not scored higher
    none = keypoint_evaluation(truth, make_poses(COCO17, np.zeros((0, 17, 2))))[1]
    np.testing.assert_array_equal(average_precision(none, only), [0, 0, 0])
    empty: Poses = poses.rows(np.zeros(2, bool))
    nobody = keypoint_evaluation(truth.rows(np.zeros(2, bool)), empty)[1]
    assert np.isnan(average_precision(nobody, only)).all()
