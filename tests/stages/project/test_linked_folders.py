import re

import pytest

from pipeline.common.errors import UserError
from stages.doctor.inventory import inventory
from stages.project.linked_folders import refuse_links_out_of_git
from stages.project.project import project_of


@pytest.mark.parametrize("name", ["data", "data/people", "results"])
def test_links_out_of_git_are_refused_before_a_stage_runs(tmp_path, monkeypatch, name):
    """DVC itself says `outside of git repository`, after the stage has run."""
    project, big = tmp_path / "project", tmp_path / "big"
    (project / ".git").mkdir(parents=True)
    big.mkdir()
    monkeypatch.chdir(project)
    refuse_links_out_of_git()
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).symlink_to(big)
    message = (
        f"{name}: expected a folder inside the git repository {project}, .* found a link to {big}: make it a folder"
    )
    with pytest.raises(UserError, match=message):
        refuse_links_out_of_git()
    entry = inventory(project_of({}))[0]
    assert not entry.complete and re.match(message, entry.state)
    (project / ".git").rmdir()
    refuse_links_out_of_git()


def test_what_is_large_may_be_a_link(tmp_path, monkeypatch):
    (tmp_path / "project/data").mkdir(parents=True)
    (tmp_path / "project/.git").mkdir()
    (tmp_path / "project/data/coco").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "project")
    refuse_links_out_of_git()
