"""Rows of the table of bad input: skeletons of one's own, and the datasets and teachers that name them."""

# ruff: noqa: E501 (what is printed is one line)

import json
from typing import Any

from pipeline.pose.spec import SPEC_KEYS
from tests.faults.changes import teacher
from tests.faults.table import PREPARE, TEACH, Change, Row, after, put, write_params
from tests.fixtures import params

VALIDATE = "validate"
NAMES = ["left_shoulder", "right_shoulder", "left_hip", "right_hip", "neck"]
COCO_FILE = "annotations/train.json"
DECLARED = {key: params()["teachers"]["tiny"][key] for key in SPEC_KEYS}
"""The spec of the project's teacher."""
CORRECT = "correct params.yaml"


def skeleton(**changes: Any) -> Change:
    """Write a params.yaml with a skeleton `own5`, with these keys changed, which no dataset names."""
    return write_params(skeletons={"own5": {"keypoints": NAMES, **changes}})


def dataset(**changes: Any) -> Change:
    """Write a params.yaml whose dataset `coco` has the skeleton `own5`, with these keys of the dataset changed."""
    entry = {"format": "coco", "skeleton": "own5", "annotations": "annotations", "score": "ap"}
    train = {"train": {"file": "train.json", "images": "pictures"}}
    return write_params(skeletons={"own5": {"keypoints": NAMES}}, datasets__coco={**entry, **train, **changes})


def row(wrong: str, change: Change, message: str) -> Row:
    """A row that `validate` finds, before any stage runs."""
    return Row(wrong, change, VALIDATE, f"params.yaml: {message}", CORRECT, printed=False)


ROWS = (
    row(
        "a skeleton without keypoints",
        skeleton(keypoints=[]),
        "skeletons.own5.keypoints: expected at least one, found none",
    ),
    row(
        "a skeleton with one keypoint in two spellings",
        skeleton(keypoints=[*NAMES, "LHip"]),
        "skeletons.own5.keypoints: expected every name once, found 'left_hip' twice",
    ),
    row(
        "a keypoint's name that is no name",
        skeleton(keypoints=[*NAMES, "a|b"]),
        "skeletons.own5.keypoints: expected names of letters, digits and _, found 'a|b': rename it",
    ),
    row(
        "a skeleton with too few sigmas",
        skeleton(sigmas=[0.1, 0.1]),
        "skeletons.own5.sigmas: expected 5 numbers, one for each keypoint, found 2",
    ),
    row(
        "a sigma of zero",
        skeleton(sigmas=[0.1, 0.1, 0.1, 0.1, 0]),
        "skeletons.own5.sigmas: expected numbers above 0, at most 1, found 0",
    ),
    row(
        "a limb to a keypoint that is not there",
        skeleton(limbs=[["neck", "tail"]]),
        "skeletons.own5.limbs: expected keypoints of own5, found 'tail', which is none of them",
    ),
    row(
        "a limb of three keypoints",
        skeleton(limbs=[["neck", "left_hip", "right_hip"]]),
        "skeletons.own5.limbs: expected pairs of two different keypoints, found ['neck', 'left_hip', 'right_hip']",
    ),
    row(
        "mirror partners that do not come back",
        skeleton(mirror={"left_hip": "right_hip", "neck": "right_hip"}),
        "skeletons.own5.mirror: expected one partner of `right_hip`, found `left_hip` and `neck`",
    ),
    row(
        "a mirror partner that is another keypoint's",
        skeleton(mirror={"left_hip": "neck"}),
        "skeletons.own5.mirror: expected `right_hip` to be the partner of `left_hip`, as that is its own, found `neck`",
    ),
    row(
        "a keypoint without the other side's",
        skeleton(keypoints=[*NAMES, "left_wing"]),
        "skeletons.own5.mirror: expected a partner of `left_wing`, as `right_wing` is no keypoint, found none: name it, or itself",
    ),
    row(
        "a mirror partner that another skeleton contradicts",
        skeleton(mirror={"left_hip": "left_hip", "right_hip": "right_hip"}),
        "skeletons.own5.mirror: expected `right_hip` as the partner of `left_hip`, as in coco17, found `left_hip`: rename the keypoint, or correct the partner",
    ),
    row(
        "an alias of a keypoint that is not there",
        skeleton(aliases={"head": "head_top"}),
        "skeletons.own5.aliases: expected keypoints of own5, found 'head', which is none of them",
    ),
    row(
        "an alias that no skeleton knows",
        skeleton(aliases={"neck": "uper_neck"}),
        "skeletons.own5.aliases.neck: expected a keypoint of another skeleton, found 'uper_neck', which none has: correct it, or leave it out",
    ),
    row(
        "an alias that makes two keypoints one",
        skeleton(aliases={"neck": "left_hip"}),
        "skeletons.own5.keypoints: expected every name once, found 'left_hip' twice",
    ),
    row(
        "a skeleton with the name of a built-in one",
        write_params(skeletons={"coco17": {"keypoints": NAMES}}),
        "skeletons.coco17: expected another name than coco17, mpii16, halpe26, aic14, crowdpose14, none, unified, found one of them: rename it",
    ),
    row(
        "a key of a skeleton that is not known",
        skeleton(sigma=[0.1]),
        "skeletons.own5: unknown key `sigma`: did you mean `sigmas`?",
    ),
    row(
        "a dataset of a skeleton that is not there",
        dataset(skeleton="own6"),
        "datasets.coco.skeleton: expected one of coco17, mpii16, halpe26, aic14, crowdpose14, own5, found 'own6': describe it in `skeletons`",
    ),
    row(
        "a skeleton for a format that has its own",
        dataset(format="halpe"),
        "datasets.coco.skeleton: expected none, as `format: halpe` has its own, found 'own5': use `format: coco`",
    ),
    row(
        "PCKh of a skeleton without a head",
        dataset(score="pckh"),
        "datasets.coco.score: `pckh` needs head_top and upper_neck, found no head_top in own5: use another score, or an alias in `skeletons`",
    ),
    row(
        "PCK of a skeleton without a torso",
        write_params(
            skeletons={"tail": {"keypoints": ["tail"]}},
            datasets__coco__skeleton="tail",
            datasets__coco__score="pck",
        ),
        "datasets.coco.score: `pck` needs left_shoulder and right_hip, found no left_shoulder in tail: use another score, or an alias in `skeletons`",
    ),
    row(
        "a share that tests, with a file of its own",
        dataset(test={"share": 0.3, "file": "train.json"}),
        "datasets.coco.test: expected `share` alone, as it is of the train part, found file too",
    ),
    row(
        "a share of nothing",
        write_params(datasets__halpe__test={"share": 0.3}),
        "datasets.halpe.test.share: expected a `train` part that it is the share of, found none",
    ),
    row(
        "a share above 1",
        dataset(test={"share": 30}),
        "datasets.coco.test.share: Input should be less than 1, found 30",
    ),
    row(
        "a share of the train part",
        dataset(train={"file": "train.json", "images": "pictures", "share": 0.3}),
        "datasets.coco.train.share: expected none: `test` states its share, and the rest trains",
    ),
    row(
        "a test part without labels",
        dataset(test={"file": "train.json", "images": "pictures", "labels": False}),
        "datasets.coco.test.labels: expected true, as people without labels score no model, found false",
    ),
    row(
        "a category for a format that has its own",
        write_params(datasets__halpe__category="person"),
        "datasets.halpe.category: expected none, as `format: halpe` has its own: leave it out",
    ),
    row(
        "a teacher of a skeleton that is not there",
        write_params(teachers__tiny__skeleton="own6"),
        "teachers.tiny.skeleton: expected one of coco17, mpii16, halpe26, aic14, crowdpose14, found 'own6'",
    ),
    Row(
        "an annotation with the keypoints of another skeleton",
        dataset(),
        PREPARE,
        "annotations/train.json: annotation 0: expected 5 keypoints, found 17",
        "correct it, then run `pipeline prepare --dataset coco`",
    ),
    Row(
        "a category that lists other keypoints than the skeleton",
        after(dataset(), put(COCO_FILE, "categories", 0, "keypoints", ["a", "b", "c", "d", "e"])),
        PREPARE,
        "annotations/train.json: categories 0: expected `left_shoulder` once among the keypoints, as own5 has it, found ['a', 'b', 'c', 'd', 'e']",
        "correct it, then run `pipeline prepare --dataset coco`",
    ),
    Row(
        "no category of the name that is given",
        write_params(datasets__coco__category=["worker", "guard"]),
        PREPARE,
        "annotations/train.json: expected a category named `worker` or `guard`, found ['person']",
        "correct it, then run `pipeline prepare --dataset coco`",
    ),
    Row(
        "a teacher's file made for other keypoints",
        teacher(metadata={"pose_fusion.keypoints": '["nose"]', "pose_fusion.spec": json.dumps(DECLARED)}),
        TEACH,
        "tiny.onnx: was made for other keypoints, or another order, than coco17 has, '[\"nose\"]'",
        "correct params.yaml, or make the file again",
    ),
)
