"""COCO AP with its bootstrap intervals against pycocotools alone: CPU seconds in the same run.

    python -m benchmarks.evaluation
    python -m benchmarks.evaluation --people 17028

Draws people in images and poses near them, and evaluates them by turns: pycocotools' ten numbers; ours, which are the same; and the AP
of 1000 resamples of the images. Writes JSON to results/benchmarks.
"""

import argparse
import contextlib
import functools
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from benchmarks.machine import RESULTS, machine, write
from pipeline.metrics.ap_resampled import average_precision
from pipeline.metrics.bootstrap import draw_resamples
from pipeline.metrics.coco_ap import METRIC_NAMES, coco_index, keypoint_evaluation, pose_annotations, truth_annotations
from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.skeletons import COCO17

RESAMPLES = 1000
PEOPLE_PER_IMAGE = 6


def main() -> None:
    """Parse options, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    truth, poses = drawn(options.people)
    resamples = draw_resamples(np.concatenate([truth.image_id, poses.image_id]), RESAMPLES, [0])
    seconds: dict[str, list[float]] = {"pycocotools": [], "ours": [], "bootstrap": []}
    for _ in range(options.rounds):
        theirs = timed(seconds["pycocotools"], lambda: pycocotools_stats(truth, poses))
        ours, matches = timed(seconds["ours"], lambda: keypoint_evaluation(truth, poses))
        timed(seconds["bootstrap"], functools.partial(average_precision, matches, resamples))
        assert list(ours.values()) == list(theirs), "the ten numbers differ"
    median = {name: statistics.median(values) for name, values in seconds.items()}
    result: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m benchmarks.evaluation", *sys.argv[1:]]),
        "poses": len(poses),
        "images": len(resamples.image_id),
        "resamples": RESAMPLES,
        "CPU seconds": {name: round(value, 3) for name, value in median.items()},
        "ours with the bootstrap / pycocotools": round(
            (median["ours"] + median["bootstrap"]) / median["pycocotools"], 3
        ),
        "bootstrap / ours": round(median["bootstrap"] / median["ours"], 3),
        "scores": {name: round(value, 6) for name, value in zip(METRIC_NAMES, theirs, strict=True)},
    }
    print(write("evaluation", result, options.out))


def timed(seconds: list[float], run: Callable[[], Any]) -> Any:
    """Run it, and add its CPU seconds: other programs of the machine cost none."""
    start = time.process_time()
    result = run()
    seconds.append(time.process_time() - start)
    return result


def pycocotools_stats(truth: People, poses: Poses) -> np.ndarray:
    """Return the ten numbers of pycocotools itself, of documents that are made as ours are."""
    images = sorted({*truth.image_id.tolist(), *poses.image_id.tolist()})
    with contextlib.redirect_stdout(io.StringIO()):
        indices = [
            coco_index(each, images) for each in (truth_annotations(truth, COCO17), pose_annotations(poses, COCO17))
        ]
        evaluation = COCOeval(*indices, "keypoints")
        evaluation.params.kpt_oks_sigmas = COCO17.sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats)


def drawn(n: int) -> tuple[People, Poses]:
    """Return n people in images of about PEOPLE_PER_IMAGE, some of them crowds, and as many poses from exact to far off."""
    random = np.random.default_rng(0)
    image_id = np.sort(random.integers(0, max(2, n // PEOPLE_PER_IMAGE), n))
    side = random.uniform(40, 300, n)
    box = np.stack([random.uniform(0, 300, n), random.uniform(0, 300, n), side, 1.5 * side], axis=1)
    keypoints = box[:, None, :2] + random.uniform(0, 1, (n, 17, 2)) * box[:, None, 2:]
    labelled, crowd = random.random((n, 17)) < 0.7, random.random(n) < 0.01
    names = np.array([f"{image}.jpg" for image in image_id])
    wh, no_head, ids = np.full((n, 2), 640, np.int32), np.full((n, 4), np.nan), np.arange(n)
    use, area = labelled.any(axis=1) & ~crowd, 0.5 * box[:, 2] * box[:, 3]
    truth = People(COCO17, ids, names, image_id, wh, box, area, crowd, use, keypoints, labelled, no_head)
    quality = random.exponential(0.03, n)
    found = keypoints + random.normal(0, 1, keypoints.shape) * (side * quality)[:, None, None]
    score = np.exp(-10 * quality) * random.uniform(0.7, 1, n)
    return truth, Poses(COCO17, image_id, found, np.full((n, 17), 0.9), score, ids)


if __name__ == "__main__":
    main()
