"""One writer per store; files that are old or new."""

import errno
import fcntl
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

WITHOUT_FLOCK = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
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


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_and_used(tmp_path, monkeypatch, caplog, reason):
    def flock(*_):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(2):
        held = exclusive(tmp_path / "teacher", remove_lock_file=True)
        with held, pytest.raises(UserError, match=f"process {os.getpid()} "), exclusive(tmp_path / "teacher"):
            pass
        assert not (tmp_path / "teacher.soft-lock").exists()
    said = f"warning: {tmp_path}: its file system gives no locks ({os.strerror(reason)}): a file stands for them"
    assert caplog.text.count(said) == 1
    command = [sys.executable, "-c", WITHOUT_FLOCK + HOLD, str(tmp_path / "teacher")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
        holder.wait()
    with exclusive(tmp_path / "teacher"):
        assert f"process {os.getpid()} " in (tmp_path / "teacher.holder").read_text()


def test_the_current_folder_has_a_lock(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with exclusive(Path("."), remove_lock_file=True):
        assert (tmp_path / "here.lock").exists()


def test_one_that_waits_gets_the_lock(tmp_path):
    order = []

    def second():
        with exclusive(tmp_path / "scores", wait=True):
            order.append("second")

    with exclusive(tmp_path / "scores"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
