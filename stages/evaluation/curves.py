"""The table of PCK curves: the share of keypoints within a distance, over distances, of every model on every test part."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.files import write_atomically
from pipeline.people.people import People
from pipeline.scores.pck import relative_distances
from pipeline.scores.poses import Poses

CURVES = Path("data/pck.csv")
THRESHOLDS = np.linspace(0, 0.3, 31)
"""Of the person's longer box side."""
TEXTS = ("dataset", "model")
COLUMNS = (*TEXTS, "threshold", "pck")


def pck_curve(truth: People, poses: Poses) -> np.ndarray:
    """Float (len(THRESHOLDS),), 0 to 100: PCK as pipeline.scores.pck has it, at each threshold; NaN where nothing is labelled."""
    distance, labelled = relative_distances(truth, poses)
    known = np.sort(distance[labelled & ~np.isnan(distance)])
    within = np.searchsorted(known, THRESHOLDS, side="right")
    return 100 * within / labelled.sum() if labelled.any() else np.full(len(THRESHOLDS), np.nan)


def write_curves(truths: Mapping[str, People], shown: Mapping[str, Mapping[str, Poses]], path: Path = CURVES) -> None:
    """CSV with COLUMNS: a row per dataset, model and threshold, for the report and `dvc plots`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for dataset, models in shown.items():
        for model, poses in models.items():
            for threshold, value in zip(THRESHOLDS, pck_curve(truths[dataset], poses), strict=True):
                writer.writerow([dataset, model, f"{threshold:.2f}", f"{value:.3f}"])
    write_atomically(path, text.getvalue().encode())
