"""`teacher fetch` and `data fetch`: what the catalogue lists, brought to its place below data/. No other stage uses the network."""

import difflib
import os
import shlex
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from cache.lock import exclusive
from pipeline.archives import look_through, unpack
from pipeline.errors import UserError
from pipeline.files import sha256
from stages import catalogue
from stages.catalogue import Archive, Checkpoint, Dataset
from stages.download import download, is_right
from stages.progress import progress

DATA = Path("data")
PUBLISHED = DATA / "published"
TEACHERS = DATA / "teachers"

Say = Callable[[str], object]
Entry = TypeVar("Entry", Checkpoint, Dataset)


def listing() -> str:
    """The catalogue's checkpoints, one a line: name, input (height x width), published score."""
    lines = [f"{'name':18} {'input':8} published score"]
    for checkpoint in catalogue.CHECKPOINTS:
        lines.append(f"{checkpoint.name:18} {_input(checkpoint):8} {_score(checkpoint)}")
    return "\n".join(lines)


def teacher(name: str, folder: Path = PUBLISHED, mirror: str | None = None, say: Say = print) -> Path:
    """Bring a published checkpoint into `folder` and say what to do with it; UserError if it cannot be had or is another file.

    `mirror`: an address that takes the place of the maker's host; what comes is checked alike.
    """
    checkpoint = _named(name, catalogue.CHECKPOINTS, "checkpoint")
    address = _address(checkpoint.address, mirror)
    place = folder / checkpoint.file
    with exclusive(place):
        if is_right(place, checkpoint.sha256):
            say(f"{place} is there already")
        else:
            say(f"{checkpoint.name} from {address}")
            download(address, place, checkpoint.sha256, say=say)
            say(f"{place}: {place.stat().st_size / 1e6:.1f} MB")
    say(f"sha256: {sha256(place)} (its first eight digits stand in its name)")
    say(f"published score: {_score(checkpoint)}")
    say(f"licence: {checkpoint.terms}")
    if checkpoint.arch:
        out = TEACHERS / f"{checkpoint.skeleton.rstrip('0123456789')}.onnx"
        say(
            f"next: pipeline teacher import {shlex.quote(str(place))} --arch {checkpoint.arch} "
            f"--skeleton {checkpoint.skeleton} --input {_input(checkpoint)} --out {out}"
        )
    return place


def data(name: str, root: Path = DATA, keep: bool = False, mirror: str | None = None, say: Say = print) -> None:
    """Bring a dataset's pictures and annotations below `root`; what is there already is left as it is.

    Archives come into `<root>/downloads` and, unless `keep`, go again once they are unpacked. UserError for what cannot be had.
    """
    dataset = _named(name, catalogue.DATASETS, "dataset")
    say(f"licence: {dataset.terms}")
    for archive in dataset.archives:
        _fetch_archive(archive, root, keep, mirror, dataset.page, say)
    missing = [root / file for file in dataset.by_hand if not (root / file).is_file()]
    if missing:
        raise UserError(
            f"{dataset.name}: nothing to download without asking its makers: get {missing[0].name} through {dataset.page}, "
            f"put it at {missing[0]}; {dataset.hint}"
        )
    for file in dataset.by_hand:
        say(f"{root / file} is there already; {dataset.hint}")
    say(f"next: pipeline prepare --dataset {dataset.name}")


def _fetch_archive(archive: Archive, root: Path, keep: bool, mirror: str | None, page: str, say: Say) -> None:
    """One archive downloaded and unpacked, unless what it brings is there."""
    folder, file = root / archive.folder, root / "downloads" / archive.file
    with exclusive(file):
        if _is_unpacked(archive, folder):
            say(f"{_shown(archive, folder)}: there already")
            return
        if is_right(file, archive.sha256):
            say(f"{file} is there already")
        else:
            address = _address(archive.address, mirror)
            say(f"{archive.file} from {address} ({page})")
            download(address, file, archive.sha256, archive.size, copies=2, say=say)
        count = _unpack(archive, file, folder)
        say(f"{_shown(archive, folder)}: {count:,} files from {archive.file}")
        if not keep:
            file.unlink()
            say(f"{file}: removed, since it is unpacked (--keep keeps it)")


def _unpack(archive: Archive, file: Path, folder: Path) -> int:
    """The archive's wanted files in their folder; returns how many. A folder of pictures appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    with progress(0, f"look through {file.name}", "B") as bar:
        bar.total, bar.unit_scale = None, True
        sizes = look_through(file, shutil.disk_usage(folder.parent).free, bar.update)
    wanted = _pictures(archive, file, sizes) if archive.pictures else _files(archive, file, sizes, folder)
    with progress(sum(sizes[path] for path in wanted), f"unpack {file.name}", "B") as bar:
        bar.unit_scale = True
        unpack(file, {path: aside / inside for path, inside in wanted.items()}, bar.update)
    os.sync()
    if archive.pictures:
        aside.rename(folder)
    else:
        folder.mkdir(exist_ok=True)
        for inside in wanted.values():
            os.replace(aside / inside, folder / inside)
        shutil.rmtree(aside)
    return len(wanted)


def _pictures(archive: Archive, file: Path, paths: Iterable[str]) -> dict[str, str]:
    """Everything below the wanted folder inside: path there to path below our folder. What systems add to archives is left out."""
    wanted: dict[str, str] = {}
    for path in paths:
        above, found, below = f"/{path}".partition(f"/{archive.pictures}/")
        if found and not any(part.startswith((".", "__MACOSX")) for part in f"{above}/{below}".split("/")):
            wanted[path] = below
    if not wanted:
        raise UserError(f"{file}: expected a folder `{archive.pictures}` inside, found {_some(paths)}")
    if len(set(wanted.values())) < len(wanted):
        raise UserError(f"{file}: expected one folder `{archive.pictures}` inside, found several with the same files")
    return wanted


def _files(archive: Archive, file: Path, paths: Iterable[str], folder: Path) -> dict[str, str]:
    """Those of the wanted files that are not in the folder yet: path inside to file name."""
    wanted: dict[str, str] = {}
    for name in archive.files:
        found = [path for path in paths if path.rsplit("/", 1)[-1] == name]
        if len(found) != 1:
            raise UserError(f"{file}: expected one {name} inside, found {len(found)} (inside are {_some(paths)})")
        if not (folder / name).exists():
            wanted[found[0]] = name
    return wanted


def _is_unpacked(archive: Archive, folder: Path) -> bool:
    if archive.pictures:
        return folder.is_dir() and any(folder.iterdir())
    return all((folder / name).is_file() for name in archive.files)


def _shown(archive: Archive, folder: Path) -> str:
    return str(folder) if archive.pictures else ", ".join(str(folder / name) for name in archive.files)


def _some(paths: Iterable[str]) -> str:
    names = list(paths)
    return (
        ", ".join(ascii(name[:60]) for name in names[:3]) + (", ..." if len(names) > 3 else "") if names else "nothing"
    )


def _named(name: str, entries: tuple[Entry, ...], what: str) -> Entry:
    known = {entry.name: entry for entry in entries}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"did you mean `{near[0]}`?" if near else "known are " + ", ".join(known)
        raise UserError(f"unknown {what} `{name}`: {hint}")
    return known[name]


def _address(address: str, mirror: str | None) -> str:
    """The maker's address, or the same path below a mirror."""
    if mirror is None:
        return address
    if urlsplit(mirror).scheme not in ("http", "https") or not urlsplit(mirror).netloc:
        raise UserError(f"--mirror: expected an address like https://example.org/files, found {mirror!r}")
    return mirror.rstrip("/") + urlsplit(address).path


def _input(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.input[0]}x{checkpoint.input[1]}"


def _score(checkpoint: Checkpoint) -> str:
    if not checkpoint.arch:
        return "none: a start for training, of which the backbone is wanted"
    where = "COCO val2017, boxes of a detector" if checkpoint.skeleton == "coco17" else "MPII val"
    return f"{checkpoint.score} ({where}, flip averaging)"
