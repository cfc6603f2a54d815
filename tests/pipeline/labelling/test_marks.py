"""The marks of suspicious labels are where they should be, in their colours."""

import numpy as np
import pytest

from pipeline.labelling.marks import CONSENSUS_COLOR, LABEL_COLOR, draw_suspicions
from pipeline.pose.skeletons import COCO17

PLAIN = np.zeros((360, 300, 3), np.uint8)
"""The ring's radius is 360 / 36 = 10."""


def drawn(label: tuple[int, int], consensus: tuple[int, int], ring_consensus: bool) -> np.ndarray:
    question = (np.array(label, float), np.array(consensus, float))
    return draw_suspicions(PLAIN, COCO17, np.zeros((17, 2)), np.zeros(17, bool), [question], ring_consensus)


@pytest.mark.parametrize(("ring_consensus", "color"), [(False, LABEL_COLOR), (True, CONSENSUS_COLOR)])
def test_a_ring_here_and_a_line_to_there(ring_consensus: bool, color: tuple[int, int, int]) -> None:
    image = drawn((60, 80), (200, 80), ring_consensus)
    here, there = (200, 60) if ring_consensus else (60, 200)
    end = 62 if ring_consensus else 198

    def marked(x: int, y: int) -> bool:
        return bool(np.abs(image[y, x].astype(int) - color).max() < 60)  # drawn smoothly: nearly that colour

    assert marked(here, 90) and marked(130, 80) and marked(end, 80)
    assert not image[80, here].any() and not image[90, there].any()
    assert not PLAIN.any()


def test_within_the_ring_there_is_no_line() -> None:
    image = drawn((60, 80), (66, 80), False)
    assert image.any() and not image[76:85, 55:66].any()
