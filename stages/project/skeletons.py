"""The section `skeletons` of params.yaml: skeletons of one's own, beside the built-in ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

from pipeline.common.errors import UserError, printable, short_repr
from pipeline.pose.own_skeletons import checked_skeleton, refuse_sides_without_partners
from pipeline.pose.skeletons import NO_SKELETON, SKELETONS, Skeleton, plain_keypoint_name
from stages.project.parsing import parse

KEYPOINT_PATTERN = re.compile(r"\w[\w.]*")
"""A keypoint's name as `plain_keypoint_name` returns it."""
RESERVED_NAMES = (*SKELETONS, NO_SKELETON.name, "unified")


@dataclass(frozen=True)
class SkeletonSettings:
    """A skeleton of one's own. Names are read in any spelling: `Left Ankle`, `LAnkle` and `l_ankle` are `left_ankle`."""

    keypoints: list[str]
    """Names in the order in which annotations and teachers have them."""
    sigmas: list[float] = field(default_factory=list)
    """OKS sigmas, one per keypoint. Without them those of COCO and MMPose apply by body part, and 0.067 for any other part."""
    limbs: list[list[str]] = field(default_factory=list)
    """Pairs of keypoints to join in drawings; by default the built-in limbs whose two ends it has."""
    mirror: dict[str, str] = field(default_factory=dict)
    """Keypoints and their partners on the other side; by default `left_` and `right_` change places."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Keypoints and the names that other skeletons have for the same points, which they take in the unified skeleton."""


def all_skeletons(entries: Mapping[str, object]) -> dict[str, Skeleton]:
    """Return the built-in skeletons and those of the section, by name; UserError for one that is wrong or contradicts another."""
    settings = {name: parse(entry, f"skeletons.{name}", SkeletonSettings) for name, entry in entries.items()}
    for name in settings:
        if name in RESERVED_NAMES:
            raise UserError(
                f"{_where(name)}: expected another name than {', '.join(RESERVED_NAMES)}, found one of them: rename it"
            )
    own = {name: _skeleton(name, entry) for name, entry in settings.items()}
    skeletons = SKELETONS | own
    for name, entry in settings.items():
        elsewhere = {k for other, skeleton in skeletons.items() if other != name for k in skeleton.keypoints}
        for keypoint, target in _plain(name, "aliases", entry.aliases).items():
            if target not in elsewhere:
                raise UserError(
                    f"{_where(name)}.aliases.{keypoint}: expected a keypoint of another skeleton, found {short_repr(target)}, "
                    "which none has: correct it, or leave it out"
                )
    _refuse_other_partners(skeletons)
    return skeletons


def _skeleton(name: str, settings: SkeletonSettings) -> Skeleton:
    where = _where(name)
    keypoints = [_keypoint(name, "keypoints", keypoint) for keypoint in settings.keypoints]
    aliases = _plain(name, "aliases", settings.aliases)
    for keypoint in aliases:
        if keypoint not in keypoints:
            raise UserError(
                f"{where}.aliases: expected keypoints of {name}, found {short_repr(keypoint)}, which is none of them"
            )

    def named(keypoint: str) -> str:
        return aliases.get(keypoint, keypoint)

    def renamed(key: str, names: list[str]) -> list[str]:
        plain = [_keypoint(name, key, keypoint) for keypoint in names]
        if unknown := [keypoint for keypoint in plain if keypoint not in keypoints]:
            raise UserError(
                f"{where}.{key}: expected keypoints of {name}, found {short_repr(unknown[0])}, which is none of them"
            )
        return list(map(named, plain))

    plain = _plain(name, "mirror", settings.mirror)
    mirror = dict(zip(renamed("mirror", list(plain)), renamed("mirror", list(plain.values())), strict=True))
    names = list(map(named, keypoints))
    refuse_sides_without_partners(names, mirror, where)
    limbs = [renamed("limbs", pair) for pair in settings.limbs]
    return checked_skeleton(name, names, where, settings.sigmas, limbs, mirror, aliases)


def _refuse_other_partners(skeletons: Mapping[str, Skeleton]) -> None:
    """Raise UserError where two skeletons have a keypoint in common whose mirror partners differ."""
    for one, other in combinations(skeletons.values(), 2):
        for keypoint in one.keypoints:
            if keypoint in other.keypoints and one.flipped(keypoint) != other.flipped(keypoint):
                raise UserError(
                    f"{_where(other.name)}.mirror: expected `{one.flipped(keypoint)}` as the partner of `{keypoint}`, as in "
                    f"{one.name}, found `{other.flipped(keypoint)}`: rename the keypoint, or correct the partner"
                )


def _plain(name: str, key: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return names and what they stand for as plain names; UserError for a name that stands twice in two spellings."""
    plain = {_keypoint(name, key, one): _keypoint(name, key, other) for one, other in values.items()}
    if len(plain) < len(values):
        raise UserError(f"{_where(name)}.{key}: expected every keypoint once, found one in two spellings")
    return plain


def _keypoint(name: str, key: str, keypoint: str) -> str:
    plain = plain_keypoint_name(keypoint)
    if not KEYPOINT_PATTERN.fullmatch(plain):
        raise UserError(
            f"{_where(name)}.{key}: expected names of letters, digits and _, found {short_repr(keypoint)}: rename it"
        )
    return plain


def _where(name: str) -> str:
    return f"params.yaml: skeletons.{printable(name)}"
