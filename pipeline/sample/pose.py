"""Poses as joint angles, drawn at random for each style of scene. Knows no lengths and paints nothing."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Style = Literal["everyday", "sport"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Arm:
    """Ranges of an arm's angles in degrees. Zero hangs down; `twist` turns the bent forearm inward."""

    swing: Range
    spread: Range
    twist: Range
    elbow: Range


@dataclass(frozen=True)
class Leg:
    """Ranges of a leg's angles in degrees. Zero stands straight; `swing` goes forward, `twist` turns the foot outward."""

    swing: Range
    spread: Range
    twist: Range
    knee: Range


@dataclass(frozen=True)
class Action:
    """Ranges of the poses of an action. Each arm takes any one of `arms`; the two legs are left or right at random."""

    arms: tuple[Arm, ...]
    legs: tuple[Leg, Leg]
    bend: Range = (-4, 12)
    sway: Range = (-5, 5)
    twist: Range = (-12, 12)
    pitch: Range = (-3, 3)
    """Degrees the whole body falls forward; 180 stands on its hands."""
    lean: Range = (-3, 3)
    """Degrees the whole body falls to one of its sides."""
    lift: Range = (0, 0)
    """Metres between the lowest point and the ground."""
    seat: bool = False


@dataclass(frozen=True)
class Pose:
    """Joint angles in degrees; arms and legs are (2, 4) in the order left, right and of the fields of Arm and Leg."""

    arms: np.ndarray
    legs: np.ndarray
    bend: float
    sway: float
    twist: float
    pitch: float
    lean: float
    nod: float
    tilt: float
    turn: float
    lift: float
    seat: bool


RELAXED = Arm(swing=(-18, 22), spread=(4, 18), twist=(0, 45), elbow=(4, 40))
ON_HIP = Arm(swing=(-28, -8), spread=(32, 48), twist=(55, 80), elbow=(85, 108))
WAVING = Arm(swing=(-10, 25), spread=(80, 140), twist=(-100, -70), elbow=(35, 105))
AT_EAR = Arm(swing=(25, 50), spread=(22, 40), twist=(25, 45), elbow=(125, 142))
FOLDED = Arm(swing=(22, 38), spread=(2, 12), twist=(50, 70), elbow=(88, 112))
CARRYING = Arm(swing=(0, 25), spread=(4, 14), twist=(0, 30), elbow=(70, 100))
REACHING = Arm(swing=(55, 105), spread=(0, 25), twist=(-20, 30), elbow=(0, 45))
RAISED = Arm(swing=(145, 180), spread=(0, 28), twist=(-30, 30), elbow=(0, 60))
SIDEWAYS = Arm(swing=(-12, 12), spread=(65, 115), twist=(-90, 30), elbow=(0, 60))
PUMP_FORWARD = Arm(swing=(25, 65), spread=(4, 20), twist=(10, 40), elbow=(75, 115))
PUMP_BACK = Arm(swing=(-65, -30), spread=(4, 22), twist=(0, 25), elbow=(60, 110))
THROWING = Arm(swing=(-25, 10), spread=(85, 125), twist=(-120, -60), elbow=(60, 120))

STRAIGHT = Leg(swing=(-6, 8), spread=(2, 9), twist=(0, 22), knee=(0, 9))
STEP_FORWARD = Leg(swing=(14, 32), spread=(0, 4), twist=(0, 12), knee=(0, 14))
STEP_BACK = Leg(swing=(-26, -8), spread=(0, 4), twist=(0, 12), knee=(8, 38))
SEATED = Leg(swing=(72, 92), spread=(3, 20), twist=(0, 12), knee=(70, 102))
DRIVING = Leg(swing=(45, 85), spread=(0, 8), twist=(0, 10), knee=(65, 125))
PUSHING = Leg(swing=(-38, -10), spread=(0, 8), twist=(0, 10), knee=(5, 60))
LUNGE_FRONT = Leg(swing=(50, 85), spread=(2, 14), twist=(0, 15), knee=(55, 95))
LUNGE_BACK = Leg(swing=(-35, -8), spread=(2, 14), twist=(0, 20), knee=(5, 55))
KICKING = Leg(swing=(50, 115), spread=(0, 28), twist=(0, 30), knee=(0, 40))
WIDE = Leg(swing=(-5, 25), spread=(22, 46), twist=(15, 50), knee=(0, 45))
SQUATTING = Leg(swing=(65, 112), spread=(10, 34), twist=(15, 45), knee=(75, 130))
TUCKED = Leg(swing=(80, 125), spread=(0, 15), twist=(0, 15), knee=(85, 135))

EVERYDAY = (
    Action(arms=(RELAXED, RELAXED, ON_HIP, CARRYING, AT_EAR, WAVING), legs=(STRAIGHT, STRAIGHT)),
    Action(arms=(RELAXED, CARRYING, RELAXED), legs=(STRAIGHT, STRAIGHT)),
    Action(arms=(FOLDED,), legs=(STRAIGHT, STRAIGHT)),
    Action(arms=(RELAXED, RELAXED, CARRYING, AT_EAR), legs=(STEP_FORWARD, STEP_BACK)),
    Action(arms=(REACHING, RELAXED, RAISED), legs=(STRAIGHT, STEP_FORWARD), bend=(0, 25)),
    Action(arms=(CARRYING, RELAXED, FOLDED, AT_EAR), legs=(SEATED, SEATED), bend=(-5, 20), seat=True),
)

SPORT = (
    Action(arms=(PUMP_FORWARD, PUMP_BACK), legs=(DRIVING, PUSHING), bend=(0, 22), pitch=(5, 25), lift=(0, 0.15)),
    Action(arms=(SIDEWAYS, REACHING, PUMP_BACK), legs=(KICKING, STRAIGHT), bend=(-20, 15), lean=(-18, 18)),
    Action(arms=(THROWING, REACHING, RAISED), legs=(LUNGE_FRONT, LUNGE_BACK), bend=(-20, 30), twist=(-40, 40)),
    Action(arms=(RAISED, REACHING, SIDEWAYS), legs=(SQUATTING, SQUATTING), bend=(15, 50)),
    Action(arms=(RAISED, SIDEWAYS, THROWING), legs=(WIDE, WIDE), bend=(-20, 15), sway=(-20, 20), lift=(0, 0.4)),
    Action(arms=(RAISED, SIDEWAYS), legs=(TUCKED, PUSHING), bend=(-25, 20), lean=(-20, 20), lift=(0.1, 0.5)),
    Action(arms=(RAISED,), legs=(WIDE, PUSHING), pitch=(160, 200), lean=(-15, 15)),
    Action(arms=(RAISED, SIDEWAYS), legs=(WIDE, WIDE), lean=(70, 150)),
    Action(arms=(RAISED, REACHING), legs=(PUSHING, PUSHING), pitch=(55, 100), lift=(0, 0.5)),
    Action(arms=(REACHING, RELAXED, SIDEWAYS), legs=(STRAIGHT, WIDE), bend=(50, 100), pitch=(-5, 15)),
)

ACTIONS: dict[Style, tuple[Action, ...]] = {"everyday": EVERYDAY, "sport": SPORT}


def sample_pose(style: Style, rng: np.random.Generator) -> Pose:
    """Draw a random pose of that style."""
    action = ACTIONS[style][rng.integers(len(ACTIONS[style]))]
    arms = [action.arms[rng.integers(len(action.arms))] for _ in range(2)]
    legs = action.legs if rng.random() < 0.5 else action.legs[::-1]
    reach = 1.0 if style == "everyday" else 1.5
    # A body falls to either side equally often, whatever the range of one side.
    side = rng.choice((-1.0, 1.0))
    return Pose(
        arms=np.array([[rng.uniform(*r) for r in (a.swing, a.spread, a.twist, a.elbow)] for a in arms]),
        legs=np.array([[rng.uniform(*r) for r in (g.swing, g.spread, g.twist, g.knee)] for g in legs]),
        bend=rng.uniform(*action.bend),
        sway=rng.uniform(*action.sway),
        twist=rng.uniform(*action.twist),
        pitch=rng.uniform(*action.pitch),
        lean=side * rng.uniform(*action.lean),
        nod=reach * rng.uniform(-12, 16),
        tilt=reach * rng.uniform(-10, 10),
        turn=reach * rng.normal(0, 18),
        lift=rng.uniform(*action.lift),
        seat=action.seat,
    )
