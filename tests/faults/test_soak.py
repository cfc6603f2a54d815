"""The measures of `python -m endurance.soak`: what grows is told from what does not."""

import pytest

from endurance.soak import Sample, is_flat, slope


def test_slope_is_the_growth_per_round():
    assert slope([3.0, 5.0, 7.0]) == pytest.approx(2)
    assert slope([4.0, 4.0, 4.0, 4.0]) == pytest.approx(0, abs=1e-12)
    assert slope([4.0]) == 0


@pytest.mark.parametrize(
    ("memory", "files", "threads", "flat"),
    [
        (lambda n: 500.0 + n % 2, lambda n: 9, lambda n: 3, True),
        (lambda n: 500.0 + 50 * (n < 5), lambda n: 9, lambda n: 3, True),
        (lambda n: 500.0 + n, lambda n: 9, lambda n: 3, False),
        (lambda n: 500.0, lambda n: 9 + n // 4, lambda n: 3, False),
        (lambda n: 500.0, lambda n: 9, lambda n: 3 + n, False),
    ],
    ids=["nothing", "warm rounds", "memory", "files", "threads"],
)
def test_what_grows_is_told(memory, files, threads, flat):
    """Over twenty rounds, of which the first five are warm: 14 MB on 505 are more than 2 %."""
    said: list[str] = []
    assert is_flat([Sample(n / 10, memory(n), files(n), threads(n)) for n in range(20)], said.append) is flat
    assert said[0] == "20 rounds in 1.9 minutes, of which the last 15 are measured"
