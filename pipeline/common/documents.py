"""JSON, CSV and Markdown tables as text or bytes. Their numbers are computed elsewhere."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def json_bytes(document: Any) -> bytes:
    """Return JSON with floats rounded to three digits, null for NaN, and each innermost list on one line."""
    text = json.dumps(_rounded(document), indent=1)
    return (re.sub(r"\[[^][{}]*\]", _on_one_line, text) + "\n").encode()


def csv_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return CSV with a header line and line feeds as line ends; a column that a row lacks is empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with its first column aligned left and the others right."""
    rows = [f"| {' | '.join(cells)} |" for cells in (heads, *lines)]
    return "\n".join([rows[0], "|---|" + "---:|" * (len(heads) - 1), *rows[1:]]) + "\n"


def _on_one_line(match: re.Match[str]) -> str:
    return "[" + " ".join(match[0][1:-1].split()) + "]"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    return None if math.isnan(value) else round(float(value), 3)
