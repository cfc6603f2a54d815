"""What a training shows while it runs must never be what stops it."""

import subprocess
import sys

from stages.live import LIVE, live_metrics


def test_before_the_first_commit_nothing_is_logged(tmp_path, monkeypatch):
    """`git init`, `dvc init`, and the first command: DVCLive asks Git for a commit that there is not."""
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    with live_metrics("student-one", []) as log:
        log({"step": 1.0, "total": 2.0})
    assert not LIVE.exists()
