"""The marks of suspicious labels are where they should be, in their colours."""

import numpy as np
import pytest

from pipeline.labels.marks import LABEL, SEEN, draw_in_question
from pipeline.skeletons import COCO17

PLAIN = np.zeros((360, 300, 3), np.uint8)
"""The ring's radius is 360 / 36 = 10."""


def drawn(label: tuple[int, int], consensus: tuple[int, int], seen: bool) -> np.ndarray:
    question = (np.array(label, float), np.array(consensus, float))
    return draw_in_question(PLAIN, COCO17, np.zeros((17, 2)), np.zeros(17, bool), [question], seen)


@pytest.mark.parametrize(("seen", "color"), [(False, LABEL), (True, SEEN)])
def test_a_ring_here_and_a_line_to_there(seen: bool, color: tuple[int, int, int]) -> None:
    picture = drawn((60, 80), (200, 80), seen)
    here, there = (200, 60) if seen else (60, 200)
    end = 62 if seen else 198

    def marked(x: int, y: int) -> bool:
        return bool(np.abs(picture[y, x].astype(int) - color).max() < 60)  # drawn smoothly: nearly that colour

    assert marked(here, 90) and marked(130, 80) and marked(end, 80)
    assert not picture[80, here].any() and not picture[90, there].any()
    assert not PLAIN.any()


def test_within_the_ring_there_is_no_line() -> None:
    picture = drawn((60, 80), (66, 80), False)
    assert picture.any() and not picture[76:85, 55:66].any()
