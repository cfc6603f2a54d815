"""Readers of MPII as HRNet and MMPose distribute it (JSON), and of the official truth file. The release file is read elsewhere."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.common.files import FilePath
from pipeline.datasets.matlab import read_mat
from pipeline.people.people import People
from pipeline.people.validation import LARGEST_COORDINATE, Phrase, fail, field, file_name, number, numbers, read_json
from pipeline.pose.flip import flipped_name
from pipeline.pose.skeletons import MPII16

FIRST_PIXEL = 1.0
"""MPII counts pixels from (1, 1), as MATLAB does."""

SCALE_UNIT = 200.0
"""Pixels of body height that scale 1 stands for (human-pose.mpi-inf.mpg.de, annotation description)."""

CENTRE_SHIFT = 15.0
"""The region's centre lies 15 x scale below the annotated one (HRNet, lib/dataset/mpii.py)."""

TRUTH_NAMES = {
    "rank": "right_ankle",
    "rkne": "right_knee",
    "rhip": "right_hip",
    "pelv": "pelvis",
    "thor": "thorax",
    "neck": "upper_neck",
    "head": "head_top",
    "rwri": "right_wrist",
    "relb": "right_elbow",
    "rsho": "right_shoulder",
}
"""Names of the keypoints in `dataset_joints`; those of the left side start with l."""

TRUTH_NAMES |= {"l" + short[1:]: flipped_name(name) for short, name in TRUTH_NAMES.items() if name.startswith("right_")}

JOINT_TOLERANCE = 1.0
"""Largest difference in pixels between the copies of a joint in two files; real copies differ by 1e-4."""


@dataclass(frozen=True)
class MpiiTruth:
    """The truth of N people, coordinates 0-based; joints in MPII16's order."""

    joints: np.ndarray
    """float64 (N, 16, 2): x, y in image pixels; 0 where not labelled."""
    labelled: np.ndarray
    """bool (N, 16)."""
    head_box: np.ndarray
    """float64 (N, 4): x1, y1, x2, y2 in image pixels."""


def person_region(centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return unpadded person regions x, y, width, height, float64 (N, 4), of 0-based centres (N, 2) and scales (N,).

    A region is the square of side 200 x scale around (x, y + 15 x scale), before the padding of 1.25 that HRNet and MMPose add.
    """
    side = SCALE_UNIT * scale
    return np.column_stack([centre[:, 0] - side / 2, centre[:, 1] + CENTRE_SHIFT * scale - side / 2, side, side])


def read_mpii_json(path: FilePath, truth_mat: FilePath | None = None) -> People:
    """Read every person of the JSON in its order; `person` is the row, `image_wh` (0, 0), as the format has no image size.

    Joints and centres are 1-based in the file, 0-based here. `use`: a centre other than (-1, ..), a positive scale, a
    labelled joint. With `truth_mat` (`mpii_gt_val.mat`) the head boxes come from there, and a joint counts as labelled if
    both files label it: their coordinates agree wherever both do, and are a placeholder in a file that does not. Rows are
    matched by position, and checked, if both files have equally many people, else by joints. UserError on anything
    malformed, and on a row without exactly one match.
    """
    document = read_json(path)
    if not isinstance(document, list):
        fail(str(path), "a list of people", document)
    n, k = len(document), len(MPII16)
    image: list[str] = []
    centre, scale = np.zeros((n, 2)), np.zeros(n)
    keypoints, labelled = np.zeros((n, k, 2)), np.zeros((n, k), bool)
    for row, entry in enumerate(document):
        where = (path, "person", row)
        image.append(file_name(field(entry, "image", where), where))
        scale[row] = number(field(entry, "scale", where), where, "`scale`", most=1e4)
        centre[row] = numbers(field(entry, "center", where), 2, where, "`center`")
        joints = field(entry, "joints", where)
        visible = numbers(field(entry, "joints_vis", where), k, where, "`joints_vis`")
        if not isinstance(joints, list) or len(joints) != k:
            fail(
                where, f"`joints` to hold {k} points", Phrase(str(len(joints))) if isinstance(joints, list) else joints
            )
        points = np.stack([numbers(point, 2, where, "each of `joints`") for point in joints])
        labelled[row] = visible > 0
        keypoints[row][labelled[row]] = points[labelled[row]] - FIRST_PIXEL

    placed = (centre[:, 0] != -1) & (scale > 0)
    box = np.where(placed[:, None], person_region(centre - FIRST_PIXEL, scale), 0.0)
    names = list(dict.fromkeys(image))
    numbered = {name: i for i, name in enumerate(names)}
    people = People(
        skeleton=MPII16,
        person=np.arange(n, dtype=np.int64),
        image=np.array(image, dtype=np.str_),
        image_id=np.array([numbered[name] for name in image], dtype=np.int64),
        image_wh=np.zeros((n, 2), np.int32),
        box=box,
        area=box[:, 2] * box[:, 3],
        crowd=np.zeros(n, bool),
        use=placed & labelled.any(axis=1),
        keypoints=keypoints,
        labelled=labelled,
        head_box=np.full((n, 4), np.nan),
    )
    return people if truth_mat is None else with_truth(people, path, truth_mat)


def with_truth(people: People, path: FilePath, truth_mat: FilePath) -> People:
    """Return the people with the head boxes, and the labels, of the truth file."""
    truth = read_mpii_truth(truth_mat)
    rows = matched_rows(people, truth, path, truth_mat)
    labelled = people.labelled & truth.labelled[rows]
    return replace(
        people,
        labelled=labelled,
        keypoints=np.where(labelled[..., None], people.keypoints, 0.0),
        use=people.use & labelled.any(axis=1),
        head_box=truth.head_box[rows],
    )


def matched_rows(people: People, truth: MpiiTruth, path: FilePath, truth_mat: FilePath) -> np.ndarray:
    """Return each person's row in the truth, int64 (N,); UserError if one is not certain."""
    n, total = len(people), len(truth.joints)
    if n > total:
        fail(str(path), f"at most the {total} people of {truth_mat}", Phrase(str(n)))
    rows = np.arange(n, dtype=np.int64)
    if n == total:
        difference, shared = joint_differences(people.keypoints, people.labelled, truth.joints, truth.labelled)
        wrong = np.flatnonzero(shared & (difference > JOINT_TOLERANCE))
        if len(wrong):
            row = int(wrong[0])
            found = Phrase(f"one {difference[row]:.1f} px away")
            fail((path, "person", row), f"its joints as in row {row} of {truth_mat}", found)
        return rows
    for row in range(n):
        own = (people.keypoints[row : row + 1], people.labelled[row : row + 1])
        difference, shared = joint_differences(*own, truth.joints, truth.labelled)
        fits = np.flatnonzero(shared & (difference <= JOINT_TOLERANCE))
        if len(fits) != 1:
            fail((path, "person", row), f"one person with its joints in {truth_mat}", Phrase(f"{len(fits)}"))
        rows[row] = fits[0]
    if len(set(rows.tolist())) < n:
        fail(str(path), f"every person of {truth_mat} at most once", Phrase("one twice"))
    return rows


def joint_differences(
    a: np.ndarray, a_labelled: np.ndarray, b: np.ndarray, b_labelled: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest |difference| in x or y over joints that both label, float (N,), 0 if none, and whether there are any.

    Joints are (N, 16, 2), labels (N, 16); one side may be a single person, (1, ..), who is compared with all the others.
    """
    both = a_labelled & b_labelled
    return np.where(both, np.abs(a - b).max(axis=2), 0.0).max(axis=1), both.any(axis=1)


def read_mpii_truth(path: FilePath) -> MpiiTruth:
    """Read the validation truth (`mpii_gt_val.mat`); UserError if its joints are not MPII16's, in that order."""
    variables = read_mat(path)
    names = [TRUTH_NAMES.get(name, name) for name in joint_names(variables, path)]
    if names != list(MPII16.keypoints):
        fail((path, "`dataset_joints`"), "MPII's 16 joints in their order", names)
    joints = numeric_array(variables, "pos_gt_src", path).astype(np.float64)
    if joints.ndim != 3 or joints.shape[:2] != (16, 2):
        fail((path, "`pos_gt_src`"), "shape (16, 2, N)", joints.shape)
    n = joints.shape[2]
    missing, boxes = numeric_array(variables, "jnt_missing", path), numeric_array(variables, "headboxes_src", path)
    if missing.shape != (16, n):
        fail((path, "`jnt_missing`"), f"shape (16, {n})", missing.shape)
    if boxes.shape != (2, 2, n):
        fail((path, "`headboxes_src`"), f"shape (2, 2, {n})", boxes.shape)
    labelled = missing.T == 0
    joints = np.where(labelled[..., None], joints.transpose(2, 0, 1), FIRST_PIXEL)
    for name, values in (("pos_gt_src", joints), ("headboxes_src", boxes)):
        if not (np.isfinite(values) & (np.abs(values) <= LARGEST_COORDINATE)).all():
            fail((path, f"`{name}`"), "finite coordinates", Phrase("NaN, infinity or an enormous number"))
    head_box = boxes.astype(np.float64).transpose(2, 0, 1).reshape(n, 4) - FIRST_PIXEL
    return MpiiTruth(joints - FIRST_PIXEL, labelled, head_box)


def numeric_array(variables: dict[str, Any], key: str, path: FilePath) -> np.ndarray:
    """Return a variable of the truth file; UserError if it is not an array of numbers."""
    value = field(variables, key, str(path))
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        fail((path, f"`{key}`"), "an array of numbers", value)
    return value


def joint_names(variables: dict[str, Any], path: FilePath) -> list[str]:
    """Return the names in `dataset_joints`, a cell array."""
    cells = field(variables, "dataset_joints", str(path))
    texts = [np.asarray(cell).ravel() for cell in np.ravel(cells)]
    return [str(text[0]) if text.size and text.dtype.kind == "U" else "" for text in texts]
