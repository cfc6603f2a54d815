"""Labels made worse on purpose, to see what a student learns from fewer or noisier ones. The people and their boxes stay."""

from dataclasses import replace

import numpy as np

from pipeline.people.people import People

NOISE = 0.1
"""Standard deviation of a moved label in x and y, as a share of the longer side of the person's box."""


def without_labels(people: People, share: float, random: np.random.Generator) -> People:
    """The same people, that share of them (0 to 1, at random) without any label; `use` stays as it is."""
    kept = np.ones(len(people), bool)
    kept[random.permutation(len(people))[: round(share * len(people))]] = False
    return replace(people, keypoints=people.keypoints * kept[:, None, None], labelled=people.labelled & kept[:, None])


def with_noise(people: People, share: float, random: np.random.Generator) -> People:
    """The same people, each label moved with that probability by a normal draw of NOISE box sides per axis."""
    moved = (random.random(people.labelled.shape) < share) & people.labelled
    step = random.normal(0.0, NOISE, people.keypoints.shape) * people.box[:, 2:].max(axis=1)[:, None, None]
    return replace(people, keypoints=people.keypoints + step * moved[..., None])
