"""Names of the scores of a dataset, and which of them is the main one. Computes nothing."""

import re
from collections.abc import Iterable

from pipeline.pose.options import ScoreKind

SCORE_NAMES: dict[ScoreKind, str] = {"ap": "AP", "pckh": "PCKh@0.5"}
"""Main score of a dataset that students are trained on, by the kind that params.yaml names."""
WEIGHTED_SUFFIX = " weighted"
"""Ending of the PCKh whose mean is weighted as HRNet and MMPose weight it; the published mean has no ending."""
AP_ON_DETECTIONS = "AP on detections"


def main_score(names: Iterable[str]) -> str | None:
    """Return which of a dataset's scores compares models: AP, else PCKh@0.5, else AP over all keypoints that students share.

    None where there is none of them.
    """
    names = list(names)
    subsets = [name for name in names if re.fullmatch(r"AP-\d+", name)]
    return next((name for name in (*SCORE_NAMES.values(), *subsets[::-1]) if name in names), None)
