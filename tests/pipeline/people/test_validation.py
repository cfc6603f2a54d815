"""Messages that name the place. tests/faults tries the readers that use them."""

import pytest

from pipeline.common.errors import UserError
from pipeline.people.validation import read_json, whole_number


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a NaN \\" NaN": 1,\n "b": [1, NaN]}', "NaN in line 2, column 11"),
        ("[-Infinity]", "-Infinity in line 1, column 2"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_constant_that_json_does_not_allow_is_found(tmp_path, text, place, encoding):
    (tmp_path / "a.json").write_bytes(text.encode(encoding))
    with pytest.raises(UserError, match=f"a.json: expected finite numbers, found {place}$"):
        read_json(tmp_path / "a.json")


def test_the_bound_that_is_broken_is_named():
    with pytest.raises(
        UserError, match=r"a: expected `id` to be a whole number from 0 to 4611686018427387904, found 1e\+30"
    ):
        whole_number(1e30, "a", "`id`")
    with pytest.raises(UserError, match="a: expected `id` to be a whole number of at least 0, found -1"):
        whole_number(-1, "a", "`id`")
