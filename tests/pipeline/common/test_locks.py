"""One writer per store; files that are old or new."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.common.errors import UserError
from pipeline.common.locks import exclusive

ROOT = Path(__file__).resolve().parents[3]

HOLD = """
import sys, time
from pathlib import Path
from pipeline.common.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_named_and_its_death_releases(tmp_path):
    path = tmp_path / "teacher"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(UserError) as error, exclusive(path):
                pass
            pattern = (
                rf"{path} is being written by process {holder.pid} on \S+ since [-\d]+ [:\d]+: wait for it or stop it.*"
            )
            assert re.fullmatch(pattern, str(error.value))
        finally:
            holder.kill()
            holder.wait()
    assert (tmp_path / "teacher.holder").exists(), "a killed holder cannot tidy up"
    with exclusive(path):
        assert f"process {os.getpid()} " in (tmp_path / "teacher.holder").read_text()
    assert not (tmp_path / "teacher.holder").exists()


def test_another_thread_is_refused(tmp_path):
    refused = []

    def second():
        try:
            with exclusive(tmp_path / "teacher"):
                refused.append("no")
        except UserError as error:
            refused.append(str(error))

    with exclusive(tmp_path / "teacher"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"process {os.getpid()} " in refused[0]


def test_refusal_leaves_the_holder_its_lock(tmp_path):
    with exclusive(tmp_path / "teacher"):
        for _ in range(2):
            with pytest.raises(UserError, match=f"process {os.getpid()} "), exclusive(tmp_path / "teacher"):
                pass


def test_an_error_inside_releases(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "teacher"):
        raise ZeroDivisionError
    with exclusive(tmp_path / "teacher"):
        pass


def test_two_stores_have_two_locks(tmp_path):
    with exclusive(tmp_path / "one"), exclusive(tmp_path / "two"):
        assert (tmp_path / "one.holder").exists() and (tmp_path / "two.holder").exists()
