"""Damage to a store: named, never trained on, and mended where it is and nowhere else. More of it: `python -m endurance.damage`."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from cache.targets import open_targets
from endurance.damage import ALL_ROWS, CHUNKS, INDEX, MANIFEST, METADATA, OTHER, bit_positions, try_flip
from pipeline.common.errors import UserError
from pipeline.training.trainer import Trainer
from stages import store_info as inspect
from stages.distill import inputs as student_task
from stages.distill import run as distill
from stages.project.project import project_of
from stages.project.teachers import teach_command
from stages.teach import run as teach
from tests.cache.stores import write
from tests.fixtures import flip_bit, params, save_teacher, tree

STORE = Path("data/targets/tiny/coco-train.zarr")
SHARDS = [STORE / f"heatmaps/c/{shard}/0/0/0/0" for shard in range(3)]


def student() -> dict[str, Any]:
    """Two steps of a tiny student of one teacher."""
    recipe = {"steps": 2, "batch": 4, "precision": "float32"}
    terms = {"truth": 0.5, "tiny": 0.5}
    return params(
        distill={"width": 8, "input": [64, 32], "terms": terms, "min_score": 0.0, "training": recipe},
        students={"one": {"datasets": ["coco"], "teachers": ["tiny"]}},
    )


@pytest.fixture
def untrained(monkeypatch):
    """Fails where a step is trained."""

    def step(self: Trainer, batch: object) -> dict[str, float]:
        pytest.fail("a training step on damaged targets")

    monkeypatch.setattr(Trainer, "step", step)


@pytest.mark.parametrize(("kind", "count"), [(METADATA, 36), (MANIFEST, 18), (INDEX, 18), (CHUNKS, 36)])
def test_a_flipped_bit_is_named_and_no_reader_takes_it(tmp_path, kind, count):
    """The bits are drawn; every one of them is flipped by hand."""
    store = tmp_path / "small.zarr"
    write(store)
    assert sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) < 20_000
    opened = open_targets(store, "again")
    written, before = opened.read(ALL_ROWS), tree(store)
    for n, place in enumerate(random.Random(3).sample(bit_positions(store)[kind], count)):
        found = try_flip(store, place, written, opened, read=n % 6 == 0)
        assert found.named and OTHER not in (found.after, found.before), (place, found)
    assert tree(store) == before


def test_the_places_are_every_bit(tmp_path):
    store = tmp_path / "small.zarr"
    write(store)
    found = bit_positions(store)
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    every = [place for kind in found.values() for place in kind]
    assert len(every) == len(set(every)) == 8 * size
    # three shards of two chunks, of which the index has offset and length in 8 bytes each, and a checksum of 4
    assert len(found[INDEX]) == 3 * 8 * (2 * 16 + 4)


def bit() -> list[str]:
    flip_bit(SHARDS[1], 0.3)
    return [f"{STORE}: heatmaps/c/1/0/0/0/0: damaged"]


def truncated() -> list[str]:
    SHARDS[0].write_bytes(SHARDS[0].read_bytes()[:-40])
    return [f"{STORE}: heatmaps/c/0/0/0/0/0: damaged"]


def empty() -> list[str]:
    SHARDS[2].write_bytes(b"")
    return [f"{STORE}: heatmaps/c/2/0/0/0/0: damaged"]


def missing() -> list[str]:
    (STORE / "score/c/1/0/0").unlink()
    return [f"{STORE}: score/c/1/0/0: missing"]


def exchanged() -> list[str]:
    content = SHARDS[0].read_bytes()
    SHARDS[0].write_bytes(SHARDS[1].read_bytes())
    SHARDS[1].write_bytes(content)
    names = [shard.relative_to(STORE).as_posix() for shard in SHARDS]
    return [f"{STORE}: {names[n]}: swapped: holds the content of {names[1 - n]}" for n in (0, 1)]


def of_another_store() -> list[str]:
    """Its checksums are right, and so are its sizes."""
    foreign = Path("data/targets/tiny/coco-validation.zarr/peak/c/0/0/0")
    shutil.copy(foreign, STORE / "peak/c/0/0/0")
    return [f"{STORE}: peak/c/0/0/0: damaged"]


@pytest.mark.parametrize("spoil", [bit, truncated, empty, missing, exchanged, of_another_store])
def test_verify_names_it_distill_refuses_it_and_teach_mends_it_alone(taught, untrained, spoil):
    before = tree(STORE)
    names = spoil()
    times = {file: (STORE / file).stat().st_mtime_ns for file in tree(STORE)}
    said: list[str] = []
    with pytest.raises(UserError, match=f": {len(names)} problem{'s' if len(names) > 1 else ''}: run "):
        inspect.verify(STORE, said.append)
    assert said == names
    with pytest.raises(UserError) as error:
        distill.run(project_of(student()), None, "cpu", log=lambda line: None)
    assert str(STORE) in str(error.value) and teach_command("tiny") in str(error.value)
    lines: list[str] = []
    teach.run(project_of(params()), "tiny", "cpu", log=lines.append)
    assert lines[1].startswith(f"{STORE}: repaired: ") and tree(STORE) == before
    shards = {name.split("/c/")[1].split("/")[0] for name in names}
    kept = [file for file in times if "/c/" in file and file.split("/c/")[1].split("/")[0] not in shards]
    assert len(kept) == (3 - len(shards)) * 6
    assert [(STORE / file).stat().st_mtime_ns for file in kept] == [times[file] for file in kept]


def test_a_manifest_of_another_run_is_refused(taught, untrained):
    before = tree(STORE)
    shutil.copytree(STORE, "kept.zarr")
    save_teacher(Path("tiny.onnx"), metadata={"made": "again"})
    teach.run(project_of(params()), "tiny", "cpu", log=lambda line: None)
    shutil.copy(STORE / "manifest.json", "kept.zarr/manifest.json")
    shutil.rmtree(STORE)
    shutil.copytree("kept.zarr", STORE)
    with pytest.raises(UserError, match="its manifest belongs to another run: run `pipeline teach --teacher tiny`"):
        distill.run(project_of(student()), None, "cpu", log=lambda line: None)
    with pytest.raises(UserError, match="problem"):
        inspect.verify(STORE, lambda line: None)
    save_teacher(Path("tiny.onnx"))
    teach.run(project_of(params()), "tiny", "cpu", log=lambda line: None)
    assert tree(STORE) == before


def test_damage_that_comes_while_it_trains_is_not_trained_on(taught, untrained, monkeypatch):
    """All was well when it was verified: the checksum of the chunk is what is left."""
    monkeypatch.setattr(student_task, "refuse_damage", lambda store, rebuild_command: None)
    for shard in SHARDS:
        data = bytearray(shard.read_bytes())
        data[len(data) // 5 :: 97] = bytes(byte ^ 1 for byte in data[len(data) // 5 :: 97])
        shard.write_bytes(data)
    with pytest.raises(UserError, match=rf"{STORE}: people \d+-\d+ cannot be read \(.*\): run `pipeline cache verify "):
        distill.run(project_of(student()), None, "cpu", log=lambda line: None)
