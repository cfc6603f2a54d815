"""Names of the scores of a dataset, and which of them is the main one. Computes nothing."""

import re
from collections.abc import Iterable

from pipeline.pose.options import ScoreKind

SCORE_NAMES: dict[ScoreKind, str] = {"ap": "AP", "pckh": "PCKh@0.5", "pck": "PCK@0.2 torso"}
"""Main score of a dataset that students are trained on, by the kind that params.yaml names."""
WEIGHTED_SUFFIX = " weighted"
"""Ending of the PCKh whose mean is weighted as HRNet and MMPose weight it; the published mean has no ending."""
AP_ON_DETECTIONS = "AP on detections"
SHARED_SCORE = r"AP-\d+|PCK-\d+@0\.2 torso"
"""Pattern of the scores over that many keypoints which a dataset shares with the students, where it has others too."""


def main_score(names: Iterable[str]) -> str | None:
    """Return which of a dataset's scores compares models: AP, PCKh@0.5 or PCK@0.2 of the torso, over all keypoints or all shared ones.

    None where there is none of them.
    """
    names = list(names)
    subsets = [name for name in names if re.fullmatch(SHARED_SCORE, name)]
    return next((name for name in (*SCORE_NAMES.values(), *subsets[::-1]) if name in names), None)
