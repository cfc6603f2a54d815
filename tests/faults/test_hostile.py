"""Nothing from a file, from parameters or from the environment reaches a shell, an unpickler, or the network."""

import ast
import functools
import re
import socket
import sys
from pathlib import Path

import pytest
import yaml

import cli
from pipeline.common.errors import UserError
from stages.project.project import NAMED_SECTIONS, load_project
from tests.closure import PACKAGES, ROOT
from tests.faults.changes import bomb
from tests.faults.table import make, project_params
from tests.faults.test_any_damage import limited
from tests.test_end_to_end import copy_of_the_project, run

LISTED = (*NAMED_SECTIONS, "data", "fit.teachers")
"""What params.yaml lists by names that load_project checks."""
NAMES = (
    "x; touch ran",
    "$(touch ran)",
    "`touch ran`",
    "a b",
    "a|b",
    "a\nb",
    "../up",
    "/root",
    "",
    ".",
    "-x",
    "a.b",
    "a'b",
    "é" * 3,
)

FORBIDDEN = {
    "eval": None,
    "exec": None,
    "os.system": None,
    "os.popen": None,
    "pickle.load": None,
    "pickle.loads": None,
    "yaml.unsafe_load": None,
    "yaml.full_load": None,
    "yaml.load": None,
}
"""Calls that nothing of ours makes."""


@functools.cache
def source() -> list[tuple[Path, ast.Module]]:
    """Every module of ours."""
    files = [ROOT / "cli.py", *(file for room in PACKAGES for file in sorted((ROOT / room).rglob("*.py")))]
    return [(file, ast.parse(file.read_text(encoding="utf-8"))) for file in files]


def calls(tree: ast.Module) -> list[tuple[str, dict[str, str], list[ast.expr]]]:
    """Dotted name, keywords as text and arguments of every call by a plain name."""
    return [
        (ast.unparse(node.func), {each.arg or "**": ast.unparse(each.value) for each in node.keywords}, node.args)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]


def test_nothing_of_ours_calls_a_shell_or_runs_what_a_file_says() -> None:
    programs = []
    for file, tree in source():
        for name, keywords, arguments in calls(tree):
            where = f"{file.relative_to(ROOT)}: {name}"
            assert name not in FORBIDDEN and not name.startswith("os.exec") and not name.startswith("os.spawn"), where
            assert keywords.get("shell", "False") == "False", where
            assert keywords.get("allow_pickle", "False") == "False", where
            if name == "torch.load":
                assert keywords["weights_only"] == "True", where
            if name == "YAML":
                # `rt` keeps comments and positions; neither makes objects of tags
                assert keywords["typ"] in ("'safe'", "'rt'") and not arguments, where
            if name.startswith("subprocess."):
                programs.append((where, ast.unparse(arguments[0])))
    reader = "[sys.executable, '-P', '-m', 'pipeline.datasets.matlab', *limits, 'structs' if structs else 'arrays']"
    assert programs == [
        ("pipeline/datasets/matlab.py: subprocess.run", reader),
        ("stages/doctor/run.py: subprocess.run", "NVIDIA_SMI"),
        ("stages/repro/running.py: subprocess.Popen", "[*DVC, name]"),
    ]


def test_what_dvc_puts_into_commands_are_names_that_are_checked() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    filled = 0
    for stage in stages.values():
        each = stage.get("do", stage)
        commands = each["cmd"] if isinstance(each["cmd"], list) else [each["cmd"]]
        for put in re.findall(r"\$\{(.*?)\}", " ".join(commands)):
            section = stage["foreach"].removeprefix("${").removesuffix("}")
            assert section in LISTED
            assert put == ("key" if section in NAMED_SECTIONS else "item")
            filled += 1
    assert filled >= 7


@pytest.mark.slow
def test_dvc_stops_at_a_name_that_is_a_command_before_a_shell_reads_it(tmp_path: Path) -> None:
    copy_of_the_project(tmp_path)
    values = yaml.safe_load((tmp_path / "params.yaml").read_text())
    values["data"] = ["sample; touch taken"]
    values["sample; touch taken"] = values["sample"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(AssertionError, match=r"error: params.yaml: unknown key `sample; touch taken`"):
        run(tmp_path, "dvc", "repro")
    assert not (tmp_path / "taken").exists()


def test_what_dvc_puts_into_the_commands_of_the_comparison_is_its_own() -> None:
    stages = yaml.safe_load((ROOT / "experiments/dvc.yaml").read_text())["stages"]
    listed = yaml.safe_load((ROOT / "experiments/arms.yaml").read_text())
    assert stages["train"]["foreach"] == "${arms}"
    for name, stage in stages.items():
        put = re.findall(r"\$\{(.*?)\}", stage.get("do", stage)["cmd"])
        assert put == (["key"] if name == "train" else [])
    assert all(re.fullmatch(r"[a-z0-9-]+", arm) for arm in listed["arms"])
    assert all(isinstance(seed, int) for seed in listed["seeds"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("section", LISTED)
def test_a_name_that_means_something_to_a_shell_or_a_path_is_refused(tmp_path: Path, section: str, name: str) -> None:
    values = {**project_params()}
    if section == "fit.teachers":
        values["fit"] = {"teachers": [name]}
    else:
        values[section] = [name] if section == "data" else {name: {}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=rf"params\.yaml: {section}: expected names of letters") as error:
        load_project(tmp_path / "params.yaml")
    assert "\n" not in str(error.value)


def test_doctor_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from stages.doctor import run as doctor

    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"students": {"x; touch ran": {}}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "describe_torch_device", lambda: "")
    monkeypatch.setattr(doctor, "onnxruntime_devices", lambda: [("", "")])
    doctor.run()
    assert "found 'x; touch ran': rename it" in capsys.readouterr().out


def test_aliases_that_repeat_little_are_read(tmp_path: Path) -> None:
    text = "distill: {training: &t {steps: 5, batch: 2}}\nfit: {training: {<<: *t, steps: 7}}\n"
    (tmp_path / "params.yaml").write_text(text)
    assert load_project(tmp_path / "params.yaml").values["fit"] == {"training": {"steps": 7, "batch": 2}}


MANY = bomb() + "  mine: {k: *h, k: *h}\n"
MERGED = "a: &a {k: 1}\n" + "".join(
    f"{this}: &{this} {{<<: [{', '.join([f'*{last}'] * 10)}]}}\n"
    for this, last in zip("bcdefghi", "abcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [(MANY, 'found duplicate key "k"'), (MERGED, "found more than 100,000 values to merge")],
    ids=["a key twice", "merged"],
)
def test_what_unfolds_to_millions_is_neither_printed_nor_merged(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with limited(), pytest.raises(UserError, match=words) as error:
        load_project(tmp_path / "params.yaml")
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("text", ["students: &a [*a]", "students: &a {b: *a}"])
def test_what_contains_itself_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError):
        load_project(tmp_path / "params.yaml")


def test_dvc_asks_nobody() -> None:
    text = (ROOT / ".dvc/config").read_text()
    assert "analytics = false" in text and "check_update = false" in text


@pytest.mark.slow
def test_no_command_asks_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments[-1])
        raise OSError("the network is cut off")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    values = {**project_params(), "baselines": {}}
    values["datasets"] = {"coco": values["datasets"]["coco"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    for command in (
        "prepare --dataset coco",
        "teach --teacher tiny --device cpu",
        "teacher spec tiny.onnx",
        "distill --student one --device cpu",
        "evaluate --model one --data coco:validation --device cpu",
        "export --student one",
        "predict pictures --whole --student data/exported/one.onnx --device cpu",
        "label --dataset coco --device cpu",
        "cache verify data/targets/tiny/coco-train.zarr",
        "show 0",
        "doctor",
    ):
        monkeypatch.setattr(sys, "argv", ["pipeline", *command.split()])
        try:
            cli.main()
        except SystemExit as leaving:
            assert not leaving.code, command
    assert asked == []
