"""`data fetch`: the images and annotations of a published dataset, downloaded and unpacked to their folders below data/."""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.common.errors import UserError, one_line
from pipeline.common.files import write_atomically
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from stages.fetch import catalogue
from stages.fetch.archives import list_files, unpack
from stages.fetch.catalogue import Archive
from stages.fetch.download import download, mirrored
from stages.fetch.images import fetch_images
from stages.fetch.places import expect_folder, is_downloaded, is_unpacked, marker_content, marker_of

DATA = Path("data")


def fetch_dataset(
    name: str,
    root: Path = DATA,
    keep: bool = False,
    mirror: str | None = None,
    log: Callable[[str], object] = print,
    images: Path | None = None,
) -> None:
    """Bring a dataset's images and annotations below `root`; files that exist already are not replaced.

    Archives come into `<root>/downloads` and, unless `keep`, are removed once they are unpacked. `mirror`: an address that replaces
    the makers' hosts. With `images`, a list of image names, only these are downloaded instead of archives of images
    (stages.fetch.images). Raises UserError for what cannot be downloaded, and, before any download, for a place that is taken.
    """
    dataset = catalogue.entry_named(name, catalogue.DATASETS, "dataset")
    log(f"licence: {dataset.terms}")
    expect_folder(root / "downloads")
    archives = [archive for archive in dataset.archives if images is None or not archive.image_folder]
    for archive in archives:
        is_unpacked(archive, root / archive.folder)
    if images is not None:
        fetch_images(dataset, images, root, mirror, log)
    for archive in archives:
        _fetch_archive(archive, root, keep, mirror, dataset.page, log)
    missing = [root / file for file in dataset.manual_files if not (root / file).is_file()]
    if missing:
        raise UserError(
            f"{dataset.name}: its makers offer no direct download: get {missing[0].name} through {dataset.page}, "
            f"put it at {missing[0]}; {dataset.hint}"
        )
    for file in dataset.manual_files:
        log(f"{root / file} exists already; {dataset.hint}")
    log(f"next: pipeline prepare --dataset {dataset.name}")


def _fetch_archive(
    archive: Archive, root: Path, keep: bool, mirror: str | None, page: str, log: Callable[[str], object]
) -> None:
    """Download and unpack one archive, unless its content exists."""
    folder, file = root / archive.folder, root / "downloads" / archive.file
    content = str(folder) if archive.image_folder else ", ".join(str(folder / name) for name in archive.files)
    with exclusive(file):
        if is_unpacked(archive, folder):
            log(f"{content}: exists already")
            return
        if is_downloaded(file, archive.sha256):
            log(f"{file} exists already")
        else:
            address = mirrored(archive.address, mirror)
            log(f"{archive.file} from {address} ({page})")
            download(address, file, archive.sha256, archive.size, copies=2, log=log)
        count = _unpack_archive(archive, file, folder)
        log(f"{content}: {count:,} files from {archive.file}")
        if not keep:
            file.unlink()
            log(f"{file}: removed, since it is unpacked (--keep keeps it)")


def _unpack_archive(archive: Archive, file: Path, folder: Path) -> int:
    """Unpack the archive's wanted files into their folder and return their number. A folder of images appears complete or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = folder.resolve()
    aside = place.with_name(place.name + ".unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    with progress(0, f"check {file.name}", "B") as bar:
        bar.total, bar.unit_scale = None, True
        sizes = list_files(file, shutil.disk_usage(place.parent).free, bar.update)
    names = _image_names(archive, file, sizes) if archive.image_folder else _file_names(archive, file, sizes, folder)
    try:
        with progress(sum(sizes[path] for path in names), f"unpack {file.name}", "B") as bar:
            bar.unit_scale = True
            unpack(file, {path: aside / name for path, name in names.items()}, bar.update)
        if not archive.sha256:
            _check_json([aside / name for name in names.values() if name.endswith(".json")], file)
        os.sync()
        if archive.image_folder:
            # Written first, so that no kill leaves the complete folder without it; without the folder it has no effect.
            write_atomically(marker_of(folder), marker_content(archive, len(names)))
            aside.rename(place)
        else:
            place.mkdir(exist_ok=True)
            for name in names.values():
                os.replace(aside / name, place / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return len(names)


def _check_json(files: list[Path], archive: Path) -> None:
    """Raise UserError for a file that is not JSON: a plain tar has no checksum of its content, so damage shows only here."""
    for file in files:
        try:
            json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{archive}: damaged: its {file.name} is not JSON ({one_line(error)}): remove it, then run this again"
            ) from error


def _image_names(archive: Archive, file: Path, paths: Iterable[str]) -> dict[str, str]:
    """Paths below our folder of all files in the archive's image folder, by path inside. Files that systems add are left out."""
    names: dict[str, str] = {}
    for path in paths:
        above, folder, below = f"/{path}".partition(f"/{archive.image_folder}/")
        if folder and not any(part.startswith((".", "__MACOSX")) for part in f"{above}/{below}".split("/")):
            names[path] = below
    if not names:
        raise UserError(f"{file}: expected a folder `{archive.image_folder}` inside, found {_first(paths)}")
    if len(set(names.values())) < len(names):
        raise UserError(
            f"{file}: expected one folder `{archive.image_folder}` inside, found several with the same files"
        )
    return names


def _file_names(archive: Archive, file: Path, paths: Iterable[str], folder: Path) -> dict[str, str]:
    """Names of those of the archive's files that the folder lacks, by path inside."""
    names: dict[str, str] = {}
    for name in archive.files:
        inside = [path for path in paths if path.rsplit("/", 1)[-1] == name]
        if len(inside) != 1:
            raise UserError(f"{file}: expected one {name} inside, found {len(inside)} (inside are {_first(paths)})")
        if not (folder / name).exists():
            names[inside[0]] = name
    return names


def _first(paths: Iterable[str]) -> str:
    """The first three paths, for a message."""
    names = [ascii(path[:60]) for path in paths]
    return ", ".join(names[:3] + ["..."] * (len(names) > 3)) or "nothing"
