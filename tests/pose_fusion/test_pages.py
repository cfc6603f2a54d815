"""docs/python.md is written from the docstrings, and the code of docs/store.md reads with Zarr what `Targets` reads."""

import re
from pathlib import Path

import numpy as np
import pytest
import zarr

import pose_fusion
from tests.closure import ROOT
from tests.pose_fusion.page import PAGE, members, signature, with_reference
from tests.test_docs import make_pages_project, python_blocks


def test_the_reference_is_that_of_the_docstrings() -> None:
    assert with_reference(PAGE.read_text()) == PAGE.read_text(), "run `python -m tests.pose_fusion.page`"


def test_every_public_name_has_a_docstring_that_the_page_shows() -> None:
    page = PAGE.read_text()
    for name in pose_fusion.__all__:
        assert f"### `{name}" in page
        assert (getattr(pose_fusion, name).__doc__ or "").strip()
    public = {name for name in vars(pose_fusion.PoseFusion) if not name.startswith("_")}
    listed = re.findall(r"`\.(\w+)", "\n".join(members(pose_fusion.PoseFusion)))
    assert public <= set(listed) and all(line.partition(": ")[2] for line in members(pose_fusion.PoseFusion))


def test_a_signature_has_names_and_defaults() -> None:
    assert signature(pose_fusion.PersonTargets.map, ".map") == ".map(keypoint, view=0)"


def test_zarr_alone_reads_what_targets_reads(taught: Path) -> None:
    make_pages_project(taught)
    found: dict[str, object] = {}
    exec(python_blocks(ROOT / "docs/store.md")[0], found)
    person = pose_fusion.Targets("data/targets/coco/coco-train.zarr").person(int(found["store"]["person"][0]))  # type: ignore[index]
    assert np.allclose(found["heatmap"], person.map("left_wrist"), atol=1e-6)
    wrist = person.keypoints.index("left_wrist")
    pixel = np.linalg.norm(person.image_from_target[0, :, 0])
    assert np.abs(found["in_image"] - person.positions[0, wrist]).max() <= 1.5 * pixel


@pytest.mark.filterwarnings("ignore:Object at manifest.json")
def test_the_page_of_the_store_names_every_array(taught: Path) -> None:
    make_pages_project(taught)
    page = (ROOT / "docs/store.md").read_text()
    for store in ("data/targets/coco/coco-train.zarr", "data/crops/coco.zarr"):
        for name, array in zarr.open_group(store, mode="r").arrays():
            assert re.search(rf"^\|.*`{name}`.*{array.dtype}", page, re.M), name
