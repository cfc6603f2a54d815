"""`python -m tests.endurance.damage`: bits of a small store flipped one at a time, whole files spoilt, and how each was answered.

Every bit of metadata, manifest and shard indexes, and 20,000 of chunks. A flip is answered where `verify` names the file; in the
second place, asked of every nth, a reader that verifies nothing refuses it or reads what was written.
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

from cache.manifest import NAME
from cache.reader import verify
from cache.targets import TargetStore, open_targets
from cache.writer import open_for_writing
from pipeline.errors import UserError
from pipeline.targets.block import TargetBlock
from tests.cache.stores import LAYOUT, fingerprint, write
from tests.fixtures import tree

INDEX_BYTES = 16 * LAYOUT.views + 4
"""At the end of a shard: offset and length of each chunk, and their checksum."""
METADATA, MANIFEST, INDEX, CHUNKS = "metadata (`zarr.json`)", "manifest", "shard indexes", "chunks"
ALL = slice(0, LAYOUT.people)


@dataclass(frozen=True)
class Place:
    """A bit of a store."""

    file: str
    bit: int


@dataclass(frozen=True)
class Answer:
    """What was said about a flipped bit."""

    named: bool
    """Did `verify` name this file and no other?"""
    after: str | None
    """What a reader did that opened the store then: refused to open, refused to read, read the same, read other values. None: not asked."""
    before: str | None
    """The same of a reader that had opened it earlier."""

    @property
    def harmful(self) -> bool:
        return not self.named or OTHER in (self.after, self.before)


UNOPENED, UNREAD, SAME, OTHER = "refused to open", "refused to read", "read the same", "read other values"


def places(store: Path) -> dict[str, list[Place]]:
    """Every bit of a store, by the kind of place."""
    found: dict[str, list[Place]] = {METADATA: [], MANIFEST: [], INDEX: [], CHUNKS: []}
    for path in sorted(each for each in store.rglob("*") if each.is_file()):
        file, size = path.relative_to(store).as_posix(), path.stat().st_size
        if path.name == "zarr.json":
            borders = {METADATA: range(size)}
        elif file == NAME:
            borders = {MANIFEST: range(size)}
        elif file.split("/")[0] in LAYOUT.targets:
            borders = {CHUNKS: range(size - INDEX_BYTES), INDEX: range(size - INDEX_BYTES, size)}
        else:
            borders = {CHUNKS: range(size)}
        for kind, inside in borders.items():
            found[kind] += [Place(file, 8 * byte + bit) for byte in inside for bit in range(8)]
    return found


@contextmanager
def flipped(store: Path, place: Place) -> Iterator[None]:
    """Inside, that bit is the other one."""
    path = store / place.file
    data = path.read_bytes()
    spoilt = bytearray(data)
    spoilt[place.bit // 8] ^= 1 << place.bit % 8
    path.write_bytes(spoilt)
    try:
        yield
    finally:
        path.write_bytes(data)


def answer(store: Path, place: Place, written: TargetBlock, opened: TargetStore, ask: bool) -> Answer:
    """Flip the bit and ask `verify`, and where `ask` says so readers too. `opened` was opened before."""
    with flipped(store, place):
        named = [problem.file for problem in verify(store)] == [place.file]
        if not ask:
            return Answer(named, None, None)
        fresh = TargetStore(opened.store)
        return Answer(named, _opened_and_read(store, written), _read(fresh, written))


def _opened_and_read(store: Path, written: TargetBlock) -> str:
    try:
        opened = open_targets(store, "again", written.person)
    except UserError:
        return UNOPENED
    return _read(opened, written)


def _read(opened: TargetStore, written: TargetBlock) -> str:
    try:
        block = opened.read(ALL)
    except UserError:
        return UNREAD
    return SAME if equal(block, written) else OTHER


def equal(one: TargetBlock, other: TargetBlock) -> bool:
    """Value for value, in the same types and shapes."""
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


SPOILT: dict[str, Callable[[Path], None]] = {
    "cut in half": cut,
    "one byte short": cut_by_one,
    "empty": emptied,
    "missing": removed,
    "all zeros": zeroed,
    "one byte longer": longer,
}


def repaired(store: Path, file: str, spoil: Callable[[Path], None]) -> bool:
    """Spoil a file. Is it named, is exactly its boundary made anew, and is every byte as it was?"""
    before = tree(store)
    spoil(store / file)
    named = [problem.file for problem in verify(store)] == [file]
    expected = [b for b in range(LAYOUT.boundaries) if file in LAYOUT.shard_files(b)]
    plan = open_for_writing(store, LAYOUT, fingerprint())
    write(store)
    return named and plan.pending == expected and tree(store) == before and not verify(store)


def swapped(store: Path, one: str, other: str) -> bool:
    """Exchange two files of equal form. Are both named, are exactly their boundaries made anew, is every byte as it was?"""
    before = tree(store)
    content = (store / one).read_bytes()
    (store / one).write_bytes((store / other).read_bytes())
    (store / other).write_bytes(content)
    named = sorted(str(problem) for problem in verify(store))
    expected = sorted(f"{this}: swapped: holds the content of {that}" for this, that in ((one, other), (other, one)))
    plan = open_for_writing(store, LAYOUT, fingerprint())
    write(store)
    boundaries = [b for b in range(LAYOUT.boundaries) if {one, other} & set(LAYOUT.shard_files(b))]
    return named == expected and plan.pending == boundaries and tree(store) == before


def main() -> None:
    """Make a store, spoil it in every way, print the tables; exit code 1 where something was not answered."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance.damage", description=__doc__)
    parser.add_argument("--chunk-bits", type=int, default=20_000, help="drawn from those of chunks")
    parser.add_argument("--share", type=float, default=1.0, help="of the bits of the other places")
    parser.add_argument("--every", type=int, default=8, help="readers are asked of every so manieth flip; 1 for all")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        store = Path(folder) / "small.zarr"
        write(store)
        harm = _flip_all(store, asked) + _spoil_all(store)
    sys.exit(1 if harm else 0)


def _flip_all(store: Path, asked: argparse.Namespace) -> int:
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    print(f"a store of {size} bytes in {len(tree(store))} files, seed {asked.seed}\n")
    print(
        "| place | bits | flipped | named by `verify` | asked of readers | refused to open | refused to read | same | other |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    random_ = random.Random(asked.seed)
    opened = open_targets(store, "again")
    written = opened.read(ALL)
    before = tree(store)
    harm = 0
    for kind, every in places(store).items():
        count = min(len(every), asked.chunk_bits) if kind == CHUNKS else round(asked.share * len(every))
        drawn = random_.sample(every, count)
        answers = [answer(store, place, written, opened, ask=n % asked.every == 0) for n, place in enumerate(drawn)]
        said = Counter(each for one in answers for each in (one.after, one.before) if each)
        named = sum(one.named for one in answers)
        harm += sum(one.harmful for one in answers)
        told = " | ".join(str(said[each]) for each in (UNOPENED, UNREAD, SAME, OTHER))
        print(f"| {kind} | {len(every)} | {count} | {named} | {sum(said.values())} | {told} |", flush=True)
        for place, one in zip(drawn, answers, strict=True):
            if one.harmful:
                print(f"NOT ANSWERED: {place}: {one}", file=sys.stderr)
    assert tree(store) == before
    return harm


def _spoil_all(store: Path) -> int:
    print("\n| whole file | files | named, rebuilt alone, as before |\n|---|--:|--:|")
    harm = 0
    files = [file for file in tree(store) if file != NAME]
    for name, spoil in SPOILT.items():
        answered = sum(repaired(store, file, spoil) for file in files)
        harm += len(files) - answered
        print(f"| {name} | {len(files)} | {answered} |", flush=True)
    pairs = [pair for pair in zip(*(LAYOUT.shard_files(b) for b in (0, 1)), strict=True) if _differ(store, *pair)]
    answered = sum(swapped(store, *pair) for pair in pairs)
    harm += len(pairs) - answered
    print(f"| swapped with another boundary's | {2 * len(pairs)} | {2 * answered} |")
    anew = _another_run(store)
    print(f"| the manifest of another run: refused, the store made anew | 1 | {int(anew)} |")
    return harm + (not anew)


def _differ(store: Path, one: str, other: str) -> bool:
    return (store / one).read_bytes() != (store / other).read_bytes()


def _another_run(store: Path) -> bool:
    """Is the manifest of another run refused, and the store made anew?"""
    before = tree(store)
    other = store.with_name("other.zarr")
    write(other, teacher="c" * 64)
    shutil.copy(other / NAME, store / NAME)
    try:
        open_targets(store, "again")
        refused = False
    except UserError as error:
        refused = "its manifest belongs to another run" in str(error)
    named = bool(verify(store))
    return refused and named and write(store).startswith("rebuilt: ") and tree(store) == before


if __name__ == "__main__":
    main()
