"""Labels withheld or moved on purpose, to measure what a student learns from fewer or noisier ones. People and boxes stay the same."""

from dataclasses import replace

import numpy as np

from pipeline.people.people import People

NOISE_DEVIATION = 0.1
"""Standard deviation of a moved label in x and in y, as a share of the longer side of the person's box."""


def drop_labels(people: People, share: float, random: np.random.Generator) -> People:
    """Withhold all labels of that share (0 to 1) of the people, chosen at random; `use` stays as it is."""
    kept = np.ones(len(people), bool)
    kept[random.permutation(len(people))[: round(share * len(people))]] = False
    return replace(people, keypoints=people.keypoints * kept[:, None, None], labelled=people.labelled & kept[:, None])


def add_label_noise(people: People, probability: float, random: np.random.Generator) -> People:
    """Move each label, with that probability, by a normal draw of NOISE_DEVIATION box sides per axis."""
    moved = (random.random(people.labelled.shape) < probability) & people.labelled
    step = random.normal(0.0, NOISE_DEVIATION, people.keypoints.shape) * people.box[:, 2:].max(axis=1)[:, None, None]
    return replace(people, keypoints=people.keypoints + step * moved[..., None])
