import pytest

from pipeline.common.errors import UserError
from stages import store_info


@pytest.mark.parametrize(
    ("path", "command"),
    [("data/crops/coco.zarr", "pipeline crops"), ("data/targets/t/coco-train.zarr", "pipeline teach --teacher NAME")],
)
def test_a_store_that_is_not_there_names_its_command(tmp_path, monkeypatch, path, command):
    monkeypatch.chdir(tmp_path)
    for ask in (store_info.info, store_info.verify):
        with pytest.raises(UserError, match=f"run `{command}`"):
            ask(path, print)
