"""The `teachers` of params.yaml: what is no mapping of names is refused in one line."""

import pytest

from pipeline.common.errors import UserError
from stages.project.project import project_of
from tests.fixtures import params


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        ([1], 'params.yaml: teachers: expected names that are text, found 1: write it in quotes, "1"'),
        ("tiny", "params.yaml: teachers: expected names with their settings, found 'tiny'"),
        ({"tiny": {}, 1: {}}, 'params.yaml: teachers: expected names that are text, found 1: write it in quotes, "1"'),
        ({True: {}}, 'params.yaml: teachers: expected names that are text, found True: write it in quotes, "True"'),
        ({"a": {}, "b": {}}, "params.yaml: unknown teacher `other`: expected one of those under `teachers` (a, b)"),
        (None, "params.yaml: unknown teacher `other`: expected one of those under `teachers` (none)"),
    ],
)
def test_what_is_no_mapping_of_names_is_refused(teachers, message):
    with pytest.raises(UserError) as error:
        project_of(params(teachers=teachers)).teacher("other")
    assert str(error.value) == message


def test_names_in_the_order_of_the_file():
    assert project_of(params(teachers={"b": 1, "a": None})).teacher_names == ["b", "a"]
    assert project_of({}).teacher_names == project_of({"teachers": None}).teacher_names == []
