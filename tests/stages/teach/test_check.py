"""`teacher check`: a teacher that is right passes, one that is misread is stopped with the suspect named, before anything is written."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from pipeline.common.errors import UserError
from pipeline.inference.session import Teacher, open_teacher
from pipeline.pose.skeletons import COCO17
from pipeline.teachers.spec_variants import spec_variants
from stages import prepare
from stages.project.datasets import load_people
from stages.project.project import project_of
from stages.teach import check
from stages.teach import run as teach
from tests.colours import INPUT_WH, MEAN, STD, colour_params, make_colour_dataset, save_colour_teacher
from tests.pipeline.examples import people, spec

ALL_THE_SAME = "; `--no-check`, or teach.check: 0 in params.yaml, teaches all the same"


@pytest.fixture(scope="module")
def colours_elsewhere(unprepared_elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 people whose keypoints are coloured discs, and a network that finds colours; tables made."""
    folder = shutil.copytree(unprepared_elsewhere, tmp_path_factory.mktemp("colours"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_colour_dataset(folder, 32)
        save_colour_teacher(folder / "tiny.onnx")
        prepare.run(project_of(colour_params()), log=lambda line: None)
    return folder


@pytest.fixture
def colours(colours_elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, the current folder."""
    monkeypatch.chdir(shutil.copytree(colours_elsewhere, tmp_path, dirs_exist_ok=True))
    return tmp_path


def checked(**changes: object) -> list[str]:
    lines: list[str] = []
    check.run(project_of(colour_params(**changes)), "tiny", "cpu", log=lines.append)
    return lines


def refusal(**changes: object) -> str:
    with pytest.raises(UserError) as error:
        checked(**changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def taught_refusal(**changes: object) -> str:
    with pytest.raises(UserError) as error:
        teach.run(project_of(colour_params(**changes)), "tiny", "cpu", log=lambda line: None)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_teacher_that_is_right_passes(colours: Path) -> None:
    lines = checked()
    table = {line.split()[0]: line for line in lines[:9]}
    assert "colours" not in table
    assert table["teacher"].startswith("  teacher    tiny: tiny.onnx, ")
    assert table["skeleton"] == "  skeleton   coco17, 17 keypoints"
    assert table["input"] == "  input      128 x 96 rgb, padding 1.25, affine classic"
    assert table["kind"] == "  kind       heatmap: 32 x 24 maps"
    assert table["device"] == "  device     CPUExecutionProvider, float32"
    assert table["batch"] == "  batch      any, 64 used"
    score, errors = (next(line for line in lines if line.startswith(start)) for start in ("AP", "mean error"))
    assert float(score.split()[1]) > 95
    assert score.endswith("on 32 people of coco in 32 images, true boxes; the area in OKS is the whole box")
    # The crop is 187.5 image pixels high and the map 32: a map pixel is 5.9 image pixels, 3.9 % of the box side of 150. The
    # discs are two map pixels wide with a flat top, so the mean is off by half a pixel at most in x and in y: 2.8 %.
    worst = max(float(part.split()[-1]) for part in errors.split(": ")[1].split(", "))
    assert worst < 2.8
    assert lines[-1].startswith("teacher tiny is what params.yaml says")


@pytest.mark.parametrize(
    ("changes", "suspect"),
    [
        ({"teachers__tiny__color": "bgr"}, "with color rgb: set this in params.yaml"),
        (
            {"teachers__tiny__mean": [v / 255 for v in MEAN], "teachers__tiny__std": [v / 255 for v in STD]},
            "with pixels 0-1 (mean and std times 255): set this in params.yaml",
        ),
        (
            {"teachers__tiny__mean": [v * 255 for v in MEAN], "teachers__tiny__std": [v * 255 for v in STD]},
            "with pixels 0-255 (mean and std over 255): set this in params.yaml",
        ),
    ],
    ids=["colour order", "statistics too small", "statistics too large"],
)
def test_a_misread_teacher_is_stopped_and_the_suspect_named(colours: Path, changes: dict, suspect: str) -> None:
    found = taught_refusal(**changes)
    assert found.startswith("teacher tiny: AP ")
    assert found.endswith(f"{suspect}{ALL_THE_SAME}")
    assert not Path("data/targets").exists()


def test_statistics_on_the_0_1_scale_can_be_declared_as_such(colours: Path) -> None:
    changes = {"mean": [v / 255 for v in MEAN], "std": [v / 255 for v in STD], "pixels": "0-1"}
    values = colour_params()
    values["teachers"]["tiny"] |= changes
    lines: list[str] = []
    check.run(project_of(values), "tiny", "cpu", log=lines.append)
    assert lines[-1].startswith("teacher tiny is what params.yaml says")


def test_left_and_right_are_told_apart(colours: Path) -> None:
    """By the command, and in the same words before teaching."""
    save_colour_teacher(Path("tiny.onnx"), COCO17.mirror)
    found = refusal()
    assert found.endswith(
        "with left and right keypoints swapped: export it again with its outputs in the order of coco17"
    )
    assert taught_refusal() == f"{found}{ALL_THE_SAME}"


def test_another_padding_is_reported_and_not_failed(colours: Path) -> None:
    lines = checked(teachers__tiny__padding=2.5)
    higher = [line for line in lines if "higher by" in line]
    assert any(line.startswith("  padding 1.25") for line in higher)
    assert "scores higher here: worth a check, not an error" in lines[-1]


def test_a_teacher_that_knows_nothing_is_nonsense_unless_told_otherwise(project: Path) -> None:
    """The tiny project's teacher is a random convolution on noise."""
    values = colour_params()
    values["teachers"] = {"tiny": {**values["teachers"]["tiny"], "input": [32, 24], "affine": "udp"}}
    said: list[str] = []
    with pytest.raises(UserError, match=r"expected at least 10: .*; `--no-check`, or teach.check: 0 in params.yaml"):
        teach.run(project_of(values), "tiny", "cpu", log=said.append)
    assert not Path("data/targets").exists()
    teach.run(project_of(values), "tiny", "cpu", check=False, log=said.append)
    assert said[-1].startswith("teacher tiny: 48 people x 2 views, 48 processed now")


def test_finished_stores_need_no_second_check(colours: Path) -> None:
    def said() -> list[str]:
        lines: list[str] = []
        teach.run(project_of(colour_params()), "tiny", "cpu", log=lines.append)
        return [line for line in lines if "people of coco" in line]

    assert len(said()) == 1
    assert said() == []


def test_a_check_that_was_passed_is_not_run_again(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even without stores; another file, spec or number of people is checked anew, and a damaged record counts for nothing."""
    runs: list[int] = []

    def counted(project: Any, settings: Any, opened: Any, variants: Any, *sizes: int) -> Any:
        runs.append(1)
        return check.check_teacher(project, settings, opened, variants[:1], *sizes)

    monkeypatch.setattr(teach, "check_teacher", counted)

    def teach_anew(**changes: Any) -> str:
        lines: list[str] = []
        shutil.rmtree("data/targets/tiny", ignore_errors=True)
        teach.run(project_of(colour_params(**changes)), "tiny", "cpu", log=lines.append)
        return next(line for line in lines if "people of coco" in line)

    first = teach_anew()
    assert teach_anew() == f"{first}, as an earlier check has found" and len(runs) == 1
    teach_anew(teach__check=30)
    assert len(runs) == 2
    teach_anew(teachers__tiny__padding=1.2, teach__check=30)
    assert len(runs) == 3
    Path("data/targets/tiny.check.json").write_text('{"inputs": {}')
    assert teach_anew() == first and len(runs) == 4


def test_a_check_that_failed_is_run_again(colours: Path) -> None:
    wrong = colour_params(teachers__tiny__color="bgr")
    for _ in range(2):
        with pytest.raises(UserError, match=r"but .* with color rgb"):
            teach.run(project_of(wrong), "tiny", "cpu", log=lambda line: None)
    assert not Path("data/targets/tiny.check.json").exists()


def test_a_teacher_without_confidence_is_nonsense(colours: Path) -> None:
    """A softmax over values of 0 to 1 is all but flat: the poses are right, and no target would count."""
    found = refusal(teachers__tiny__kind="heatmap_logits")
    assert "but its confidences are useless, 0.0" in found
    assert found.endswith("0.0 % above 0.2: is its kind right, or its factor?")


def test_a_score_over_nobody_does_not_blame_the_teacher() -> None:
    nothing = check.CheckResult("PCKh@0.5", float("nan"), 100, 100, 1.0, 0.9, 1.0, {}, [])
    assert str(nothing.failure).startswith(
        "PCKh@0.5 is over nobody: it can be computed of none of 100 people of its own dataset"
    )


def test_a_network_that_fails_on_large_batches_says_so(colours: Path) -> None:
    """A file that claims to take any batch and does not: a Reshape to two crops inside."""
    model = onnx.load("tiny.onnx")
    (first,) = (node for node in model.graph.node if "crops" in node.input)
    first.input[0] = "couple"
    width, height = INPUT_WH
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3, height, width]), "shape"))
    model.graph.node.insert(0, helper.make_node("Reshape", ["crops", "shape"], ["couple"]))
    onnx.save(model, "tiny.onnx")
    found = refusal()
    assert found.startswith("tiny.onnx: teacher tiny fails on 32 crops: ")
    assert found.endswith(": try a smaller --batch")


def test_variants_of_the_same_input_share_a_pass_and_score_as_if_declared(
    colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left and right, the kind and the decoding change what is made of a network's outputs, and not its input."""
    project = project_of(colour_params())
    settings = project.teacher("tiny")
    opened, variants = open_teacher("tiny", settings.onnx, settings.spec, "cpu"), spec_variants(settings.spec)
    plain, passes = Teacher.forward, []
    monkeypatch.setattr(Teacher, "forward", lambda self, batch: passes.append(self.spec) or plain(self, batch))
    found = check.check_teacher(project, settings, opened, variants, 16, 64)
    assert len(passes) == 1 + len(variants) - 3
    for variant, score in found.variants:
        declared = dataclasses.replace(settings, spec=variant.spec)
        assert check.check_teacher(project, declared, opened, [], 16, 64).value == score, variant.change


def test_few_people_accuse_nobody(unprepared: Path) -> None:
    make_colour_dataset(unprepared, 5)
    save_colour_teacher(unprepared / "tiny.onnx")
    prepare.run(project_of(colour_params()), log=lambda line: None)
    found = refusal(teachers__tiny__color="bgr")
    assert "on 5 people of its own dataset, expected at least 10" in found
    lines = checked()
    assert lines[-1].startswith("teacher tiny works; 5 people are too few to compare specs, 30 are needed")


def test_whole_images_are_spread_over_the_table(unprepared: Path) -> None:
    make_colour_dataset(unprepared, 12, people=3)
    prepare.run(project_of(colour_params()), log=lambda line: None)
    everyone = load_people("coco", "train")
    some = check.spread_people(everyone, 12)
    assert sorted(set(some.image)) == ["00.png", "03.png", "07.png", "11.png"]
    assert int(some.use.sum()) == 12
    assert len(check.spread_people(everyone, 10_000)) == len(everyone)
    assert len(set(check.spread_people(everyone, 1).image)) == 1


def test_people_of_no_use_stay_in_their_images() -> None:
    """AP ignores them where they are annotated; left out they would make false positives."""
    everyone = people(8, use=np.array([True, False] * 4))
    assert len(check.spread_people(everyone, 2)) == 4


def test_variants_differ_from_the_spec_in_one_thing_each() -> None:
    declared = spec(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    variants = {variant.change: variant for variant in spec_variants(declared)}
    assert "mean and std of ImageNet" not in variants, "it is what is declared"
    assert "padding 1.25" not in variants
    assert {change for change, variant in variants.items() if not variant.decisive} == {
        "padding 1.0",
        "padding 1.5",
        "affine classic",
        "kind heatmap",
    }
    assert "decode dark" not in variants and "decode dark" in {
        variant.change for variant in spec_variants(spec(kind="heatmap", affine="classic"))
    }
    for variant in variants.values():
        differing = [name for name in vars(declared) if getattr(declared, name) != getattr(variant.spec, name)]
        assert differing in (["color"], ["mean", "std"], ["kind"], ["skeleton"], ["padding"], ["affine"])
    swapped = variants["left and right keypoints swapped"].spec.skeleton
    assert swapped.keypoints[1:3] == ("right_eye", "left_eye")
