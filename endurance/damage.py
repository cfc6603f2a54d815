"""`python -m endurance.damage`: flips single bits of a small store, damages whole files, and checks that all damage is detected.

It flips every bit of metadata, manifest and shard indexes, and 20,000 bits of chunks. `verify_store` must name the file. Every nth time,
a reader that verifies nothing must refuse the store or read what was written.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.manifest import MANIFEST_NAME
from cache.reader import verify_store
from cache.targets import TargetStore, open_targets
from cache.writer import open_for_writing
from pipeline.common.errors import UserError
from pipeline.targets.block import TargetBlock
from tests.cache.stores import LAYOUT, fingerprint, write
from tests.fixtures import tree

INDEX_BYTES = 16 * LAYOUT.views + 4
"""Bytes at the end of a shard: offset and length of each chunk, and their checksum."""
METADATA, MANIFEST, INDEX, CHUNKS = "metadata (`zarr.json`)", "manifest", "shard indexes", "chunks"
ALL_ROWS = slice(0, LAYOUT.people)


@dataclass(frozen=True)
class BitPosition:
    """The position of a bit in a store."""

    file: str
    bit: int


@dataclass(frozen=True)
class FlipResult:
    """How a flipped bit was detected."""

    named: bool
    """Whether `verify_store` named this file and no other."""
    after: str | None
    """What a reader did that opened the store after the flip: refused to open or read, read the same or other values. None: no reader."""
    before: str | None
    """The same for a reader that had opened the store before the flip."""

    @property
    def harmful(self) -> bool:
        """Whether the flip was not detected."""
        return not self.named or OTHER in (self.after, self.before)


UNOPENED, UNREAD, SAME, OTHER = "refused to open", "refused to read", "read the same", "read other values"


def bit_positions(store: Path) -> dict[str, list[BitPosition]]:
    """Return every bit of a store, by the kind of data it is part of."""
    positions: dict[str, list[BitPosition]] = {METADATA: [], MANIFEST: [], INDEX: [], CHUNKS: []}
    for path in sorted(each for each in store.rglob("*") if each.is_file()):
        file, size = path.relative_to(store).as_posix(), path.stat().st_size
        if path.name == "zarr.json":
            borders = {METADATA: range(size)}
        elif file == MANIFEST_NAME:
            borders = {MANIFEST: range(size)}
        elif file.split("/")[0] in LAYOUT.targets:
            borders = {CHUNKS: range(size - INDEX_BYTES), INDEX: range(size - INDEX_BYTES, size)}
        else:
            borders = {CHUNKS: range(size)}
        for kind, inside in borders.items():
            positions[kind] += [BitPosition(file, 8 * byte + bit) for byte in inside for bit in range(8)]
    return positions


@contextmanager
def flipped(store: Path, position: BitPosition) -> Iterator[None]:
    """Flip a bit inside the context."""
    path = store / position.file
    data = path.read_bytes()
    damaged = bytearray(data)
    damaged[position.bit // 8] ^= 1 << position.bit % 8
    path.write_bytes(damaged)
    try:
        yield
    finally:
        path.write_bytes(data)


def try_flip(store: Path, position: BitPosition, written: TargetBlock, opened: TargetStore, read: bool) -> FlipResult:
    """Flip a bit and run `verify_store`; with `read`, readers too. `opened` is the store, opened before."""
    with flipped(store, position):
        named = [problem.file for problem in verify_store(store)] == [position.file]
        if not read:
            return FlipResult(named, None, None)
        fresh = TargetStore(opened.store)
        return FlipResult(named, _opened_and_read(store, written), _read(fresh, written))


def _opened_and_read(store: Path, written: TargetBlock) -> str:
    try:
        opened = open_targets(store, "again", written.person)
    except UserError:
        return UNOPENED
    return _read(opened, written)


def _read(opened: TargetStore, written: TargetBlock) -> str:
    try:
        block = opened.read(ALL_ROWS)
    except UserError:
        return UNREAD
    return SAME if equal(block, written) else OTHER


def equal(one: TargetBlock, other: TargetBlock) -> bool:
    """Return whether two blocks have equal values, types and shapes."""
    pairs = [({**vars(block), **block.levels}) for block in (one, other)]
    names = pairs[0].keys() - {"levels"}
    return pairs[0].keys() == pairs[1].keys() and all(
        pairs[0][name].dtype == pairs[1][name].dtype and np.array_equal(pairs[0][name], pairs[1][name])
        for name in names
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_by_one(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut in half": cut,
    "one byte short": cut_by_one,
    "empty": emptied,
    "missing": removed,
    "all zeros": zeroed,
    "one byte longer": longer,
}


def repaired(store: Path, file: str, damage: Callable[[Path], None]) -> bool:
    """Damage a file; return whether it is named, exactly its shard is rebuilt, and every byte is as before."""
    before = tree(store)
    damage(store / file)
    named = [problem.file for problem in verify_store(store)] == [file]
    expected = [shard for shard in range(LAYOUT.shards) if file in LAYOUT.shard_files(shard)]
    plan = open_for_writing(store, LAYOUT, fingerprint())
    write(store)
    return named and plan.pending == expected and tree(store) == before and not verify_store(store)


def swapped(store: Path, one: str, other: str) -> bool:
    """Swap two files of equal form; return whether both are named, exactly their shards are rebuilt, and every byte is as before."""
    before = tree(store)
    content = (store / one).read_bytes()
    (store / one).write_bytes((store / other).read_bytes())
    (store / other).write_bytes(content)
    named = sorted(str(problem) for problem in verify_store(store))
    expected = sorted(f"{this}: swapped: holds the content of {that}" for this, that in ((one, other), (other, one)))
    plan = open_for_writing(store, LAYOUT, fingerprint())
    write(store)
    shards = [shard for shard in range(LAYOUT.shards) if {one, other} & set(LAYOUT.shard_files(shard))]
    return named == expected and plan.pending == shards and tree(store) == before


def main() -> None:
    """Make a store, damage it in every way, print the tables; exit code 1 if some damage was not detected."""
    parser = argparse.ArgumentParser(prog="python -m endurance.damage", description=__doc__)
    parser.add_argument("--chunk-bits", type=int, default=20_000, help="number of bits of chunks to flip")
    parser.add_argument("--share", type=float, default=1.0, help="share of the other bits to flip")
    parser.add_argument("--every", type=int, default=8, help="use readers for every nth flip; 1 for all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        store = Path(folder) / "small.zarr"
        write(store)
        harm = _flip_all(store, options) + _damage_all(store)
    sys.exit(1 if harm else 0)


def _flip_all(store: Path, options: argparse.Namespace) -> int:
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    print(f"a store of {size} bytes in {len(tree(store))} files, seed {options.seed}\n")
    print(
        "| place | bits | flipped | named by `verify` | by readers | refused to open | refused to read | same | other |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    generator = random.Random(options.seed)
    opened = open_targets(store, "again")
    written = opened.read(ALL_ROWS)
    before = tree(store)
    harm = 0
    for kind, every in bit_positions(store).items():
        count = min(len(every), options.chunk_bits) if kind == CHUNKS else round(options.share * len(every))
        drawn = generator.sample(every, count)
        results = [
            try_flip(store, position, written, opened, read=n % options.every == 0) for n, position in enumerate(drawn)
        ]
        reactions = Counter(each for result in results for each in (result.after, result.before) if each)
        named = sum(result.named for result in results)
        harm += sum(result.harmful for result in results)
        counts = " | ".join(str(reactions[each]) for each in (UNOPENED, UNREAD, SAME, OTHER))
        print(f"| {kind} | {len(every)} | {count} | {named} | {sum(reactions.values())} | {counts} |", flush=True)
        for position, result in zip(drawn, results, strict=True):
            if result.harmful:
                print(f"NOT DETECTED: {position}: {result}", file=sys.stderr)
    assert tree(store) == before
    return harm


def _damage_all(store: Path) -> int:
    print("\n| whole file | files | named, rebuilt alone, as before |\n|---|--:|--:|")
    harm = 0
    files = [file for file in tree(store) if file != MANIFEST_NAME]
    for name, damage in DAMAGES.items():
        detected = sum(repaired(store, file, damage) for file in files)
        harm += len(files) - detected
        print(f"| {name} | {len(files)} | {detected} |", flush=True)
    pairs = [pair for pair in zip(*(LAYOUT.shard_files(b) for b in (0, 1)), strict=True) if _differ(store, *pair)]
    detected = sum(swapped(store, *pair) for pair in pairs)
    harm += len(pairs) - detected
    print(f"| swapped with another shard's | {2 * len(pairs)} | {2 * detected} |")
    rebuilt = _another_run(store)
    print(f"| the manifest of another run: refused, the store rebuilt | 1 | {int(rebuilt)} |")
    return harm + (not rebuilt)


def _differ(store: Path, one: str, other: str) -> bool:
    return (store / one).read_bytes() != (store / other).read_bytes()


def _another_run(store: Path) -> bool:
    """Return whether the manifest of another run is refused, and the store is rebuilt."""
    before = tree(store)
    other = store.with_name("other.zarr")
    write(other, teacher="c" * 64)
    shutil.copy(other / MANIFEST_NAME, store / MANIFEST_NAME)
    try:
        open_targets(store, "again")
        refused = False
    except UserError as error:
        refused = "its manifest belongs to another run" in str(error)
    named = bool(verify_store(store))
    return refused and named and write(store).startswith("rebuilt: ") and tree(store) == before


if __name__ == "__main__":
    main()
