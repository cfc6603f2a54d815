"""Folders that DVC stages write to and that are links out of the git repository: DVC refuses these, but only after a stage has run."""

from pathlib import Path

from pipeline.common.errors import UserError

PARENTS = (
    "data",
    "data/annotations",
    "data/people",
    "data/targets",
    "data/teachers",
    "data/students",
    "data/exported",
    "results",
)
"""Folders that hold the outputs of stages. DVC writes a .gitignore beside each output. An output itself may be a link."""


def refuse_links_out_of_git(folder: Path = Path()) -> None:
    """Raise UserError if one of PARENTS in this folder leads out of its git repository; without a repository all may lead anywhere."""
    here = folder.resolve()
    repository = next((parent for parent in (here, *here.parents) if (parent / ".git").exists()), None)
    for name in PARENTS:
        real = (here / name).resolve()
        if repository and not real.is_relative_to(repository):
            raise UserError(
                f"{name}: expected a folder inside the git repository {repository}, where DVC writes its .gitignore, found a link to "
                f"{real}: make it a folder and link what is large inside it, such as data/coco; `dvc cache dir PATH` moves DVC's copies"
            )
