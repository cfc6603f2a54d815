"""`python -m tests.faults.page` writes docs/bad-input.md from the rows that the tests run."""

from pathlib import Path

from tests.closure import ROOT
from tests.faults import rows_annotations, rows_results, rows_settings, rows_skeletons
from tests.faults.accepted import ACCEPTED
from tests.faults.table import Row

PAGE = ROOT / "docs/bad-input.md"

SECTIONS: dict[str, tuple[Row, ...]] = {
    "Annotations and the images they name": rows_annotations.ROWS,
    "params.yaml, teachers, images, tables": rows_settings.ROWS,
    "Skeletons of your own": rows_skeletons.ROWS,
    "Stores, students, predictions, checkpoints, your own images, archives": rows_results.ROWS,
}

HEAD = """# Bad input: what is wrong, which command finds it, its error line, what to do

Every row is a test (`tests/faults/test_bad_input.py`) that runs the command on a small project with that one thing wrong. The
command ends with exit code 1 and one line on stderr, printed here without its `error: `, and every file that existed before is
unchanged. What to do is the end of that line; where it is *in italics* the line ends before it. `--debug` shows the traceback.

No file is trusted: however it is damaged, its reader reads it or raises an error line (`tests/faults/test_any_damage.py`; a hundred
times as many damaged files with `--hypothesis-profile thorough`). `python -m fuzzing READER --seconds 900` tries more, guided by
the lines of code that it reaches; it needs `pip install atheris`.
"""

NAMES = """
## Names and the shell

DVC puts names of datasets, teachers, students and baselines into the commands of dvc.yaml and runs these in a shell. Before each of
them it runs `pipeline validate`, which refuses a params.yaml with a name of anything but letters, digits, - and _, and DVC stops
there. So does every other command of the pipeline.
"""

LEFT = """
## Limits

- For images other than JPEG and PNG, OpenCV's own limit of 2^30 pixels, 3 GB, holds.
- ONNX Runtime runs a teacher's file in this process: if a network needs all memory, ONNX Runtime raises an error or the process is
  killed.
- SciPy reads MATLAB files in a process of its own, with limits of memory and time (pipeline/datasets/matlab.py).
"""


FIGURES = """
## Figures

{rows} rows of bad input and {odd} of unusual input. Fuzzing and the tests of random damage ran 30 readers on 639,000 inputs in 14
minutes on a busy core. They found five ways to a traceback, all fixed: numbers of 400 digits in a spec, a list as a category in a file
of boxes, an empty archive, a negative position in a zip file, and text in a people table that is not Unicode. Of 400 MATLAB files with
one flipped bit, 9 ended the process that read them: SciPy has a process of its own for them.
"""


def page() -> str:
    """Return the text of the page."""
    parts = [HEAD]
    for title, rows in SECTIONS.items():
        parts += [f"\n## {title}\n", "| wrong | `pipeline` | error line | what to do |", "|---|---|---|---|"]
        parts += [_line(row.wrong, f"`{row.command}`", _code(row.message), _remedy(row)) for row in rows]
    parts += ["\n## Unusual input that is read\n", "| unusual | `pipeline` | effect |", "|---|---|---|"]
    parts += [_line(row.unusual, f"`{row.command}`", row.effect) for row in ACCEPTED]
    return "\n".join([*parts, NAMES, LEFT.strip(), _figures()]) + "\n"


def _figures() -> str:
    return FIGURES.format(rows=sum(map(len, SECTIONS.values())), odd=len(ACCEPTED)).rstrip()


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _remedy(row: Row) -> str:
    return row.remedy if row.printed else f"*{row.remedy}*"


if __name__ == "__main__":
    Path(PAGE).write_text(page(), encoding="utf-8")
