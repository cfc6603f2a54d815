from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets.boxes import read_boxes
from pipeline.datasets.coco import read_coco
from pipeline.datasets.crowdpose import read_crowdpose
from pipeline.datasets.mpii import read_mpii_json
from pipeline.people.table import read_people, write_people
from pipeline.pose.skeletons import CROWDPOSE14


@pytest.fixture(params=["coco", "mpii", "crowdpose", "boxes", "nobody"])
def people(request, coco_document, fourteen_document, mpii_document, write_json):
    if request.param == "mpii":
        return read_mpii_json(write_json(mpii_document))
    if request.param == "crowdpose":
        return read_crowdpose(write_json(fourteen_document(CROWDPOSE14)))
    if request.param == "boxes":
        return read_boxes(write_json(coco_document))
    people = read_coco(write_json(coco_document))
    return people.rows(np.zeros(3, bool)) if request.param == "nobody" else people


def test_round_trip_is_exact(people, tmp_path):
    write_people(people, tmp_path / "new" / "people.parquet")
    again = read_people(tmp_path / "new" / "people.parquet")
    assert again.skeleton == people.skeleton
    for field in fields(people):
        if field.name != "skeleton":
            before, after = getattr(people, field.name), getattr(again, field.name)
            np.testing.assert_array_equal(before, after, err_msg=field.name)
            assert before.dtype.kind == after.dtype.kind and before.shape == after.shape and after.flags.writeable
            assert before.dtype.kind == "U" or before.dtype == after.dtype
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["people.parquet"]  # nothing is left beside


def test_the_sigmas_of_the_makers_come_back_by_the_name(fourteen_document, write_json, tmp_path):
    write_people(read_crowdpose(write_json(fourteen_document(CROWDPOSE14))), tmp_path / "people.parquet")
    assert read_people(tmp_path / "people.parquet").skeleton.sigmas[-1] == 0.079


def test_without_a_skeleton_there_are_no_columns_of_labels(coco_document, write_json, tmp_path):
    write_people(read_boxes(write_json(coco_document)), tmp_path / "people.parquet")
    table = pq.read_table(tmp_path / "people.parquet")
    assert not {"keypoints", "labelled"} & set(table.column_names)
    assert table.schema.metadata == {b"skeleton": b"none", b"keypoints": b"[]"}


def test_equal_people_give_equal_bytes(people, tmp_path):
    write_people(people, tmp_path / "a.parquet")
    write_people(read_people(tmp_path / "a.parquet"), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_columns_read_well_elsewhere(coco_document, write_json, tmp_path):
    path = tmp_path / "people.parquet"
    write_people(read_coco(write_json(coco_document)), path)
    table = pq.read_table(path)
    names = "person image image_id width height box area crowd use keypoints labelled head_box"
    assert table.column_names == names.split()
    assert table.schema.metadata[b"skeleton"] == b"coco17" and b'"left_eye"' in table.schema.metadata[b"keypoints"]
    first = table.slice(0, 1).to_pylist()[0]
    assert first["box"] == [1.5, 2, 30, 40] and first["keypoints"][:4] == [10, 20, 30.5, 40.25]
    assert first["labelled"][:3] == [True, True, False] and (first["width"], first["height"]) == (50, 60)


def test_missing_and_foreign_files_name_the_command(tmp_path):
    def refused(words):
        with pytest.raises(UserError, match=rf"people\.parquet: expected a people table.*{words}.*`pipeline prepare`"):
            read_people(path)

    path = tmp_path / "people.parquet"
    refused("found no file")
    path.write_bytes(b"PAR1 something else")
    refused("no Parquet")
    path.write_bytes(b"")
    refused("no Parquet")
    pq.write_table(pa.table({"a": [1]}), path)
    refused("names its skeleton, found none")
    metadata = {"skeleton": "two", "keypoints": '["nose", "neck"]'}
    pq.write_table(pa.table({"person": [1]}).replace_schema_metadata(metadata), path)
    refused("found person int64")


def test_a_table_with_gaps_is_refused(coco_document, write_json, tmp_path):
    path = tmp_path / "people.parquet"
    write_people(read_coco(write_json(coco_document)), path)
    table = pq.read_table(path)
    holes = pa.array([None] * table.num_rows, table.schema.field("area").type)
    pq.write_table(table.set_column(table.column_names.index("area"), table.schema.field("area"), holes), path)
    with pytest.raises(UserError, match="each filled"):
        read_people(path)


def test_a_text_that_is_no_unicode_is_refused(tmp_path):
    values = pa.array(["a.jpg", "b.jpg"])
    broken = pa.Array.from_buffers(pa.string(), 2, [None, values.buffers()[1], pa.py_buffer(b"a.jp\xffb.jpg")])
    pq.write_table(pa.table({"image": broken}), tmp_path / "people.parquet")
    with pytest.raises(UserError, match="found a file that is no Parquet: run `pipeline prepare`"):
        read_people(tmp_path / "people.parquet")
