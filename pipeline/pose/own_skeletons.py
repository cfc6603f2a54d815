"""Skeletons that are no built-in ones: checked, and as the part of a file that says of them what their names do not. Reads no file."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pipeline.common.errors import UserError, short_repr
from pipeline.pose.flip import flipped_name, names_like_the_other_side
from pipeline.pose.skeletons import GUESSED_SIGMA, SKELETONS, Skeleton


def checked_skeleton(
    name: str,
    keypoints: Sequence[str],
    where: str,
    sigmas: Sequence[float] = (),
    limbs: Sequence[Sequence[str]] = (),
    mirror: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Skeleton:
    """Return a skeleton of these keypoints; UserError, which begins with `where`, for parts that do not fit together.

    `mirror` names partners, in one direction or in both; a keypoint that it leaves out has the partner of `left_` and `right_`, or
    itself. `aliases` are names in annotation files and the names of their keypoints here.
    """
    names = set(keypoints)

    def fail(key: str, expected: str, found: object) -> NoReturn:
        raise UserError(f"{where}.{key}: expected {expected}, found {found}")

    def known(key: str, keypoint: str) -> None:
        if keypoint not in names:
            fail(key, f"keypoints of {name}", f"{short_repr(keypoint)}, which is none of them")

    if not keypoints:
        fail("keypoints", "at least one", "none")
    twice = [keypoint for i, keypoint in enumerate(keypoints) if keypoint in keypoints[:i]]
    if twice:
        fail("keypoints", "every name once", f"{short_repr(twice[0])} twice")
    if sigmas and len(sigmas) != len(keypoints):
        fail("sigmas", f"{len(keypoints)} numbers, one for each keypoint", len(sigmas))
    if not all(0 < sigma <= 1 for sigma in sigmas):
        fail("sigmas", "numbers above 0, at most 1", f"{next(sigma for sigma in sigmas if not 0 < sigma <= 1):g}")
    for pair in limbs:
        if len(pair) != 2 or pair[0] == pair[1]:
            fail("limbs", "pairs of two different keypoints", short_repr(list(pair)))
        known("limbs", pair[0])
        known("limbs", pair[1])
    partners: dict[str, str] = {}
    for one, other in (mirror or {}).items():
        known("mirror", one)
        known("mirror", other)
        for a, b in ((one, other), (other, one)):
            if partners.setdefault(a, b) != b:
                fail("mirror", f"one partner of `{a}`", f"`{partners[a]}` and `{b}`")
    for keypoint in keypoints:
        partner = partners.get(keypoint) or flipped_name(keypoint)
        if partner not in names:
            fail("mirror", f"a partner of `{keypoint}`, as `{partner}` is no keypoint", "none: name it, or itself")
        if (back := partners.get(partner) or flipped_name(partner)) != keypoint:
            fail("mirror", f"`{keypoint}` to be the partner of `{partner}`, as that is its own", f"`{back}`")
    return Skeleton(
        name,
        tuple(keypoints),
        tuple(map(float, sigmas)),
        tuple((one, other) for one, other in limbs),
        tuple((k, partners[k]) for k in keypoints if k in partners and partners[k] != flipped_name(k)),
        tuple(sorted((aliases or {}).items())),
    )


def refuse_sides_without_partners(keypoints: Sequence[str], mirror: Mapping[str, str], where: str) -> None:
    """Raise UserError where names look like two sides in a spelling that `flipped_name` does not know, and `mirror` has neither.

    Each would be its own partner, and a student would learn left as right from mirrored crops.
    """
    named = {*mirror, *mirror.values()}
    for keypoint in keypoints:
        like = next((other for other in names_like_the_other_side(keypoint) if other in keypoints), None)
        if like is not None and flipped_name(keypoint) == keypoint and not {keypoint, like} & named:
            raise UserError(
                f"{where}.mirror: expected a partner of `{keypoint}`, as `{like}` looks like its other side, found none: write "
                f"`mirror: {{{keypoint}: {like}}}`, or `{keypoint}: {keypoint}` if it has none"
            )


def skeleton_details(skeleton: Skeleton) -> dict[str, Any]:
    """Return what a file must say of a skeleton besides its name and keypoints, as JSON values; {} where these say all."""
    if SKELETONS.get(skeleton.name) == skeleton:
        return {}
    details = {
        "sigmas": list(skeleton.own_sigmas),
        "limbs": [list(pair) for pair in skeleton.own_limbs],
        "mirror": dict(skeleton.own_mirror),
        "aliases": dict(skeleton.aliases),
    }
    return {key: value for key, value in details.items() if value}


def skeleton_from(name: object, keypoints: Sequence[str], where: str) -> Skeleton:
    """Return the skeleton of a name, or of what `named_details` returns, and of keypoints; UserError where they do not fit together.

    A name alone is that of a built-in skeleton if the keypoints are the same, else of a new one that has nothing of its own.
    """
    if not isinstance(name, Mapping):
        plain = Skeleton(str(name), tuple(keypoints))
        known = SKELETONS.get(plain.name, plain)
        return known if known.keypoints == plain.keypoints else plain
    try:
        details = {key: value for key, value in name.items() if key != "name"}
        return checked_skeleton(str(name["name"]), keypoints, where, **details)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{where}: expected a skeleton's name and details, found {short_repr(name)}") from error


def named_details(skeleton: Skeleton) -> str | dict[str, Any]:
    """Return a skeleton's name, with its `skeleton_details` where it has any: what `skeleton_from` reads."""
    details = skeleton_details(skeleton)
    return {"name": skeleton.name, **details} if details else skeleton.name


def guessed_sigmas_note(skeleton: Skeleton) -> str | None:
    """Return the sentence that AP on this skeleton rests on guessed sigmas; None where it does not."""
    guessed = skeleton.guessed_sigmas
    if not guessed:
        return None
    listed = ", ".join(guessed[:3]) + (f" and {len(guessed) - 3} more" if len(guessed) > 3 else "")
    return (
        f"AP rests on a guess: there is no OKS sigma of {listed}, so it is {GUESSED_SIGMA}, the mean of COCO's; "
        f"`sigmas` of skeleton {skeleton.name} in params.yaml give others"
    )
