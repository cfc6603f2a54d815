"""AP of AIC's and CrowdPose's people against xtcocotools 1.14.3, which MMPose scores them with."""

import numpy as np
import pytest

from pipeline.datasets.aic import read_aic
from pipeline.datasets.crowdpose import read_crowdpose
from pipeline.metrics.coco_ap import keypoint_ap
from pipeline.people.poses import Poses


@pytest.mark.parametrize(
    ("name", "read", "step", "expected"),
    [
        # COCOeval(.., "keypoints_crowd", sigmas, use_area=False), in the order AP, AP50, AP75, AR, AR50, AR75
        ("crowdpose", read_crowdpose, 4.0, [0.389439, 0.422442, 0.422442, 0.45, 0.5, 0.5]),
        # COCOeval(.., "keypoints", sigmas, use_area=False)
        ("aic", read_aic, 1.5, [0.291254, 0.536304, 0.227723, 0.288889, 0.555556, 0.222222]),
        ("aic", read_aic, 0.7, [0.652601, 1.0, 0.716957, 0.677778, 1.0, 0.777778]),
    ],
)
def test_shifted_truth_scores_as_elsewhere(real, name, read, step, expected):
    """The n-th person of the file, shifted by n x step pixels in x and y, with score 1 - 0.05 (n - 1). Printed to 6 digits."""
    people = read(real / name / f"test_{name}.json")
    shift = step * (1 + np.arange(len(people)))[:, None, None]
    score = 1 - 0.05 * np.arange(len(people))
    poses = Poses(
        people.skeleton, people.image_id, people.keypoints + shift, np.ones((len(people), 14)), score, people.person
    )
    found = keypoint_ap(people, poses)
    assert [found[key] for key in ("AP", "AP50", "AP75", "AR", "AR50", "AR75")] == pytest.approx(expected, abs=1e-6)


def test_a_part_of_the_keypoints_keeps_its_sigmas(real):
    """Head and neck, shifted by 0.079 x 2 x the root of the area: exp(-1/2) = 0.607 in OKS, so right at 0.5, 0.55 and 0.6."""
    people = read_crowdpose(real / "crowdpose" / "test_crowdpose.json")
    people = people.rows(people.use)
    away = 2 * 0.079 * np.sqrt(people.area)
    moved = people.keypoints + np.stack([away, np.zeros(len(people))], axis=1)[:, None]
    ones = np.ones(len(people))
    poses = Poses(people.skeleton, people.image_id, moved, np.ones((len(people), 14)), ones, people.person)
    assert keypoint_ap(people, poses, ("head_top", "upper_neck"))["AP"] == pytest.approx(0.3, abs=1e-9)
