"""`pipeline repro` on stages of a line or two: what runs side by side, what is left, what a failure and a signal do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.common.errors import UserError
from stages.repro import run as repro
from stages.repro.graph import seconds_behind

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of a package of DVC's

STAGES = """
stages:
  first:
    foreach: [a, b]
    do:
      meta: {seconds: 50}
      cmd: touch ${item}-started; for i in $(seq 300); do test -e a-started -a -e b-started && break; sleep 0.1; done;
        test -e a-started -a -e b-started && echo $OMP_NUM_THREADS > ${item}.txt
      outs: [{"${item}.txt": {cache: false}}]
  last:
    cmd: cat a.txt b.txt input.txt > last.txt
    deps: [a.txt, b.txt, input.txt]
    outs: [{last.txt: {cache: false}}]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A DVC project in the current folder, on a machine of four cores."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(repro, "cores", lambda: 4)
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n")
    Path("dvc.yaml").write_text(STAGES)
    Path("params.yaml").write_text("seed: 0\n")
    Path("input.txt").write_text("1\n")
    return tmp_path


def test_independent_stages_run_side_by_side_and_unchanged_ones_do_not(folder):
    lines: list[str] = []
    repro.run(log=lines.append)
    assert Path("last.txt").read_text() == "2\n2\n1\n"  # each of the two had half of the cores
    assert [line.split()[1:5] for line in lines[:3]] == [
        [str(n), "of", "3", name] for n, name in enumerate([lines[0].split()[4], lines[1].split()[4], "last:"], 1)
    ]
    assert {lines[0].split()[4], lines[1].split()[4]} == {"first@a:", "first@b:"}
    assert lines[3].startswith("3 stages in ") and Path("data/logs/last.txt").is_file()

    Path("input.txt").write_text("2\n")
    lines.clear()
    repro.run(jobs=1, log=lines.append)
    assert Path("last.txt").read_text() == "2\n2\n2\n"
    assert [line.endswith(", unchanged") for line in lines] == [True, True, False, False]
    outcomes = [line.split()[-1] for line in repro.HISTORY.read_text().splitlines()]
    assert outcomes == ["done"] * 3 + ["unchanged"] * 2 + ["done"]


def test_after_a_failure_nothing_else_is_started(folder):
    Path("dvc.yaml").write_text(STAGES.replace("touch ${item}-started;", "echo the reason is this; exit 3;"))
    lines: list[str] = []
    with pytest.raises(UserError, match=r"^first@a failed, see above"):
        repro.run(["first@a", "last"], log=lines.append)
    assert lines[-1].startswith("data/logs/first@a.txt:\n") and "the reason is this" in lines[-1]
    assert not Path("data/logs/last.txt").exists()


def test_targets_are_a_group_of_stages_or_of_another_file(folder):
    Path("more").mkdir()
    Path("more/dvc.yaml").write_text("stages:\n  far: {cmd: echo 1 > near.txt, wdir: ..}\n")
    repro.run(["first", "more/dvc.yaml:far"], log=lambda line: None)
    assert Path("a.txt").exists() and Path("near.txt").exists() and not Path("last.txt").exists()
    assert Path("data/logs/more-dvc.yaml:far.txt").is_file()


@pytest.mark.parametrize(
    ("stages", "targets", "message"),
    [
        (STAGES, ["nothing"], "nothing"),
        ("stages: {}", [], r"^dvc\.yaml: expected stages to run, found none"),
        ("stages: [", [], r"dvc\.yaml"),
        ("stages:\n  one: {cmd: 'echo ${absent}'}", [], "absent"),
    ],
    ids=["unknown", "none", "unreadable", "unresolved"],
)
def test_what_cannot_be_run_is_named(folder, stages, targets, message):
    Path("dvc.yaml").write_text(stages)
    with pytest.raises(UserError, match=message):
        repro.run(targets)


def test_a_folder_without_dvc_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="not inside of a DVC repository"):
        repro.run()


def test_a_signal_reaches_the_command_and_is_waited_for(folder):
    waits = "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: (open('saved', 'w'), sys.exit(130)))"
    Path("waits.py").write_text(f"{waits}; open('started', 'w'); time.sleep(60)")
    Path("dvc.yaml").write_text(f"stages:\n  waits:\n    cmd: {sys.executable} waits.py\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(repro.__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-m", "cli", "repro"], env=environment, stdout=subprocess.DEVNULL)
    for _ in range(300):
        if Path("started").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert Path("saved").exists()


def test_the_time_left_counts_what_waits_behind():
    needs = {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b", "c"}}
    assert seconds_behind(needs, {"a": 1.0, "b": 10.0, "c": 20.0, "d": 3.0}) == {
        "a": 23.0,
        "b": 3.0,
        "c": 3.0,
        "d": 0.0,
    }
