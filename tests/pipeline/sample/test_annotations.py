import numpy as np

from pipeline.pose.skeletons import COCO17, HALPE26, MPII16
from pipeline.sample.annotations import Drawn, coco_file, halpe_file, mpii_file, mpii_truth_arrays
from pipeline.sample.body import BODY
from pipeline.sample.scene import Person

NOSE = BODY.index("nose")
KNEE = BODY.index("left_knee")


def person(**changes) -> Person:
    """Keypoint k of BODY at (10 k, 10 k + 1); the nose hidden, the left knee outside the image."""
    keypoints = 10.0 * np.arange(len(BODY))[:, None] + (0.0, 1.0)
    inside = np.arange(len(BODY)) != KNEE
    visible = inside & (np.arange(len(BODY)) != NOSE)
    fields = dict(
        keypoints=keypoints,
        inside=inside,
        visible=visible,
        labelled=inside,
        box=np.array([0.0, 1, 200, 100]),
        area=50.0,
    )
    return Person(**(fields | dict(head_box=np.array([1.0, 2, 3, 4]), faces_camera=1.0) | changes))


def drawn(*people: Person) -> list[Drawn]:
    return [Drawn(7, "a.jpg", 256, people)]


def by_name(annotation: dict, names: tuple[str, ...]) -> dict[str, list[float]]:
    return {name: annotation["keypoints"][3 * k : 3 * k + 3] for k, name in enumerate(names)}


def test_coco_writes_pixels_and_visibility_by_name():
    annotation = coco_file(drawn(person()))["annotations"][0]
    points = by_name(annotation, COCO17.keypoints)
    assert points["nose"] == [0, 1, 1]
    assert points["left_knee"] == [0, 0, 0]
    assert points["right_hip"] == [10 * BODY.index("right_hip"), 10 * BODY.index("right_hip") + 1, 2]
    assert annotation["num_keypoints"] == 16
    assert (annotation["id"], annotation["image_id"], annotation["bbox"], annotation["area"]) == (
        701,
        7,
        [0, 1, 200, 100],
        50,
    )


def test_halpe_and_coco_agree_by_name():
    coco = by_name(coco_file(drawn(person()))["annotations"][0], COCO17.keypoints)
    halpe_annotation = halpe_file(drawn(person()))["annotations"][0]
    halpe = by_name(halpe_annotation, HALPE26.keypoints)
    assert {name: halpe[name] for name in coco} == coco
    assert halpe["left_big_toe"][0] == 10 * BODY.index("left_big_toe")
    assert len(halpe_annotation["keypoints"]) == 3 * 136 and not any(halpe_annotation["keypoints"][78:])
    assert halpe_annotation["num_keypoints"] == 25


def test_mpii_is_one_based_and_leaves_out_what_is_outside():
    entry = mpii_file(drawn(person()))[0]
    thorax = 10.0 * BODY.index("thorax")
    assert entry["joints"][MPII16.index("thorax")] == [thorax + 1, thorax + 2]
    assert entry["joints"][MPII16.index("left_knee")] == [-1, -1]
    assert entry["joints_vis"][MPII16.index("left_knee")] == 0 and sum(entry["joints_vis"]) == 15
    # Box 0..199 x 1..100: centre (99.5, 50.5), side 200 x 1.15, so scale 1.15 and y is 15 x 1.15 higher.
    assert entry["scale"] == 1.15 and entry["center"] == [100.5, 34.25]


def test_mpii_truth_has_corners_as_rows():
    truth = mpii_truth_arrays(drawn(person(), person()))
    assert truth["headboxes_src"][:, :, 1].tolist() == [[2, 3], [4, 5]]
    assert truth["jnt_missing"].sum(axis=0).tolist() == [1, 1]
    assert truth["pos_gt_src"][MPII16.index("left_knee"), :, 0].tolist() == [0, 0]


def test_crowds_and_people_without_keypoints():
    blank = np.zeros(len(BODY), dtype=bool)
    annotation = coco_file(drawn(person(labelled=blank, crowd=True)))["annotations"][0]
    assert annotation["iscrowd"] == 1 and annotation["num_keypoints"] == 0 and not any(annotation["keypoints"])
