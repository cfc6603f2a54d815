"""The `teachers` of params.yaml: what is no mapping of names is refused in one line."""

import pytest

from pipeline.errors import UserError
from stages.teachers import listed_teachers, teacher_settings
from tests.fixtures import params


@pytest.mark.parametrize(
    ("teachers", "told"),
    [
        ([1], "params.yaml: teachers: expected a mapping, found [1]"),
        ("tiny", "params.yaml: teachers: expected a mapping, found 'tiny'"),
        ({"tiny": {}, 1: {}}, "params.yaml: teachers: expected texts as names, found 1: put it in quotes"),
        ({True: {}}, "params.yaml: teachers: expected texts as names, found True: put it in quotes"),
        ({"a": {}, "b": {}}, "params.yaml: unknown teacher `other`: expected one of those under `teachers` (a, b)"),
        (None, "params.yaml: unknown teacher `other`: expected one of those under `teachers` (none)"),
    ],
)
def test_what_is_no_mapping_of_names_is_said(teachers, told):
    with pytest.raises(UserError) as error:
        teacher_settings(params(teachers=teachers), "other")
    assert str(error.value) == told


def test_names_in_the_order_of_the_file():
    assert list(listed_teachers(params(teachers={"b": 1, "a": None}))) == ["b", "a"]
    assert listed_teachers({}) == listed_teachers({"teachers": None}) == {}
