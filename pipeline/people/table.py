"""The people table as a Parquet file, one row per person, and Parquet files as such. No dataset's own format is read here."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.common.errors import UserError
from pipeline.common.files import FilePath, write_atomically
from pipeline.people.people import People
from pipeline.pose.own_skeletons import skeleton_details, skeleton_from
from pipeline.pose.skeletons import NO_SKELETON, Skeleton


def people_schema(skeleton: Skeleton) -> pa.Schema:
    """Return the columns, and the metadata: `skeleton` (name), `keypoints` (JSON list of names), and `skeleton_details` where it has any.

    There are no columns of labels without keypoints.
    """
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
    metadata = {"skeleton": skeleton.name, "keypoints": json.dumps(skeleton.keypoints)}
    if details := skeleton_details(skeleton):
        metadata["skeleton_details"] = json.dumps(details)
    return pa.schema(columns, metadata=metadata)


def write_people(people: People, path: FilePath) -> None:
    """Write the table; equal people give equal bytes (same pyarrow version)."""
    columns = people_schema(people.skeleton)
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
    arrays = [arrow_column(values[name], columns.field(name).type) for name in columns.names]
    write_parquet(pa.Table.from_arrays(arrays, schema=columns), path)


def arrow_column(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return values (N, ...) as an Arrow column; axes after the first become a list per row."""
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(values).ravel(), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
    return pa.array(values.tolist() if pa.types.is_string(kind) else np.ascontiguousarray(values), kind)


def write_parquet(table: pa.Table, path: FilePath) -> None:
    """Write a Parquet file in one step: a killed process leaves the old file or the new one."""
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    write_atomically(Path(path), stream.getvalue())


def read_parquet(path: FilePath, what: str) -> pa.Table:
    """Read a Parquet file that `pipeline prepare` wrote; UserError names that command. `what` is the file's kind, with its article."""
    if not Path(path).is_file():
        raise UserError(f"{path}: expected {what}, found no file: run `pipeline prepare`")
    try:
        # pq.read_table would take a folder's name apart (key=value) and add columns from it.
        with pq.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)  # texts that are no Unicode, lists that end before they begin
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: expected {what}, found a file that is no Parquet: run `pipeline prepare`") from error


def refuse_other_schema(table: pa.Table, expected: pa.Schema, path: FilePath, what: str) -> None:
    """Raise UserError if a table that was read as `what` has another schema than expected, or empty values."""
    if not table.schema.equals(expected) or any(column.null_count for column in table.columns):
        wanted, found = (", ".join(f"{field.name} {field.type}" for field in s) for s in (expected, table.schema))
        raise UserError(
            f"{path}: expected {what} with {wanted}, each filled, found {found[:300]}: run `pipeline prepare`"
        )


def read_people(path: FilePath) -> People:
    """Read the table that `write_people` wrote; UserError if the file is missing or of another kind."""
    table = read_parquet(path, "a people table")
    skeleton = skeleton_of(table.schema, path)
    refuse_other_schema(table, people_schema(skeleton), path, "a people table")
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
    """Return a column of N rows as a writable array (N,) or, for lists, (N, length)."""
    whole = values.combine_chunks()
    if pa.types.is_fixed_size_list(values.type):
        return np.array(whole.flatten().to_numpy(zero_copy_only=False)).reshape(n, values.type.list_size)
    return np.array(whole.to_numpy(zero_copy_only=False))


def skeleton_of(schema: pa.Schema, path: FilePath) -> Skeleton:
    """Return the skeleton that the metadata describes; UserError where they describe none."""
    metadata = schema.metadata or {}
    try:
        keypoints = json.loads(metadata[b"keypoints"])
        name = metadata[b"skeleton"].decode()
        details = dict(json.loads(metadata.get(b"skeleton_details", b"{}")))
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: expected a people table that names its skeleton, found none named: run `pipeline prepare`"
        ) from error
    labelled = keypoints or name == NO_SKELETON.name
    if not isinstance(keypoints, list) or not labelled or not all(isinstance(k, str) for k in keypoints):
        raise UserError(f"{path}: expected keypoint names, found {keypoints!r:.60}: run `pipeline prepare`")
    return skeleton_from({**details, "name": name} if details else name, keypoints, f"{path}: skeleton")
