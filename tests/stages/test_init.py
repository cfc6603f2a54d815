"""`init` and `teacher spec --write`: a params.yaml that works, with a comment wherever something is guessed, and nothing overwritten."""

import json
from pathlib import Path

import pytest

from pipeline.common.errors import UserError
from stages import init, teacher_spec
from stages.project.project import load_project
from stages.students.settings import DistillSettings
from tests.closure import ROOT
from tests.fixtures import save_teacher


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """COCO as it is unpacked, MPII with all files in one folder, and a teacher's file for each."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        images = tmp_path / f"coco/{split}2017"
        images.mkdir(parents=True)
        (images / f"{split}.jpg").touch()
        (tmp_path / "coco/annotations").mkdir(exist_ok=True)
        document = {"images": [{"id": 1, "file_name": f"{split}.jpg"}]}
        for kind in ("person_keypoints", "captions"):
            (tmp_path / f"coco/annotations/{kind}_{split}2017.json").write_text(json.dumps(document))
    (tmp_path / "mpii/images").mkdir(parents=True)
    for split in ("train", "test"):
        (tmp_path / f"mpii/images/{split}.jpg").touch()
        (tmp_path / f"mpii/mpii_{split}.json").write_text(json.dumps([{"image": f"{split}.jpg"}]))
    (tmp_path / "mpii/mpii_gt_test.mat").touch()
    save_teacher(tmp_path / "a.onnx", keypoints=17, batch=1, input_wh=(24, 32))
    save_teacher(tmp_path / "b.onnx", keypoints=16, batch=1, input_wh=(24, 32))
    return tmp_path


FOLDERS = {"coco": Path("coco"), "mpii": Path("mpii")}
TEACHERS = {"coco": Path("a.onnx"), "mpii": Path("b.onnx")}


def run(folders: dict[str, Path] = FOLDERS, teachers: dict[str, Path] = TEACHERS, force: bool = False) -> list[str]:
    messages: list[str] = []
    init.run(folders, teachers, force, log=messages.append)
    return messages


def test_what_is_found_is_a_project_that_is_valid(folder: Path) -> None:
    messages = run()
    project = load_project()
    project.check()
    coco, mpii = project.dataset("coco"), project.dataset("mpii")
    assert coco.train and coco.test and mpii.train and mpii.test
    assert (coco.annotations, coco.score, coco.train.file) == (
        "coco/annotations",
        "ap",
        "person_keypoints_train2017.json",
    )
    assert (coco.train.images, coco.test.images) == ("coco/train2017", "coco/val2017")
    assert (mpii.annotations, mpii.train.images, mpii.test.truth) == ("mpii", "mpii/images", "mpii_gt_test.mat")
    assert len(project.skeleton) == 21
    assert project.teacher("mpii").spec.skeleton.name == "mpii16" and project.teacher("mpii").dataset == "mpii"
    terms = project.section("distill", DistillSettings).terms
    assert terms == {"truth": 0.4, "coco": 0.3, "mpii": 0.3}
    assert messages[-1].startswith("next: pipeline prepare; pipeline teacher check --teacher coco; ")


def test_guesses_have_a_comment_and_certain_values_none(folder: Path) -> None:
    run()
    lines = {line.split(":")[0].strip(): line for line in Path("params.yaml").read_text().splitlines()}
    assert lines["color"].split("#")[1] == " usual; the file does not say: ask its maker"
    assert lines["input"] == "  input: [256, 192]                 # height, width"  # the student's stands last
    assert "    input: [32, 24]" in Path("params.yaml").read_text().splitlines()
    assert "their order is not in it" in lines["skeleton"]


def test_what_nobody_knows_is_a_question_that_validate_asks_too(folder: Path) -> None:
    save_teacher(folder / "b.onnx", keypoints=5, batch=1, input_wh=(24, 32))
    messages = run()
    assert messages[-1] == "next: fill in what teachers.mpii in params.yaml asks for, then `pipeline validate`"
    assert "    # skeleton:" in Path("params.yaml").read_text()
    with pytest.raises(UserError, match=r"teachers\.mpii: missing skeleton"):
        load_project().check()


def test_without_test_people_a_share_tests(folder: Path) -> None:
    (folder / "coco/annotations/person_keypoints_val2017.json").unlink()
    (folder / "coco/annotations/captions_val2017.json").unlink()
    messages = run({"coco": Path("coco")}, {})
    test = load_project().dataset("coco").test
    assert test and test.share == 0.2
    assert "a fifth of the images tests" in messages[0]
    load_project().check()


def test_nothing_is_overwritten_without_force(folder: Path) -> None:
    Path("params.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"params\.yaml: exists: `--force` replaces it"):
        run()
    assert Path("params.yaml").read_text() == "mine"
    run(force=True)
    load_project().check()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("coco/train2017/train.jpg", "expected its image train.jpg in a folder of coco, found it in none"),
        ("mpii/mpii_train.json", "--mpii mpii: expected a file with `train` in its name, found none"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, missing: str, message: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(UserError) as error:
        run()
    assert message in str(error.value) and not Path("params.yaml").exists()


def test_several_files_are_not_chosen_from(folder: Path) -> None:
    (folder / "mpii/mpii_train_small.json").write_text("[]")
    with pytest.raises(UserError, match=r"expected one file of train people, found mpii_train\.json, mpii_train_small"):
        run()


def test_images_of_the_same_name_are_those_of_the_split(folder: Path) -> None:
    """As in exports of frames, which number each split from 1."""
    for split in ("train", "val"):
        (folder / f"coco/{split}2017/{split}.jpg").rename(folder / f"coco/{split}2017/1.jpg")
        path = folder / f"coco/annotations/person_keypoints_{split}2017.json"
        path.write_text(path.read_text().replace(f"{split}.jpg", "1.jpg"))
    messages = run()
    coco = load_project().dataset("coco")
    assert coco.train and coco.test
    assert (coco.train.images, coco.test.images) == ("coco/train2017", "coco/val2017")
    assert any("tested on person_keypoints_val2017.json with coco/val2017" in line for line in messages)
    (folder / "coco/val2017").rename(folder / "coco/others")
    with pytest.raises(
        UserError, match=r"expected its image 1.jpg in one folder of coco, found it in coco/others, coco/train2017"
    ):
        run(force=True)


def test_a_folder_without_annotations(folder: Path) -> None:
    with pytest.raises(UserError, match="`pipeline data fetch coco` brings the published ones"):
        run({"coco": Path("mpii/images")})
    with pytest.raises(UserError, match="--coco nowhere: expected a folder, found none"):
        run({"coco": Path("nowhere")})
    with pytest.raises(UserError, match="expected a folder of a dataset, found none"):
        run({})


@pytest.mark.parametrize("profile", ["params.yaml", "params/coco-mpii.yaml"])
def test_a_teacher_is_written_and_every_other_line_stays(folder: Path, profile: str) -> None:
    before = (ROOT / profile).read_text()
    Path("params.yaml").write_text(before)
    messages: list[str] = []
    teacher_spec.write(Path("b.onnx"), "third", log=messages.append)
    after = Path("params.yaml").read_text().splitlines()
    added = [line for line in after if line not in before.splitlines()]
    start = after.index("  third:")
    assert after[start - 1].startswith("    kind:") and after[start + 11 : start + 13] == ["", "fit:"]
    assert [*after[:start], *after[start + 11 :]] == before.splitlines() and "  third:" in added
    third = load_project().teacher("third")
    assert (third.dataset, third.spec.input_wh, third.spec.skeleton.name) == ("mpii", (24, 32), "mpii16")
    assert messages[0] == "dataset: mpii: the only one with its skeleton: on whose labels it is scored"
    with pytest.raises(UserError, match=r"teachers\.third: exists"):
        teacher_spec.write(Path("b.onnx"), "third")


@pytest.mark.parametrize(
    "teachers", ["teachers: {}   # none yet\n", "teachers:\n", "", "teachers: null\n", "teachers: ~  # none\n"]
)
def test_the_first_teacher(folder: Path, teachers: str) -> None:
    datasets = "datasets:\n  coco: {format: coco, annotations: a, score: ap, train: {file: f, images: i}}\n"
    Path("params.yaml").write_text(teachers + datasets)
    teacher_spec.write(Path("a.onnx"), "coco", log=lambda line: None)
    assert load_project().teacher("coco").dataset == "coco"


def test_line_ends_stay_as_they_are(folder: Path) -> None:
    before = (ROOT / "params.yaml").read_text().replace("\n", "\r\n").encode()
    Path("params.yaml").write_bytes(before)
    teacher_spec.write(Path("b.onnx"), "third", log=lambda line: None)
    after = Path("params.yaml").read_bytes()
    assert set(before.splitlines(True)) < set(after.splitlines(True)) and after.count(b"\n") == after.count(b"\r\n")


def test_entries_in_braces_are_not_taken_apart(folder: Path) -> None:
    text = (
        "datasets:\n  coco: {format: coco, annotations: a, score: ap, train: {file: f, images: i}}\nteachers: {x: {}}\n"
    )
    Path("params.yaml").write_text(text)
    with pytest.raises(UserError, match="expected entries in lines of their own"):
        teacher_spec.write(Path("a.onnx"), "coco")
    assert Path("params.yaml").read_text() == text
