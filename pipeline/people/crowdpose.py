"""Reader of CrowdPose's JSON: COCO's format with 14 keypoints and no areas."""

from pipeline.people.coco import Path, read_coco
from pipeline.people.people import People
from pipeline.skeletons import CROWDPOSE14

BODY = 0.53
"""Share of a box that the evaluation of CrowdPose takes for the person's area (crowdpose-api and xtcocotools, `use_area` off)."""


def read_crowdpose(path: Path) -> People:
    """Every person of a CrowdPose file in CROWDPOSE14, otherwise as `read_coco`: head and neck are labelled though their v is 1.

    AP of these people is CrowdPose's own but for one thing: it leaves out whom its `num_keypoints`, which counts v = 2 alone, is 0,
    and we whom nothing is labelled of. Its easy, medium and hard pictures (`crowdIndex` up to 0.1, up to 0.8, above) are not told
    apart, and it has no APM and APL.
    """
    return read_coco(path, CROWDPOSE14, BODY)
