"""Published weightings of truth and the two teachers of Khan et al. 2024 (arXiv 2405.20084), by name."""

from collections.abc import Iterable
from typing import Literal, get_args

from pipeline.errors import UserError

Preset = Literal["paper", "reference-code", "reference-balance"]
"""Every preset weights terms that are reduced as pipeline.losses does: a mean, in nats, over the pairs that the term knows.

`paper`: 0.3, 0.25 for COCO's teacher and 0.45 for MPII's, throughout, as the paper prints them.

`reference-code`: the coefficients that the public code sums, 1.3, 0.5 and 0.9 x (1 - progress). It adds up what it logs, in which
the weighted sum stands beside its own parts: truth once plain and once times 0.3, each teacher twice. The factor that falls with
the epoch is applied to the term computed last, MPII's.

`reference-balance`: the same with truth at 0.19, the weight that the code's own reductions leave it. Its truth is a sum over the
people of a batch and a mean over bins, its teachers are means over people and sums over bins; at 64 people in a process and 384 and
512 bins 1.3 becomes 1.3 x 64 x (1 / 384 + 1 / 512) / 2 = 0.19 per keypoint of a fully labelled person, 0.12 of the whole at the start.

Not reproduced of the code: that balance's growth with the batch, with the share of keypoints labelled, and its unlike weights of x
and y; teachers that are learned from for keypoints outside the picture, whatever their score; a crop stretched to a square for
MPII's teacher; steps of the falling factor, one an epoch.
"""

ROLES = ("truth", "coco", "mpii")


def term_weights(preset: Preset, progress: float) -> dict[str, float]:
    """Weights of truth and of the teachers `coco` and `mpii` when so much of the training, 0 to 1, is done."""
    if preset == "paper":
        return {"truth": 0.3, "coco": 0.25, "mpii": 0.45}
    truth = 1.3 if preset == "reference-code" else 0.19
    return {"truth": truth, "coco": 0.5, "mpii": 0.9 * (1 - progress)}


def refuse_other_teachers(preset: str, teachers: Iterable[str], where: str) -> None:
    """UserError for a preset that does not exist, or whose roles the teachers' names are not; `where` names the setting."""
    if preset not in get_args(Preset):
        raise UserError(f"{where}: unknown preset `{preset}`: expected one of {', '.join(get_args(Preset))}")
    others = [teacher for teacher in teachers if teacher not in ROLES[1:]]
    if others:
        raise UserError(
            f"{where}: preset `{preset}` weights the teachers {' and '.join(ROLES[1:])}, found {', '.join(others)}: "
            "rename the teachers, or give every weight in `terms`"
        )
