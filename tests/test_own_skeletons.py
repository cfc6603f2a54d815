"""Skeletons of one's own through every stage: LSP's 14 joints, as docs/skeletons.md describes them, and a made-up one of 23 points."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pipeline.inference.exported import exported_spec
from pipeline.networks.build import load_student
from pipeline.people.people import People
from pipeline.pose.skeletons import ARMS_AND_LEGS, COCO17, GUESSED_SIGMA, MPII16
from stages import label, prepare
from stages.distill import run as distill
from stages.doctor.inventory import inventory
from stages.evaluate import run as evaluate
from stages.export import run as export
from stages.project.datasets import load_people
from stages.project.project import Project, project_of
from stages.project.yaml_files import read_yaml
from stages.report import run as report
from stages.teach import run as teach
from tests.closure import ROOT
from tests.fixtures import IMAGE_WH, params, save_teacher, write_image

IMAGES, PEOPLE = 16, 2
PAIRED = ("port_flank", "starboard_flank")
OWN23 = [
    *("nose", "forehead", "chin", "sternum", "navel", *PAIRED, "left_thumb", "right_thumb"),
    *("left_big_toe", "right_big_toe", *ARMS_AND_LEGS),
]
QUIET: dict[str, Any] = {"log": lambda line: None}


def documented(folder: Path) -> dict[str, Any]:
    """The first example of the page, as params.yaml would hold it."""
    text = (ROOT / "docs/skeletons.md").read_text()
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found
    (folder / "example.yaml").write_text(found[1])
    return dict(read_yaml(folder / "example.yaml"))


def values_of(folder: Path) -> dict[str, Any]:
    """The documented dataset, one of 23 points, and one whose labels only test; a teacher and a student."""
    values = params() | documented(folder)
    values["skeletons"]["own23"] = {
        "keypoints": [{"left_thumb": "LThumb", "navel": "Navel"}.get(name, name) for name in OWN23],
        "mirror": {PAIRED[0]: PAIRED[1]},
        "limbs": [["chin", "sternum"], ["sternum", "navel"]],
    }
    part = {"file": "own.json", "images": "pictures"}
    own = {"format": "coco", "skeleton": "own23", "annotations": "annotations", "score": "ap"}
    values["datasets"]["lsp"] |= {"annotations": "annotations", "train": {"file": "lsp.json", "images": "pictures"}}
    values["datasets"]["own"] = own | {"train": part, "test": part}
    hidden = {"train": {**values["datasets"]["lsp"]["train"], "labels": False}, "licence": None}
    values["datasets"]["hidden"] = {**values["datasets"]["lsp"], **hidden}
    tiny = params()["teachers"]["tiny"]
    values["teachers"] = {
        "lsp": {**tiny, "onnx": "lsp.onnx", "dataset": "lsp", "skeleton": "lsp14", "flip": True},
        "own": {**tiny, "onnx": "own.onnx", "dataset": "own", "skeleton": "own23", "flip": True},
    }
    values["distill"] = {
        **{"width": 8, "input": [64, 32], "min_score": 0.0, "terms": {"truth": 1, "lsp": 1, "own": 1}},
        "training": {"steps": 3, "batch": 8, "checkpoint_seconds": 1000},
    }
    values["students"] = {"one": {"datasets": ["lsp", "own", "hidden"], "teachers": ["lsp", "own"]}}
    values["evaluate"], values["report"] = {"resamples": 20}, {"people": 1, "target_examples": 1}
    return values


def write_annotations(path: Path, keypoints: int, category: dict[str, Any]) -> None:
    """A COCO file of people whose keypoints all lie in their boxes."""
    random = np.random.default_rng(keypoints)
    people = []
    for n in range(IMAGES * PEOPLE):
        box = np.array([5 + 40 * (n % PEOPLE), 10, 36, 60])
        points = box[:2] + random.uniform(0.05, 0.95, (keypoints, 2)) * box[2:]
        known = {"id": n + 1, "image_id": n // PEOPLE, "category_id": 1, "bbox": box.tolist(), "iscrowd": 0}
        triplets = np.column_stack([points.round(1), np.full(keypoints, 2)]).ravel().tolist()
        people.append({**known, "keypoints": triplets})
    images = [
        {"id": n, "file_name": f"{n:02d}.jpg", "width": IMAGE_WH[0], "height": IMAGE_WH[1]} for n in range(IMAGES)
    ]
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": [{"id": 1, **category}]}))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Project, list[str]]:
    """A folder in which every stage has run, its project, and what the stages said."""
    folder = tmp_path_factory.mktemp("own")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        project = project_of(values_of(folder))
        Path("annotations").mkdir()
        Path("pictures").mkdir()
        for n in range(IMAGES):
            write_image(Path(f"pictures/{n:02d}.jpg"), f"{n}")
        write_annotations(Path("annotations/lsp.json"), 14, {"name": "person"})
        spelled = [name.replace("_", " ").title() for name in reversed(OWN23)]
        write_annotations(Path("annotations/own.json"), 23, {"name": "person", "keypoints": spelled})
        save_teacher(Path("lsp.onnx"), 14)
        save_teacher(Path("own.onnx"), 23)
        project.check()
        prepare.run(project, log=said.append)
        for teacher in project.teachers:
            teach.run(project, teacher, "cpu", log=said.append)
        distill.run(project, device="cpu", **QUIET)
        evaluate.run(project, device="cpu", log=said.append)
        label.run(project, "lsp", options=label.LabelOptions(confidence=0.0, student="one", device="cpu"), **QUIET)
        export.run(project, "one", **QUIET)
        report.run(project, **QUIET)
    return folder, project, said


@pytest.fixture
def here(line: tuple[Path, Project, list[str]], monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(line[0])
    return line[1]


def test_the_unified_skeleton_is_in_the_order_of_the_datasets(here: Project) -> None:
    lsp = here.skeletons["lsp14"]
    assert lsp.keypoints[-2:] == ("upper_neck", "head_top")
    assert here.skeleton.keypoints == (*lsp.keypoints, *(name for name in OWN23 if name not in lsp.keypoints))
    assert len(here.skeleton) == 14 + 23 - 12
    flipped = here.skeleton.mirror
    assert (flipped[flipped] == np.arange(len(flipped))).all()
    assert here.skeleton.flipped("port_flank") == "starboard_flank"
    assert ("chin", "sternum") in here.skeleton.limbs and ("upper_neck", "head_top") in here.skeleton.limbs


def test_a_table_carries_the_skeleton(here: Project) -> None:
    assert load_people("lsp", "train").skeleton == here.skeletons["lsp14"]
    own = load_people("own", "train")
    assert own.skeleton == here.skeletons["own23"]
    document = json.loads(Path("annotations/own.json").read_text())
    first = next(entry for entry in document["annotations"] if entry["id"] == own.person[0])
    assert own.keypoints[0, 0].tolist() == first["keypoints"][-3:-1]  # the file lists the nose last


def test_a_share_tests_the_same_images_whatever_the_seed(here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def images(people: People) -> set[str]:
        return set(people.image.tolist())

    train, validation, test = (load_people("lsp", split) for split in ("train", "validation", "test"))
    assert images(train) | images(validation) | images(test) == {f"{n:02d}.jpg" for n in range(IMAGES)}
    assert images(test).isdisjoint(images(train) | images(validation)) and images(train).isdisjoint(images(validation))
    assert 1 <= len(images(test)) <= IMAGES // 2
    dataset = here.dataset("lsp")
    whole = prepare.read_annotation_file(dataset, dataset.annotation_file("test"), lambda line: None)
    for seed in (0, 1, 2):
        assert images(dataset.people_of("test", whole, 0.2, seed)) == images(test)
    assert images(load_people("hidden", "test")) == images(test)


def test_labels_that_only_test_are_in_no_training_table(here: Project) -> None:
    train, test = load_people("hidden", "train"), load_people("hidden", "test")
    assert len(train.skeleton) == 0 and train.use.all() and train.labelled.size == 0
    assert test.skeleton == here.skeletons["lsp14"] and test.labelled.all()
    assert not here.dataset("hidden").labels_train


def test_the_scores_are_there_and_a_guess_is_said(line: tuple[Path, Project, list[str]], here: Project) -> None:
    metrics = json.loads(Path("results/metrics.json").read_text())["one"]
    lsp, own = metrics["lsp"]["PCK@0.2 torso"], metrics["own"]["AP"]
    assert metrics["average"] == pytest.approx((lsp + own) / 2)
    assert "PCK@0.2 torso" in metrics["hidden"] and "hidden" not in metrics["validation"]
    assert "lsp PCK@0.2 torso" in Path("results/table.md").read_text()
    guess = (
        f"AP rests on a guess: there is no OKS sigma of forehead, chin, sternum and 5 more, so it is {GUESSED_SIGMA}"
    )
    assert guess in Path("results/table.md").read_text()
    assert any(said.startswith(f"own: {guess}") for said in line[2])


def test_a_student_is_read_without_params_yaml(here: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path.cwd()
    monkeypatch.chdir(tmp_path)
    assert load_student(folder / "data/students/one").spec.skeleton == here.skeleton
    assert exported_spec(folder / "data/exported/one.onnx").skeleton == here.skeleton
    carried = onnx.load(folder / "data/exported/one.onnx").metadata_props
    details = json.loads({entry.key: entry.value for entry in carried}["pose_fusion.spec"])["skeleton"]
    assert details["mirror"] == {"port_flank": "starboard_flank", "starboard_flank": "port_flank"}


def test_the_card_states_the_licence_that_the_entry_gives(here: Project) -> None:
    card = Path("data/exported/one.md").read_text()
    assert "lsp: LSP Extended: for research; each image as its photographer permits." in card
    assert "own: its licence is unknown" in card and "CC BY" not in card
    assert "Images and boxes, without labels, of hidden (`lsp.json`)." in card


def test_labels_and_report_have_every_keypoint(here: Project) -> None:
    document = json.loads(Path("data/labels/lsp-train/annotations/person_keypoints_train.json").read_text())
    assert document["categories"][0]["keypoints"] == list(here.skeleton.keypoints)
    assert document["annotations"][0]["keypoint_sources"][0] == "label"
    page = Path("data/report/report.html").read_text()
    assert "port_flank" in page and "head_top" in page


def test_nothing_is_missing(here: Project) -> None:
    assert [entry.state for entry in inventory(here) if not entry.complete] == []


def test_beside_built_in_datasets_aliases_keep_points_together(tmp_path: Path) -> None:
    """LSP adds nothing to COCO + MPII, since its neck and its head are MPII's; without aliases they would be two more points."""
    values = documented(tmp_path)
    part = {"file": "a.json", "images": "a"}
    known = {"annotations": "a", "train": part}
    built_in = {
        "coco": {"format": "coco", "score": "ap", **known},
        "mpii": {"format": "mpii", "score": "pckh", **known},
    }
    values["datasets"] = {**built_in, **values["datasets"]}
    unified = project_of(values).skeleton
    assert set(unified.keypoints) == {*COCO17.keypoints, *MPII16.keypoints} and len(unified) == 21
    apart = copy.deepcopy(values)
    del apart["skeletons"]["lsp14"]["aliases"]
    assert project_of(apart).skeleton.keypoints == (*unified.keypoints, "neck", "head")
