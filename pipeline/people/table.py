"""The people table as a Parquet file, one row per person. No dataset's own format is read here."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.people.people import People
from pipeline.skeletons import NO_SKELETON, SKELETONS, Skeleton


def schema(skeleton: Skeleton) -> pa.Schema:
    """Columns and the metadata `skeleton` (name) and `keypoints` (JSON list of names); no columns of keypoints without any."""
    k = len(skeleton)
    labels = [("keypoints", pa.list_(pa.float64(), 2 * k)), ("labelled", pa.list_(pa.bool_(), k))] if k else []
    columns = [
        ("person", pa.int64()),
        ("image", pa.string()),
        ("image_id", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("box", pa.list_(pa.float64(), 4)),
        ("area", pa.float64()),
        ("crowd", pa.bool_()),
        ("use", pa.bool_()),
        *labels,
        ("head_box", pa.list_(pa.float64(), 4)),
    ]
    return pa.schema(columns, metadata={"skeleton": skeleton.name, "keypoints": json.dumps(skeleton.keypoints)})


def write_people(people: People, path: str | os.PathLike[str]) -> None:
    """Write the table beside its place and rename it; equal people give equal bytes (same pyarrow version)."""
    columns = schema(people.skeleton)
    values: dict[str, np.ndarray] = {
        "person": people.person,
        "image": people.image,
        "image_id": people.image_id,
        "width": people.image_wh[:, 0],
        "height": people.image_wh[:, 1],
        "box": people.box,
        "area": people.area,
        "crowd": people.crowd,
        "use": people.use,
        "keypoints": people.keypoints,
        "labelled": people.labelled,
        "head_box": people.head_box,
    }
    arrays = [column(values[name], columns.field(name).type) for name in columns.names]
    write_parquet(pa.Table.from_arrays(arrays, schema=columns), path)


def column(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """One Arrow column; further axes of `values` become the row's list."""
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(values).ravel(), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
    return pa.array(values.tolist() if pa.types.is_string(kind) else np.ascontiguousarray(values), kind)


def write_parquet(table: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write beside the place, then rename: a killed process leaves the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, beside, compression="zstd")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_parquet(path: str | os.PathLike[str], what: str) -> pa.Table:
    """A Parquet file that `pipeline prepare` wrote; UserError names that command."""
    if not Path(path).is_file():
        raise UserError(f"{path}: expected {what}, found no file: run `pipeline prepare`")
    try:
        # pq.read_table would take a folder's name apart (key=value) and add columns from it.
        with pq.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)  # texts that are none, lists that end before they begin
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: expected {what}, found a file that is no Parquet: run `pipeline prepare`") from error


def read_people(path: str | os.PathLike[str]) -> People:
    """The table that `write_people` wrote, exactly; UserError where the file is missing or another kind of file."""
    table = read_parquet(path, "a people table")
    skeleton = skeleton_of(table.schema, path)
    expected = schema(skeleton)
    if not table.schema.equals(expected) or any(column.null_count for column in table.columns):
        names = ", ".join(f"{f.name} {f.type}" for f in table.schema)
        wanted = ", ".join(f"{f.name} {f.type}" for f in expected)
        raise UserError(
            f"{path}: expected a people table with {wanted}, each filled, found {names[:300]}: run `pipeline prepare`"
        )
    n, k = table.num_rows, len(skeleton)
    values = {name: numpy_column(table.column(name), n) for name in table.column_names}
    return People(
        skeleton=skeleton,
        person=values["person"],
        image=np.array(table.column("image").to_pylist(), dtype=np.str_),
        image_id=values["image_id"],
        image_wh=np.stack([values["width"], values["height"]], axis=1),
        box=values["box"],
        area=values["area"],
        crowd=values["crowd"],
        use=values["use"],
        keypoints=values["keypoints"].reshape(n, k, 2) if k else np.zeros((n, 0, 2)),
        labelled=values["labelled"] if k else np.zeros((n, 0), bool),
        head_box=values["head_box"],
    )


def numpy_column(values: pa.ChunkedArray, n: int) -> np.ndarray:
    """An own, writable array (N,) or, for lists, (N, length)."""
    whole = values.combine_chunks()
    if pa.types.is_fixed_size_list(values.type):
        return np.array(whole.flatten().to_numpy(zero_copy_only=False)).reshape(n, values.type.list_size)
    return np.array(whole.to_numpy(zero_copy_only=False))


def skeleton_of(found: pa.Schema, path: str | os.PathLike[str]) -> Skeleton:
    """The skeleton that the metadata names: a known one with all that belongs to it, where that has the same keypoints."""
    metadata = found.metadata or {}
    try:
        keypoints = json.loads(metadata[b"keypoints"])
        name = metadata[b"skeleton"].decode()
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path}: expected a people table that names its skeleton, found none named: run `pipeline prepare`"
        ) from error
    labelled = keypoints or name == NO_SKELETON.name
    if not isinstance(keypoints, list) or not labelled or not all(isinstance(k, str) for k in keypoints):
        raise UserError(f"{path}: expected keypoint names, found {keypoints!r:.60}: run `pipeline prepare`")
    named = Skeleton(name, tuple(keypoints))
    known = SKELETONS.get(name, named)
    return known if known.keypoints == named.keypoints else named
