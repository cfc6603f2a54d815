"""The command line: one line per error, exit codes, help at once."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import cli
from pipeline.networks.architectures import ARCHITECTURES
from pipeline.pose.options import Device
from stages.fetch.catalogue import DATASETS
from tests.fixtures import flip_bit

ROOT = Path(__file__).resolve().parents[1]
STORE = "data/targets/tiny/coco-train.zarr"
COMMANDS = [
    [c]
    for c in (
        "link",
        "init",
        "prepare",
        "crops",
        "teach",
        "fit",
        "repro",
        "calibrate",
        "distill",
        "evaluate",
        "compare",
        "export",
        "show",
        "predict",
        "label",
        "report",
        "validate",
        "doctor",
    )
] + [
    ["data", "sample"],
    ["data", "fetch"],
    ["teacher", "fetch"],
    ["teacher", "import"],
    ["teacher", "spec"],
    ["teacher", "check"],
    ["detector", "fetch"],
    ["cache", "info"],
    ["cache", "verify"],
    ["cache", "stats"],
    ["experiment", "list"],
    ["experiment", "run"],
    ["experiment", "score"],
    ["experiment", "train"],
    ["experiment", "table"],
]


@pytest.fixture
def pipeline(monkeypatch, capsys):
    """Call the command in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("POSE_FUSION_DEBUG", "")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


def assert_refused(result: tuple[int, str, str], *words: str) -> None:
    code, _, err = result
    assert code == 1
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1
    for word in words:
        assert word in err


def test_choices_are_those_of_the_code_behind_them():
    """The command line spells them out, because it may import nothing heavy."""
    hints = get_type_hints(cli.teacher_import)
    assert get_args(hints["arch"]) == ARCHITECTURES
    assert get_args(get_type_hints(cli.data_fetch)["name"]) == tuple(dataset.name for dataset in DATASETS)
    assert get_args(cli.Device) == get_args(Device)


@pytest.mark.parametrize("command", [[], ["data"], ["teacher"], ["cache"], ["experiment"], *COMMANDS], ids=" ".join)
def test_help(pipeline, command):
    code, out, err = pipeline(*command, "--help")
    assert (code, err) == (0, "")
    first = next(line.strip() for line in out.splitlines() if line.strip() and "Usage" not in line)
    assert first[0].isupper() and first.endswith(".") and len(first.split()) >= 3


def test_every_command_is_in_the_list_above():
    named = [[c.name or c.callback.__name__] for c in cli.app.registered_commands]
    named += [[g.name, c.name] for g in cli.app.registered_groups for c in g.typer_instance.registered_commands]
    assert sorted(named) == sorted(COMMANDS)


def test_a_renamed_option_names_the_new_one(pipeline):
    code, out, err = pipeline("calibrate", "--floor", "0.3")
    assert (code, out) == (2, "") and "this option is now called --min-score" in err
    assert "--floor" not in pipeline("calibrate", "--help")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["teeach"],
        ["teach"],
        ["teach", "--teacher", "tiny", "--device", "tpu"],
        ["teach", "--teacher", "tiny", "--batch", "0"],
        ["distill", "--seeds", "0,x"],
        ["show", "one", "--dataset", "coco"],
        ["show"],
        ["cache", "info"],
        ["prepare", "--datset", "coco"],
    ],
    ids=" ".join,
)
def test_bad_usage_exits_2(pipeline, unprepared, arguments):
    code, out, err = pipeline(*arguments)
    assert code == 2 and out == "" and "Usage: " in err and "Traceback" not in err


def test_prepare_and_teach_work(pipeline, unprepared):
    assert pipeline("prepare")[0] == 0
    code, out, err = pipeline("teach", "--teacher", "tiny", "--device", "cpu")
    assert (code, err) == (0, "") and out.startswith("teacher tiny: tiny.onnx on CPUExecutionProvider\n")
    code, out, err = pipeline("cache", "info", STORE)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"{STORE}: 42 people x 2 views x 17 keypoints, 8 x 6 maps"
    assert (
        out.splitlines()[1].startswith("  3 shards of 16 people, ")
        and out.splitlines()[2] == "  finished; are its bytes right? `pipeline cache verify`"
    )
    assert pipeline("cache", "verify", STORE) == (0, f"{STORE}: every file is what was written\n", "")


def test_verify_lists_every_problem(pipeline, taught):
    shard = "heatmaps/c/1/0/0/0/0"
    flip_bit(Path(STORE) / shard)
    (Path(STORE) / "junk").write_text("")
    result = pipeline("cache", "verify", STORE)
    assert result[1] == f"{STORE}: {shard}: damaged\n{STORE}: junk: foreign: not part of this store\n"
    assert_refused(result, f"{STORE}: 2 problems: run `pipeline teach --teacher ")


def test_verify_and_info_of_an_unfinished_store(pipeline, taught):
    (Path(STORE) / "manifest.json").unlink()
    assert "  not finished: run `pipeline teach --teacher " in pipeline("cache", "info", STORE)[1]
    assert_refused(pipeline("cache", "verify", STORE), "run `pipeline teach --teacher ")


@pytest.mark.parametrize("command", ["info", "verify"])
@pytest.mark.parametrize("path", ["nowhere", "params.yaml", "pictures", "data"])
def test_what_is_no_store(pipeline, project, command, path):
    assert_refused(pipeline("cache", command, path), f"{path}: not a readable target store", "run `pipeline teach")


def edit(text: str, other: str):
    return lambda: Path("params.yaml").write_text(Path("params.yaml").read_text().replace(text, other))


@pytest.mark.parametrize(
    ("spoil", "arguments", "words"),
    [
        (lambda: Path("params.yaml").unlink(), ["prepare"], ["params.yaml not found in this folder: run this in the folder that has it"]),
        (lambda: Path("params.yaml").unlink(), ["repro"], ["params.yaml not found in this folder: run this in the folder that has it"]),
        (edit("seed: 0", "seed: [0"), ["prepare"], ["params.yaml: not readable as YAML"]),
        (edit("seed: 0", "sede: 0"), ["prepare"], ["unknown key `sede`: did you mean `seed`?"]),
        (edit("views: 2", "views: many"), ["prepare"], ["prepare.views: Input should be a valid integer", "'many'"]),
        (lambda: shutil.rmtree("annotations"), ["prepare"], ["annotations/train.json does not exist", "`pipeline data sample`"]),
        (lambda: shutil.rmtree("pictures"), ["prepare"], ["image folder pictures does not exist: correct params.yaml"]),
        (lambda: None, ["prepare", "--dataset", "cocoa"], ["unknown dataset `cocoa`: expected one of coco"]),
        (lambda: None, ["teach", "--teacher", "huge"], ["unknown teacher `huge`"]),
        (lambda: shutil.rmtree("data"), ["teach", "--teacher", "tiny"], ["train-people.parquet", "run `pipeline prepare`"]),
        (lambda: Path("tiny.onnx").unlink(), ["teach", "--teacher", "tiny"], ["tiny.onnx does not exist", "`pipeline fit"]),
        (lambda: Path("tiny.onnx").write_bytes(b"\x08\x08\n\n"), ["teach", "--teacher", "tiny"], ["not a readable ONNX file"]),
        (lambda: Path("pictures/00.jpg").unlink(), ["teach", "--teacher", "tiny"], ["pictures/00.jpg: expected a readable file"]),
        (edit("tiny.onnx", "pictures"), ["teach", "--teacher", "tiny"], ["pictures does not exist"]),
        (edit("onnx: tiny.onnx", "onnx: 3"), ["teach", "--teacher", "tiny"], ["teachers.tiny.onnx: expected a text, found 3"]),
        (lambda: None, ["show", "999", "--dataset", "coco"], ["no person 999 in coco: some of coco train are 0, 1, 2"]),
        (lambda: None, ["show", "0", "--dataset", "cocoa"], ["unknown dataset `cocoa`"]),
        (lambda: None, ["show", "0", "--dataset", "coco", "--out", "a.xyz"], ["a.xyz: ", "cannot be encoded as `.xyz`: name a .png"]),
        (lambda: None, ["distill", "--student", "x"], ["params.yaml: students: expected at least one, found none"]),
        (edit("seed: 0", "seed: 0\nstudents: [a]"), ["distill"], ["params.yaml: students: expected names"]),
        (edit("seed: 0", "seed: 0\nstudents: {a: {datasets: [coco], teachers: [tiny]}}"), ["distill"], ["terms.tiny"]),
        (edit("seed: 0", "seed: 0\nsample: {train: 0}"), ["data", "sample"], ["`train` must be a whole number from 1 to"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(pipeline, project, spoil, arguments, words):
    spoil()
    assert_refused(pipeline(*arguments), *words)


def test_distill_refuses_stores_that_are_not_there(pipeline, project):
    edit(
        "seed: 0", "seed: 0\nstudents: {a: {datasets: [coco], teachers: [tiny]}}\ndistill: {terms: {truth: 1, tiny: 1}}"
    )()
    assert_refused(pipeline("distill"), f"{STORE}: no such target store: run `pipeline teach --teacher tiny`")


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "cli.py", *arguments], capture_output=True, text=True)


def test_as_a_process_errors_are_one_line_and_debug_shows_the_traceback(unprepared, monkeypatch):
    monkeypatch.delenv("POSE_FUSION_DEBUG", raising=False)
    plain, debug = run("teach", "--teacher", "huge"), run("--debug", "teach", "--teacher", "huge")
    assert plain.returncode == 1 and plain.stdout == ""
    assert plain.stderr == "error: params.yaml: unknown teacher `huge`: expected one of those under `teachers` (tiny)\n"
    assert (
        debug.returncode == 1
        and debug.stderr.startswith("Traceback")
        and "pipeline.common.errors.UserError" in debug.stderr
    )


def test_importing_the_command_line_imports_nothing_heavy():
    heavy = ["torch", "zarr", "dask", "onnx", "onnxruntime", "numpy", "cv2", "scipy", "pyarrow", "pydantic", "yaml"]
    code = f"import sys, cli; print(sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_full_disk_is_one_line(pipeline, project, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "data/people")

    monkeypatch.setattr("stages.prepare.run", full)
    assert_refused(pipeline("prepare"), "data/people: No space left on device")


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_what_a_terminal_cannot_show_is_a_question_mark(environment):
    """Tables have a ±, and names have anything."""
    code = r"import cli; cli.app = lambda: print('AP 1.0 \u00b1 0.5 of \udcff'); cli.main()"
    environment = {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", **environment}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"AP 1.0 ? 0.5 of ?\n", b"")
