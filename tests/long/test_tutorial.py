"""docs/tutorial.md, run from its first command to its last on real COCO, MPII and LSP people with real teachers."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.closure import ROOT

PAGE = ROOT / "docs/tutorial.md"
BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MODELS = {"coco": "pptinypose_coco17_256x192.onnx", "mpii": "efficientpose_rt_mpii16_224.onnx"}


@pytest.mark.long
def test_the_tutorial_runs_as_it_stands(real, tmp_path, monkeypatch):
    source = real / "two_datasets"
    if not source.is_dir():
        pytest.skip(f"real data is absent: no folder {source}")
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "models"):
        Path(folder).mkdir()
    for name, folder in (("coco", "coco"), ("mpii", "mpii"), ("lsp", "lspet")):
        Path("data", name).symlink_to(source / folder)
    for name, file in MODELS.items():
        Path("models", f"{name}.onnx").symlink_to(source / "models" / file)
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == 8
    printed = []
    for language, text in blocks:
        if language == "yaml":
            values = yaml.safe_load(Path("params.yaml").read_text())
            Path("params.yaml").write_text(yaml.safe_dump(merged(values, yaml.safe_load(text)), sort_keys=False))
        else:
            printed += [run(line) for line in text.splitlines()]
    out = "\n".join(printed)
    assert "lsp train: " in out and "too few to compare specs" not in out
    assert "lsp PCK@0.2 torso" in out and "less unified" in out
    for file in ("results/table.md", "data/exported/unified.onnx", "views.png", "predictions/predictions.json"):
        assert Path(file).is_file()
    assert Path("predictions/000000000564.jpg").is_file() and "no keypoint is drawn" not in out


def merged(values: Any, changes: Any) -> Any:
    """The mapping with the changes, which go as deep as they are given."""
    if not isinstance(values, dict) or not isinstance(changes, dict):
        return changes
    return values | {key: merged(values.get(key), change) for key, change in changes.items()}


def run(line: str) -> str:
    """Run a line of the page: with this code where it is a command of the project, else in a shell."""
    name, *arguments = shlex.split(line)
    command = [sys.executable, "-m", "cli", *arguments] if name == "pipeline" else ["sh", "-c", line]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=600)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
