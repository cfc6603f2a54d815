import os
import subprocess

import pytest

from pipeline.common.stderr import STDERR, captured_stderr


def test_what_is_written_inside_is_in_the_list_once_and_nowhere_else(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_stderr() as lines:
        os.write(STDERR, b"one\ntwo \xff\none\n")
        subprocess.run(["sh", "-c", "echo three >&2"], check=True)
    os.write(STDERR, b"after\n")
    assert lines == ["one", "two �", "three"]
    assert capfd.readouterr().err == "after\n"


def test_an_error_inside_gives_stderr_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError), captured_stderr():
        raise ValueError
    os.write(STDERR, b"after\n")
    assert capfd.readouterr().err == "after\n"
