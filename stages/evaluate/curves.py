"""The table of PCK curves: the share of keypoints within a distance, over distances, for every model on every test part."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.common.documents import csv_bytes
from pipeline.common.files import write_atomically
from pipeline.metrics.pck import relative_distances
from pipeline.people.people import People
from pipeline.people.poses import Poses

CURVES_FILE = Path("data/pck.csv")
THRESHOLDS = np.linspace(0, 0.3, 31)
"""Distances as shares of the person's longer box side."""
TEXT_COLUMNS = ("dataset", "model")
CURVE_COLUMNS = (*TEXT_COLUMNS, "threshold", "pck")


def pck_curve(truth: People, poses: Poses) -> np.ndarray:
    """Return float (len(THRESHOLDS),): the PCK of pipeline.metrics.pck at each threshold, 0 to 100; NaN where nothing is labelled."""
    distance, labelled = relative_distances(truth, poses)
    known = np.sort(distance[labelled & ~np.isnan(distance)])
    within = np.searchsorted(known, THRESHOLDS, side="right")
    return 100 * within / labelled.sum() if labelled.any() else np.full(len(THRESHOLDS), np.nan)


def write_curves(
    truths: Mapping[str, People], predicted: Mapping[str, Mapping[str, Poses]], path: Path = CURVES_FILE
) -> None:
    """Write a CSV file with CURVE_COLUMNS, a row per dataset, model and threshold, for the report and `dvc plots`."""
    rows = [
        {"dataset": dataset, "model": model, "threshold": f"{threshold:.2f}", "pck": f"{value:.3f}"}
        for dataset, models in predicted.items()
        for model, poses in models.items()
        for threshold, value in zip(THRESHOLDS, pck_curve(truths[dataset], poses), strict=True)
    ]
    write_atomically(path, csv_bytes(CURVE_COLUMNS, rows))
