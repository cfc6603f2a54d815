"""Live metrics never stop a training."""

import subprocess
import sys

from stages.training.live_metrics import LIVE, live_metrics


def test_before_the_first_commit_nothing_is_logged(tmp_path, monkeypatch):
    """After `git init` and `dvc init` Git has no commit, which DVCLive asks for."""
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    with live_metrics("student-one", []) as log:
        log({"step": 1.0, "total": 2.0})
    assert not LIVE.exists()
