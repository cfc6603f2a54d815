"""The poses that `evaluate` predicted on a test part, as a Parquet file, so that figures and curves need no network."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.common.errors import UserError
from pipeline.people.poses import Poses
from pipeline.people.table import write_parquet
from pipeline.pose.own_skeletons import named_details, skeleton_from
from pipeline.pose.skeletons import Skeleton

POSES_FOLDER = Path("data/poses")
RUN_EVALUATE = "run `pipeline evaluate`"
"""End of an error message about a missing or outdated result."""
POSES_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("person", pa.int64()),
        ("image_id", pa.int64()),
        ("score", pa.float64()),
        ("keypoints", pa.list_(pa.float32())),
        ("confidence", pa.list_(pa.float32())),
    ]
)
"""A row per model and person. `keypoints` are x, y, x, y, ... in image pixels, in the order that the metadata `skeletons` states."""


def poses_path(dataset: str) -> Path:
    """Return the path of the poses on a dataset's test part."""
    return POSES_FOLDER / f"{dataset}.parquet"


def write_poses(path: Path, predicted: Mapping[str, Poses]) -> None:
    """Write the poses of all models on one test part. Equal poses give equal bytes with the same version of pyarrow."""
    skeletons = {
        model: [named_details(poses.skeleton), *poses.skeleton.keypoints] for model, poses in predicted.items()
    }
    tables = [
        pa.table(
            {
                "model": [model] * len(poses),
                "person": poses.person,
                "image_id": poses.image_id,
                "score": poses.score,
                "keypoints": list(poses.keypoints.reshape(len(poses), 2 * len(poses.skeleton)).astype(np.float32)),
                "confidence": list(poses.confidence.astype(np.float32)),
            },
            schema=POSES_SCHEMA,
        )
        for model, poses in predicted.items()
    ]
    table = pa.concat_tables(tables) if tables else POSES_SCHEMA.empty_table()
    write_parquet(table.replace_schema_metadata({"skeletons": json.dumps(skeletons)}), path)


def read_poses(path: Path) -> dict[str, Poses]:
    """Read the poses by model, in the order of writing; UserError where the file is missing or of another kind."""
    if not path.is_file():
        raise UserError(f"{path}: expected poses, found no file: {RUN_EVALUATE}")
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        skeletons = json.loads(table.schema.metadata[b"skeletons"])
        if not table.schema.equals(POSES_SCHEMA):
            raise ValueError("other columns")
        return {
            str(model): _of_model(table.filter(pc.equal(table["model"], model)), skeleton_from(name, names, str(path)))
            for model, (name, *names) in skeletons.items()
        }
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected poses that `evaluate` wrote, found another kind of file: {RUN_EVALUATE}"
        ) from error


def _of_model(table: pa.Table, skeleton: Skeleton) -> Poses:
    def values(name: str, tail: tuple[int, ...] = ()) -> np.ndarray:
        column = table.column(name).combine_chunks()
        flat = column.flatten() if tail else column
        return np.array(flat.to_numpy(zero_copy_only=False)).reshape(table.num_rows, *tail)

    k = len(skeleton)
    return Poses(
        skeleton=skeleton,
        image_id=values("image_id"),
        keypoints=values("keypoints", (k, 2)).astype(np.float64),
        confidence=values("confidence", (k,)).astype(np.float64),
        score=values("score"),
        person=values("person"),
    )
