"""Whatever is wrong with a file from outside, its reader reads it or says so in one line, and soon."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.common.errors import UserError
from tests.faults.damage import damaged, damaged_bytes
from tests.faults.readers import readers

READERS = readers()
SLOW = {"onnx", "carried spec", "params"}
EXAMPLES = 30 if settings().max_examples == 100 else settings().max_examples
SECONDS = 20
"""For one small file, on a machine that does other things as well; each takes milliseconds."""


class Hanging(BaseException):
    """Not to be caught by a reader."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raises Hanging in here once SECONDS have passed."""

    def stop(*_: object) -> None:
        raise Hanging

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", READERS)
def test_the_valid_file_is_read(tmp_path: Path, name: str) -> None:
    reader = READERS[name]
    path = tmp_path / f"file{reader.suffix}"
    path.write_bytes(reader.encoded(reader.valid()))
    reader.read(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    reader, path = READERS[name], tmp_path / f"file{READERS[name].suffix}"
    valid = reader.valid()

    @settings(
        max_examples=max(10, EXAMPLES // 3) if name in SLOW else EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        def choose(count: int) -> int:
            return data.draw(st.integers(0, count - 1))

        if reader.form == "bytes":
            content = damaged_bytes(valid, choose)
        else:
            try:
                content = reader.encoded(damaged(valid, choose))
            except ValueError:  # integers of more than 4300 digits are not written as text
                return
            if choose(4) == 0:
                content = damaged_bytes(content, choose)
        path.write_bytes(content)
        with limited():
            try:
                reader.read(path)
            except UserError as error:
                text = str(error)
                assert text and "\n" not in text and len(text) < 2000, text[:3000]

    holds()
