"""The output folder of `predict`: what an earlier run wrote may be replaced, other files may not; and the COCO document."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.common.errors import UserError
from pipeline.datasets.coco_document import person_category
from pipeline.media.inputs import MediaFile
from pipeline.media.videos import VideoHeader
from pipeline.people.validation import read_json
from pipeline.pose.skeletons import Skeleton

PREDICTIONS_FILE = "predictions.json"
MADE_BY = "pipeline predict"


@dataclass(frozen=True)
class DocumentEntries:
    """Entries of the COCO document so far."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)


def predictions_document(
    info: Mapping[str, Any],
    entries: DocumentEntries,
    skeleton: Skeleton,
    inputs: Sequence[MediaFile],
    headers: Mapping[Path, VideoHeader],
    drawn: set[PurePosixPath],
) -> dict[str, Any]:
    """Return the COCO document. `headers` are those of the videos by path, `drawn` the names of the files that were drawn."""
    videos = [media for media in inputs if media.is_video]
    return {
        "info": {"description": MADE_BY, **info},
        "videos": [
            {"id": number, "name": str(video.name), "fps": headers[video.path].rate}
            | ({"drawn": str(video.drawn_name)} if video.drawn_name in drawn else {})
            for number, video in enumerate(videos, start=1)
        ],
        "images": entries.images,
        "annotations": entries.annotations,
        "categories": [person_category(skeleton)],
    }


def refuse_foreign_files(folder: Path, out: Path) -> None:
    """Raise UserError unless the folder is missing, empty, or holds only what an earlier run wrote: it is going to be replaced.

    `out` is the folder as the user named it.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{out}: expected a folder to write to, found a file: choose another with `--out`")
    written = _written_earlier(folder / PREDICTIONS_FILE)
    for current, _, names in os.walk(folder):
        for name in sorted(names):
            file = Path(current, name).relative_to(folder).as_posix()
            if file not in written:
                raise UserError(
                    f"{out}: would be replaced, and holds {file}, which `{MADE_BY}` has not written: "
                    "choose another folder with `--out`, or move that away"
                )


def _written_earlier(predictions: Path) -> set[str]:
    """Return the files that an earlier run lists as written, including its document; none for another kind of file."""
    try:
        earlier = read_json(predictions)
        if earlier["info"]["description"] != MADE_BY:
            return set()
        return {
            PREDICTIONS_FILE,
            *(entry["drawn"] for entry in (*earlier["images"], *earlier["videos"]) if "drawn" in entry),
        }
    except (UserError, LookupError, TypeError):
        return set()
