"""The similarities and the ten numbers of pycocotools, bit for bit."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from pipeline.datasets.coco import read_coco
from pipeline.metrics.coco_ap import METRIC_NAMES, coco_index, keypoint_ap, pose_annotations, truth_annotations
from pipeline.metrics.oks import FastCOCOeval
from pipeline.metrics.prediction_files import read_coco_results
from pipeline.pose.skeletons import COCO17
from tests.pipeline.metrics.test_ap_resampled import TWO, crowd_of


def evaluated(kind, truth, poses, skeleton):
    images = sorted({*truth.image_id.tolist(), *poses.image_id.tolist()})
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = kind(
            coco_index(truth_annotations(truth, skeleton), images),
            coco_index(pose_annotations(poses, skeleton), images),
            "keypoints",
        )
        evaluation.params.kpt_oks_sigmas = skeleton.sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_the_same(truth, poses, skeleton):
    ours, theirs = (evaluated(kind, truth, poses, skeleton) for kind in (FastCOCOeval, COCOeval))
    assert ours.ious.keys() == theirs.ious.keys() and any(len(values) for values in theirs.ious.values())
    for image, values in theirs.ious.items():
        assert np.array_equal(ours.ious[image], values), image
    for mine, other in zip(ours.evalImgs, theirs.evalImgs, strict=True):
        assert (mine is None) == (other is None)
        for key in other or {}:
            assert np.array_equal(mine[key], other[key]), key
    assert np.array_equal(ours.stats, theirs.stats)
    assert np.array_equal(ours.eval["precision"], theirs.eval["precision"])
    return theirs.stats


def test_crowds_and_people_without_labels(make_people, make_poses):
    assert_the_same(*crowd_of(make_people, make_poses, images=40), TWO)


def test_many_keypoints(make_people, make_poses):
    random = np.random.default_rng(1)
    image_id = np.sort(random.integers(0, 10, 60))
    points = random.uniform(0, 300, (60, 17, 2))
    points[random.random((60, 17)) < 0.3] = np.nan
    truth = make_people(COCO17, points, image_id=image_id)
    found = np.nan_to_num(points) + random.normal(0, 8, points.shape)
    assert_the_same(truth, make_poses(COCO17, found, image_id=image_id, score=random.random(60)), COCO17)


def test_real_predictions(real):
    truth = read_coco(real / "evaluation" / "keypoints_truth.json")
    poses = read_coco_results(real / "evaluation" / "keypoints_results.json")
    stats = assert_the_same(truth, poses, COCO17)
    assert keypoint_ap(truth, poses) == pytest.approx(dict(zip(METRIC_NAMES, stats, strict=True)), abs=0, nan_ok=True)
