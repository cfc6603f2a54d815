"""`teacher fetch` and `data fetch`: what the catalogue lists, brought to its place below data/. No other stage uses the network.

Beside a folder of pictures that was unpacked whole lies `FOLDER.fetched`: what from, and how many files. Pictures that somebody
else put there are never touched, and count as whole only where their owner made that file, an empty one, by hand.
"""

import difflib
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from cache.lock import exclusive
from pipeline.archives import look_through, unpack
from pipeline.errors import UserError, one_line
from pipeline.files import sha256, write_atomically
from stages.fetching import catalogue
from stages.fetching.catalogue import Archive, Checkpoint, Dataset, Start
from stages.fetching.download import download, is_right
from stages.progress import progress

DATA = Path("data")
PUBLISHED = DATA / "published"
TEACHERS = DATA / "teachers"

Say = Callable[[str], object]
Entry = TypeVar("Entry", Checkpoint | Start, Dataset)


def listing() -> str:
    """The catalogue's checkpoints, one a line: name, input (height x width), published score; then the starts of students."""
    lines = [f"{'name':18} {'input':8} published score"]
    for checkpoint in catalogue.CHECKPOINTS:
        lines.append(f"{checkpoint.name:18} {_input(checkpoint):8} {_score(checkpoint)}")
    lines += ["", "no teachers, but backbones that students start from (`distill.start` in params.yaml):"]
    for start in catalogue.STARTS:
        lines.append(f"{start.name:18} {'any':8} {start.network}'s; under its own head {_score(start)}")
    return "\n".join(lines)


def teacher(name: str, folder: Path = PUBLISHED, mirror: str | None = None, say: Say = print) -> Path:
    """Bring a published checkpoint into `folder` and say what to do with it; UserError if it cannot be had or is another file.

    `mirror`: an address that takes the place of the maker's host; what comes is checked alike.
    """
    offered: tuple[Checkpoint | Start, ...] = (*catalogue.CHECKPOINTS, *catalogue.STARTS)
    checkpoint = _named(name, offered, "checkpoint")
    address = _address(checkpoint.address, mirror)
    place = folder / checkpoint.file
    _expect_folder(folder)
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
    if isinstance(checkpoint, Start):
        say(f"next: in params.yaml, `distill`: network: {checkpoint.network}, start: {place}")
        return place
    out = TEACHERS / f"{checkpoint.skeleton.rstrip('0123456789')}.onnx"
    say(
        f"next: pipeline teacher import {shlex.quote(str(place))} --arch {checkpoint.arch} "
        f"--skeleton {checkpoint.skeleton} --input {_input(checkpoint)} --out {out}"
    )
    return place


def data(name: str, root: Path = DATA, keep: bool = False, mirror: str | None = None, say: Say = print) -> None:
    """Bring a dataset's pictures and annotations below `root`; what is there already is left as it is.

    Archives come into `<root>/downloads` and, unless `keep`, go again once they are unpacked. UserError for what cannot be had,
    and, before anything is downloaded, for a place that is taken by something else.
    """
    dataset = _named(name, catalogue.DATASETS, "dataset")
    say(f"licence: {dataset.terms}")
    _expect_folder(root / "downloads")
    for archive in dataset.archives:
        _is_unpacked(archive, root / archive.folder)
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
    place = folder.resolve()
    aside = place.with_name(place.name + ".unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    with progress(0, f"look through {file.name}", "B") as bar:
        bar.total, bar.unit_scale = None, True
        sizes = look_through(file, shutil.disk_usage(place.parent).free, bar.update)
    wanted = _pictures(archive, file, sizes) if archive.pictures else _files(archive, file, sizes, folder)
    try:
        with progress(sum(sizes[path] for path in wanted), f"unpack {file.name}", "B") as bar:
            bar.unit_scale = True
            unpack(file, {path: aside / inside for path, inside in wanted.items()}, bar.update)
        if not archive.sha256:
            _parse([aside / inside for inside in wanted.values() if inside.endswith(".json")], file)
        os.sync()
        if archive.pictures:
            # Written first, so that no kill leaves the whole folder without it; alone, it says nothing.
            write_atomically(_marker(folder), _record(archive, len(wanted)))
            aside.rename(place)
        else:
            place.mkdir(exist_ok=True)
            for inside in wanted.values():
                os.replace(aside / inside, place / inside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return len(wanted)


def _parse(files: list[Path], archive: Path) -> None:
    """UserError for a file that is no JSON: a plain tar has no checksum of what is inside, so this is what can be found out."""
    for file in files:
        try:
            json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{archive}: damaged: its {file.name} is no JSON ({one_line(error)}): remove it, then run this again"
            ) from error


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
    """Whether what the archive brings is there; UserError where something else is, in its way."""
    if not archive.pictures:
        _expect_folder(folder)
        places = [folder / name for name in archive.files]
        for place in places:
            if place.exists() and not place.is_file():
                raise UserError(f"{place}: expected a file, found a folder: remove or rename it, then run this again")
        return all(place.is_file() for place in places)
    _expect_folder(folder.parent if folder.is_symlink() else folder)
    found = _count(folder)
    if found is None:
        if folder.is_symlink():
            raise UserError(
                f"{folder}: expected a folder, found a link to no folder or an empty one: remove the link and run this again; "
                f"to keep pictures elsewhere, make {folder.parent} a link"
            )
        return False
    recorded = _recorded(archive, folder)
    if recorded is None or found < recorded:
        files = f"{found:,} file{'' if found == 1 else 's'}"
        whole = f" of the {recorded:,} that {archive.file} brought" if recorded else ""
        raise UserError(
            f"{folder}: found {files}{whole}, not known to be all of {archive.file}: if they are, make an empty file "
            f"{_marker(folder)} to say so; if not, move the folder away; then run this again"
        )
    return True


def _count(folder: Path) -> int | None:
    """Files below a folder; None where there is none or nothing is in it."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    return sum(len(names) for _, _, names in os.walk(folder))


def _marker(folder: Path) -> Path:
    return folder.with_name(folder.name + ".fetched")


def _record(archive: Archive, count: int) -> bytes:
    return (json.dumps({"archive": archive.file, "files": count}) + "\n").encode()


def _recorded(archive: Archive, folder: Path) -> int | None:
    """How many files the marker beside the folder speaks of, 0 where its owner made an empty one, None without one of this archive."""
    marker = _marker(folder)
    if not marker.is_file():
        return None
    content = marker.read_bytes()
    if not content.strip():
        return 0
    try:
        record = json.loads(content)
        return int(record["files"]) if record["archive"] == archive.file else None
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _expect_folder(folder: Path) -> None:
    """UserError where something that is no folder stands at this path or above it."""
    for each in (folder, *folder.parents):
        if each.is_symlink() and not each.exists():
            raise UserError(
                f"{each}: expected a folder, found a link that leads nowhere: mend or remove it, then run this again"
            )
        if each.exists() and not each.is_dir():
            raise UserError(f"{each}: expected a folder, found a file: remove or rename it, then run this again")


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
    try:
        parts = urlsplit(mirror)
        usable = parts.scheme in ("http", "https") and bool(parts.netloc)
    except ValueError:  # brackets that do not match
        usable = False
    if not usable:
        raise UserError(f"--mirror: expected an address like https://example.org/files, found {mirror!r}")
    return mirror.rstrip("/") + urlsplit(address).path


def _input(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.input[0]}x{checkpoint.input[1]}"


def _score(checkpoint: Checkpoint | Start) -> str:
    if isinstance(checkpoint, Start):
        return f"{checkpoint.score} (COCO val2017, annotated boxes)"
    where = "COCO val2017, boxes of a detector" if checkpoint.skeleton == "coco17" else "MPII val"
    return f"{checkpoint.score} ({where}, flip averaging)"
