"""Reader of CrowdPose's JSON: COCO's format with 14 keypoints and no areas."""

from pipeline.common.files import FilePath
from pipeline.datasets.coco import Warn, read_coco
from pipeline.people.people import People
from pipeline.pose.skeletons import CROWDPOSE14


def read_crowdpose(path: FilePath, warn: Warn = lambda line: None) -> People:
    """Read every person of a CrowdPose file in CROWDPOSE14, otherwise as `read_coco`; head and neck count as labelled at v = 1.

    AP of these people is CrowdPose's own with one difference: CrowdPose leaves out people whose `num_keypoints`, which counts
    v = 2 only, is 0; here, people without a label are left out. Its easy, medium and hard images (`crowdIndex` up to 0.1, up to
    0.8, above) are not distinguished, and it has no APM and APL.
    """
    return read_coco(path, CROWDPOSE14, warn)
