"""`detector fetch`: a published person detector, downloaded and unpacked to data/detectors, where `predict` finds it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.common.errors import UserError
from pipeline.common.files import flush, sha256
from pipeline.common.locks import exclusive
from pipeline.detection import published
from pipeline.detection.published import ONNX_FILE, PublishedDetector
from stages.fetch.archives import list_files, unpack
from stages.fetch.catalogue import entry_named
from stages.fetch.download import download, mirrored
from stages.fetch.places import DETECTORS, expect_folder, is_downloaded


def list_detectors() -> str:
    """Return a line for each detector: name, input (height x width), what it was trained on."""
    lines = [f"{'name':12} {'input':8} trained on"]
    for detector in published.DETECTORS:
        lines.append(f"{detector.name:12} {detector.input[0]}x{detector.input[1]:<4} {detector.training}")
    return "\n".join(lines)


def fetch_detector(
    name: str, folder: Path = DETECTORS, mirror: str | None = None, log: Callable[[str], object] = print
) -> Path:
    """Bring a published detector into `folder`, print how to use it, and return its path.

    `mirror`: an address that replaces the maker's host; what comes is checked alike. UserError if the archive cannot be downloaded, or
    is damaged or another one.
    """
    detector = entry_named(name, published.DETECTORS, "detector")
    address = mirrored(detector.address, mirror)
    place = folder / detector.file
    expect_folder(folder)
    with exclusive(place):
        if is_downloaded(place, detector.sha256):
            log(f"{place} exists already")
        else:
            archive = folder / detector.archive
            if not is_downloaded(archive, ""):
                log(f"{detector.name} from {address}")
                download(address, archive, copies=2, log=log)
            _unpack(detector, archive, place)
            archive.unlink()
            log(f"{place}: {place.stat().st_size / 1e6:.1f} MB")
    log(f"sha256: {sha256(place)} ({'as recorded' if detector.sha256 else 'none is published to compare it with'})")
    log(f"licence: {detector.terms}")
    log("next: pipeline predict IMAGES --student STUDENT.onnx, which uses it")
    return place


def _unpack(detector: PublishedDetector, archive: Path, place: Path) -> None:
    """Write the detector of an archive to its place, complete or not at all."""
    inside = [path for path in list_files(archive, shutil.disk_usage(archive.parent).free) if path.endswith(ONNX_FILE)]
    if len(inside) != 1:
        raise UserError(
            f"{archive}: expected one {ONNX_FILE} inside, found {len(inside)}: remove it, then run this again"
        )
    aside = place.with_name(place.name + ".unpacking")
    aside.unlink(missing_ok=True)
    try:
        unpack(archive, {inside[0]: aside})
        digest = sha256(aside)
        if not digest.startswith(detector.sha256):
            raise UserError(
                f"{archive}: not the published file: expected an {ONNX_FILE} with a sha256 of {detector.sha256}, found {digest}: "
                "remove it, then run this again"
            )
        flush(aside)
        os.replace(aside, place)
    finally:
        aside.unlink(missing_ok=True)
