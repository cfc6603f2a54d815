"""The message where a package is missing that predicting does not need, and so is not installed by itself."""

from pipeline.common.errors import UserError

OWN_PACKAGES = ("cache", "cli", "pipeline", "pose_fusion", "stages")
FETCH_PACKAGES = ("requests", "urllib3")
"""Packages that downloads alone need; their extra is small."""


def missing_package(error: ModuleNotFoundError, what: str) -> UserError:
    """Return the error that names the extra with what is missing for `what`; raise `error` itself where it is a defect of ours."""
    package = (error.name or "").partition(".")[0]
    if not package or package in OWN_PACKAGES:
        raise error
    extra = "fetch" if package in FETCH_PACKAGES else "train"
    return UserError(f"{what} needs {package}, which is not installed: run `pip install 'pose-fusion[{extra}]'`")
