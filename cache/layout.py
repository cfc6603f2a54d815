"""What a target store is made of: its arrays, the people boundaries they are all cut at, and the exact metadata bytes. Writes no data."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import zarr
from numcodecs.zstd import Zstd
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

TARGETS_VERSION = 2
"""Of the stored bytes: whatever changes them for the same input (quantiser, codec, cropping, confidence) raises it."""

FORMAT = "pose-fusion targets"
ZSTD_LEVEL = 6
CHUNK = 16
"""People of one view that are compressed, and read, as one."""

UNITS = {
    "heatmaps": "map over its own peak, 0-255; below 2 % of the peak is 0",
    "x": "SimCC: distribution over bins from left to right, over its own peak, 0-255; below 2 % of the peak is 0",
    "y": "SimCC: the same from top to bottom",
    "peak": "what heatmaps / 255 is multiplied by; SimCC: peak of x times peak of y",
    "score": "confidence, 0-1",
    "image_from_target": "2 x 3 affine, target pixels to image pixels, centre of the first pixel = (0, 0)",
    "person": "id in the people table",
    "done": "true once the data of its boundary is on disk",
}


@dataclass(frozen=True)
class Layout:
    """Sizes of a store. `boundary` people are written, locked and resumed as one; `chunk` of them in one view are read as one.

    Targets are maps of `height` x `width` pixels or, where they are `separate`, so many bins of y and of x.
    """

    people: int
    views: int
    keypoints: int
    height: int
    width: int
    boundary: int = 128
    chunk: int = CHUNK
    separate: bool = False

    @property
    def targets(self) -> dict[str, tuple[int, ...]]:
        """Names of the arrays of levels, and what one target of each is."""
        return {"x": (self.width,), "y": (self.height,)} if self.separate else {"heatmaps": (self.height, self.width)}

    @property
    def files(self) -> list[str]:
        """Every data file of a finished store, relative to it."""
        return [file for boundary in range(self.boundaries) for file in self.shard_files(boundary)]

    @property
    def boundaries(self) -> int:
        return math.ceil(self.people / self.boundary)

    def rows(self, boundary: int) -> slice:
        """The people rows of one boundary."""
        return slice(boundary * self.boundary, min((boundary + 1) * self.boundary, self.people))

    def arrays(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Name to dtype and the shape behind the people axis."""
        return {
            **{name: ("uint8", (self.views, self.keypoints, *tail)) for name, tail in self.targets.items()},
            "peak": ("float16", (self.views, self.keypoints)),
            "score": ("float16", (self.views, self.keypoints)),
            "image_from_target": ("float64", (self.views, 2, 3)),
            "person": ("int64", ()),
            "done": ("bool", ()),
        }

    def shard_files(self, boundary: int) -> list[str]:
        """The files, relative to the store, that hold a boundary."""
        return ["/".join([name, "c", str(boundary), *("0" for _ in tail)]) for name, (_, tail) in self.arrays().items()]


def fingerprint_of(layout: Layout, inputs: dict[str, Any]) -> dict[str, Any]:
    """What makes two stores the same: format, sizes, and the `inputs` they were made from (all JSON values)."""
    return {"format": FORMAT, "targets_version": TARGETS_VERSION, "layout": asdict(layout), **inputs}


def metadata_documents(layout: Layout, fingerprint: dict[str, Any]) -> dict[str, bytes]:
    """Relative path to exact bytes of every `zarr.json`: what a store of this layout and fingerprint must hold."""
    documents: dict[str, Any] = {}
    memory = MemoryStore(documents)
    units = {name: UNITS[name] for name in layout.arrays()}
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.create_group(memory, attributes={"units": units, "fingerprint": fingerprint})
        for name, (dtype, tail) in layout.arrays().items():
            heavy = name in layout.targets
            group.create_array(
                name,
                shape=(layout.people, *tail),
                dtype=dtype,
                chunks=(layout.chunk, 1, *tail[1:]) if heavy else (layout.boundary, *tail),
                shards=(layout.boundary, *tail) if heavy else None,
                compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
                fill_value=0,
            )
    return {key: value.to_bytes() for key, value in documents.items()}


def compressed_bytes(levels: dict[str, np.ndarray]) -> int:
    """Bytes that levels uint8 (P, V, ...) take in a store, to size a disk by."""
    codec = Zstd(level=ZSTD_LEVEL)
    return sum(
        len(codec.encode(np.ascontiguousarray(values[:, view])))
        for values in levels.values()
        for view in range(values.shape[1])
    )


def canonical(value: object) -> bytes:
    """JSON bytes that depend on the value alone, for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
