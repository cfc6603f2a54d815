"""Settings of a tiny student of the tests' small project, which trains in a second."""

from typing import Any

from tests.fixtures import params

STEPS = 6


def student_params(**training: Any) -> dict[str, Any]:
    """Return parameters with the student `both`, of one dataset and one teacher; `training` changes its recipe."""
    return params(
        distill={
            "width": 8,
            "input": [64, 32],
            "terms": {"truth": 0.5, "tiny": 0.5},
            "min_score": 0.0,
            "training": {"steps": STEPS, "batch": 4, "precision": "float32", **training},
        },
        students={"both": {"datasets": ["coco"], "teachers": ["tiny"]}},
    )
