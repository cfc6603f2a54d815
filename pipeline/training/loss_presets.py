"""Published weights of the loss terms, truth and the two teachers of Khan et al. 2024 (arXiv 2405.20084), by name.

Every preset weights terms that are reduced as pipeline.training.losses does: each is a mean, in nats, over the (person, keypoint)
pairs that the term knows.

`paper`: 0.3 for truth, 0.25 for COCO's teacher and 0.45 for MPII's, constant, as the paper prints them.

`reference-code`: the coefficients that the public code sums, 1.3, 0.5 and 0.9 x (1 - progress). The code adds up what it logs, and
its log holds the weighted sum beside its own parts: truth once plain and once times 0.3, each teacher twice. The factor that falls
with the epoch is applied to the term computed last, MPII's.

`reference-balance`: the same with a weight of 0.19 for truth, which follows from the code's own reductions. There truth is a sum over
the people of a batch and a mean over bins, while the teachers are means over people and sums over bins. At 64 people in a process
and 384 and 512 bins 1.3 becomes 1.3 x 64 x (1 / 384 + 1 / 512) / 2 = 0.19 per keypoint of a fully labelled person, which is 0.12 of
the total at the start.

Not reproduced of the code: the growth of that balance with the batch and with the share of labelled keypoints, and its different
weights of x and y; learning from teachers for keypoints outside the image, whatever their score; a crop stretched to a square for
MPII's teacher; a factor that falls in steps, one per epoch.
"""

from collections.abc import Iterable
from typing import get_args

from pipeline.common.errors import UserError
from pipeline.pose.options import Preset

TERMS = ("truth", "coco", "mpii")
"""The loss terms that a preset weights: the labels and two teachers by name."""


def term_weights(preset: Preset, progress: float) -> dict[str, float]:
    """Return the weight of each of TERMS when the share `progress` (0 to 1) of the training is done."""
    if preset == "paper":
        return {"truth": 0.3, "coco": 0.25, "mpii": 0.45}
    truth = 1.3 if preset == "reference-code" else 0.19
    return {"truth": truth, "coco": 0.5, "mpii": 0.9 * (1 - progress)}


def refuse_other_teachers(preset: str, teachers: Iterable[str], where: str) -> None:
    """UserError for an unknown preset, or for a teacher that the preset has no weight of; `where` names the setting."""
    if preset not in get_args(Preset):
        raise UserError(f"{where}: unknown preset `{preset}`: expected one of {', '.join(get_args(Preset))}")
    others = [teacher for teacher in teachers if teacher not in TERMS[1:]]
    if others:
        raise UserError(
            f"{where}: preset `{preset}` weights the teachers {' and '.join(TERMS[1:])}, found {', '.join(others)}: "
            "rename the teachers, or give every weight in `terms`"
        )
