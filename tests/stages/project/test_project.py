"""params.yaml: every mistake is one line that says where it stands."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import yaml
from annotated_types import Ge, Le

from pipeline.common.errors import UserError
from stages.fit import FitSettings
from stages.project.datasets import PrepareSettings
from stages.project.parsing import parse
from stages.project.project import load_project, project_of
from stages.project.teachers import parse_teacher
from stages.report.run import ReportSettings
from stages.students.settings import DistillSettings
from stages.teach.run import TeachSettings
from tests.fixtures import PARAMS, params
from tests.stages.training.tiny_student import student_params


@dataclass(frozen=True)
class Example:
    share: Annotated[float, Ge(0), Le(1)] = 0.5
    count: int = 3
    kind: Literal["one", "two"] = "one"
    names: list[str] = field(default_factory=list)


def refusal(call, *arguments) -> str:
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def load(tmp_path, text: str | bytes):
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_project(path)


def test_reads_what_is_written(tmp_path):
    assert load(tmp_path, yaml.safe_dump(PARAMS)) == project_of(PARAMS)


def test_a_seed_is_always_there(tmp_path):
    assert load(tmp_path, "data: []").seed == 0
    assert str(load(tmp_path, "seed: 1e3").seed) == "1000"


def test_missing_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        refusal(load_project)
        == "params.yaml not found in this folder: run this in the folder that has it, or copy one from params/"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: [1", "not readable as YAML"),
        ("a: b: c", "not readable as YAML"),
        (b"seed: \xff\xfe", "not readable as YAML"),
        ("seed: " + "9" * 5000, "not readable as YAML"),
        ("? [a]\n: 1", "unknown key `('a',)`"),
        ("[" * 3000, "not readable as YAML"),
        ("seed: !!bool x", "not readable as YAML"),
        ('seed: !!int ""', "not readable as YAML"),
        ("data: !!omap [a: 1, a: 2]", "not readable as YAML"),
        ("%YAML 1.3\n---\nseed: 1", "not readable as YAML"),
        ("", "expected a mapping, found NoneType"),
        ("- 1", "expected a mapping, found list"),
        ("seeed: 1", "unknown key `seeed`: did you mean `seed`?"),
        ("zzz: 1", "unknown key `zzz`: known are seed, data, sample, skeletons, datasets"),
        ("1: 2", "unknown key `1`"),
        ("seed: many", "seed: expected a whole number from 0 to 2^63 - 1, found 'many'"),
        ("seed: 1.5", "seed: expected a whole number from 0 to 2^63 - 1, found 1.5"),
        ("seed:", "seed: expected a whole number from 0 to 2^63 - 1, found None"),
        ("seed: true", "seed: expected a whole number from 0 to 2^63 - 1, found True"),
        ("seed: yes", "seed: expected a whole number from 0 to 2^63 - 1, found 'yes'"),
    ],
)
def test_refused_files(tmp_path, text, words):
    message = refusal(load, tmp_path, text)
    assert message.startswith(f"{tmp_path / 'params.yaml'}: ") and words in message


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system", "!!python/object/new:os.system [x]"],
)
def test_tags_that_run_code_are_refused(tmp_path, monkeypatch, tag):
    monkeypatch.chdir(tmp_path)
    assert "could not determine a constructor" in refusal(load, tmp_path, f"seed: {tag}\n")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shrae": 1}, "params.yaml: example: unknown key `shrae`: did you mean `share`?"),
        ({"zz": 1}, "params.yaml: example: unknown key `zz`: known are share, count, kind, names"),
        ({"share": 1.5}, "params.yaml: example.share: Input should be less than or equal to 1, found 1.5"),
        ({"share": -0.1}, "params.yaml: example.share: Input should be greater than or equal to 0, found -0.1"),
        ({"share": float("nan")}, "params.yaml: example.share: Input should be less than or equal to 1, found nan"),
        ({"share": "much"}, "params.yaml: example.share: Input should be a valid number, "),
        ({"count": 1.5}, "params.yaml: example.count: Input should be a valid integer, "),
        ({"count": None}, "params.yaml: example.count: Input should be a valid integer, found None"),
        ({"kind": "three"}, "params.yaml: example.kind: Input should be 'one' or 'two', found 'three'"),
        ({"names": ["a", 3]}, "params.yaml: example.names.1: Input should be a valid string, found 3"),
        ([], "params.yaml: example: expected a mapping, found []"),
        ("text", "params.yaml: example: expected a mapping, found 'text'"),
    ],
)
def test_refused_values(values, message):
    assert refusal(parse, values, "example", Example).startswith(message)


@pytest.mark.parametrize(
    ("section", "cls", "old", "new"),
    [
        ("distill", DistillSettings, "score_floor", "min_score"),
        ("distill", DistillSettings, "pictures", "images"),
        ("distill.training", DistillSettings, "settle", "final_weak_share"),
        ("distill.training", DistillSettings, "picture_memory", "image_memory"),
        ("fit.training", FitSettings, "settle", "final_weak_share"),
        ("teach", TeachSettings, "boundary", "shard"),
        ("report", ReportSettings, "peeks", "target_examples"),
        ("students.one", None, "missing", "label_drop"),
        ("baselines.one", None, "noisy", "label_noise"),
    ],
)
def test_a_key_of_an_earlier_version_is_refused_with_its_new_name(section, cls, old, new):
    first, *inside = section.split(".")
    project = project_of({first: {inside[0]: {old: 1}} if inside else {old: 1}})
    message = refusal(project.section, first, cls) if cls else refusal(lambda: project.students)
    assert message == f"params.yaml: {section}: unknown key `{old}`: it is called `{new}`"


@pytest.mark.parametrize("section", ["students", "baselines"])
def test_views_that_were_removed_are_refused_with_those_to_use_instead(section):
    project = project_of({section: {"one": {"datasets": ["coco"], "views": "warped"}}})
    assert refusal(lambda: project.students) == (
        f"params.yaml: {section}.one.views: `warped` was removed, as docs/training.md explains: use `replayed`"
    )


def test_a_setting_that_was_removed_is_refused():
    message = "params.yaml: {}: `consistency` was removed, as docs/training.md explains: leave it out"
    project = project_of({"distill": {"consistency": 0.05}})
    assert refusal(project.section, "distill", DistillSettings) == message.format("distill")
    change = {"consistency": 0.0}
    assert refusal(
        project_of({}).section, "distill", DistillSettings, change, "students.one.distill"
    ) == message.format("students.one.distill")


def test_an_absent_or_empty_section_means_the_defaults():
    for section in ({}, {"report": None}, {"report": {}}):
        assert project_of(section).section("report", Example) == Example(0.5, 3, "one", [])
    assert project_of({"report": {"count": 4}}).section("report", Example).count == 4


@pytest.mark.parametrize(
    ("shard", "words"),
    [(0, "greater than or equal to 16"), (4112, "less than or equal to 4096"), (24, "multiple of 16")],
)
def test_shards_that_a_store_cannot_have(shard, words):
    assert words in refusal(project_of({"teach": {"shard": shard}}).section, "teach", TeachSettings)


@pytest.mark.parametrize(
    "wrong", [{"validation": 1}, {"validation": -0.1}, {"views": 0}, {"views": 65}, {"rotation": 181}]
)
def test_prepare_settings_out_of_range(wrong):
    assert f"params.yaml: prepare.{next(iter(wrong))}: " in refusal(
        project_of({"prepare": wrong}).section, "prepare", PrepareSettings
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": None}, "params.yaml: datasets: expected at least one dataset, found none"),
        ({"datasets": []}, "params.yaml: datasets: expected at least one dataset, found none"),
        ({"datasets__coco": 3}, "params.yaml: datasets.coco: expected a mapping, found 3"),
        ({"datasets__coco__train": "x"}, "params.yaml: datasets.coco.train: expected a mapping, found 'x'"),
        ({"datasets__coco__train": {"file": "a"}}, "params.yaml: datasets.coco.train.images: Field required"),
    ],
)
def test_refused_datasets(changes, message):
    assert refusal(lambda: project_of(params(**changes)).datasets).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": {}}, "params.yaml: unknown teacher `tiny`: expected one of those under `teachers` (none)"),
        (
            {"teachers": {"big": {}}},
            "params.yaml: unknown teacher `tiny`: expected one of those under `teachers` (big)",
        ),
        ({"teachers": ["tiny"]}, "params.yaml: teachers: expected names with their settings, found "),
        ({"teachers__tiny": None}, "params.yaml: teachers.tiny: expected a mapping, found None"),
        ({"teachers__tiny": {}}, "params.yaml: teachers.tiny.onnx: expected a text, found None"),
        ({"teachers__tiny__onnx": 3}, "params.yaml: teachers.tiny.onnx: expected a text, found 3"),
        ({"teachers__tiny__dataset": None}, "params.yaml: teachers.tiny.dataset: expected a text, found None"),
        ({"teachers__tiny__color": "hsv"}, "params.yaml: teachers.tiny.color: expected one of rgb, bgr, found 'hsv'"),
        ({"teachers__tiny__kind": ["heatmap"]}, "params.yaml: teachers.tiny.kind: expected one of heatmap, "),
        ({"teachers__tiny__input": [True, 32]}, "params.yaml: teachers.tiny.input: expected [height, width] in pixels"),
        ({"teachers__tiny__mean": [1, 2]}, "params.yaml: teachers.tiny.mean: expected three numbers"),
        ({"teachers__tiny__padding": 0.2}, "params.yaml: teachers.tiny.padding: expected a number from 0.5 to 4"),
    ],
)
def test_refused_teachers(changes, message):
    assert refusal(lambda: project_of(params(**changes)).teacher("tiny")).startswith(message)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["mean", "std"])
def test_refused_numbers_of_a_spec(key, number):
    assert f"teachers.tiny.{key}: " in refusal(
        parse_teacher, "tiny", params(**{f"teachers__tiny__{key}": [1, number, 1]})["teachers"]["tiny"]
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("teachers: {a: {onnx: x, onnx: y}}", 'found duplicate key "onnx"'),
        ("fit: {training: {learning_rate: .inf}}", "fit.training.learning_rate: expected a finite number, found inf"),
        ("distill: {input: [64, .nan]}", "distill.input.1: expected a finite number, found nan"),
        ("'a\\nb': 1", "unknown key `a\\nb`"),
        ("students: {1: {}}", "students: expected names that are text, found 1: write it in quotes"),
        ("datasets: {2017: {}}", "datasets: expected names that are text, found 2017: write it in quotes"),
    ],
)
def test_what_would_pass_in_silence_is_refused(tmp_path, text, words):
    message = refusal(load, tmp_path, text)
    assert words in message and "\n" not in message


@pytest.mark.parametrize("text", ["students: 3", "teachers: text", "fit: 3", "data: 3", "baselines:"])
def test_sections_of_other_types_are_left_to_their_stages(tmp_path, text):
    assert load(tmp_path, text).seed == 0


def test_a_fitted_teacher_lies_where_dvc_looks_for_it():
    values = params(fit={"teachers": ["tiny"]}, students={"one": {"datasets": ["coco"]}})
    with pytest.raises(UserError, match=r"teachers\.tiny\.onnx: expected data/teachers/tiny\.onnx, where DVC looks"):
        project_of(values).check()
    project_of(values | {"fit": {"teachers": []}}).check()


def test_a_test_set_without_a_keypoint_of_the_students_is_refused():
    values = student_params()
    values["skeletons"] = {"hand": {"keypoints": ["palm", "thumb_tip"]}}
    values["datasets"]["hands"] = {
        "format": "coco",
        "skeleton": "hand",
        "score": "ap",
        "test": {"file": "hands.json", "images": "hands"},
    }
    with pytest.raises(
        UserError, match=r"datasets.hands.test: expected keypoints that students have, found none of them in hand: name"
    ):
        project_of(values).check()


def test_sides_of_an_own_skeleton_in_another_spelling_are_asked_for():
    values = params()
    values["skeletons"] = {"own": {"keypoints": ["nose", "Wrist L", "Wrist R"]}}
    with pytest.raises(
        UserError, match=r"skeletons.own.mirror: expected a partner of `wrist_l`, as `wrist_r` looks like its"
    ):
        _ = project_of(values).skeletons
    values["skeletons"]["own"]["mirror"] = {"Wrist L": "Wrist R"}
    assert project_of(values).skeletons["own"].mirror.tolist() == [0, 2, 1]
