from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.common.errors import UserError
from pipeline.people.views import draw_view, draw_views, read_views, view_kinds, write_views
from pipeline.pose.skeletons import MPII16
from tests.pipeline.examples import people

ARRAYS = ("center", "size", "rotation")


def test_kinds():
    assert view_kinds(1) == ("plain",)
    assert view_kinds(4) == ("plain", "strong", "strong", "weak")
    assert view_kinds(9) == ("plain", "strong", "strong", "weak", "strong", "strong", "strong", "weak", "strong")


def test_the_first_view_is_the_box():
    everyone = people(5)
    views = draw_views(everyone, 3, seed=0)
    assert np.array_equal(views.center[:, 0], everyone.box[:, :2] + everyone.box[:, 2:] / 2)
    assert np.array_equal(views.size[:, 0], everyone.box[:, 2:])
    assert not views.rotation[:, 0].any()


def test_views_depend_on_seed_person_and_view_alone():
    everyone = people(12)
    views = draw_views(everyone, 4, seed=3)
    rows = np.array([7, 2, 11])
    some = draw_views(everyone.rows(rows), 6, seed=3)
    for name in ARRAYS:
        assert np.array_equal(getattr(some, name)[:, :4], getattr(views, name)[rows])
        assert not np.array_equal(getattr(draw_views(everyone, 4, seed=4), name)[:, 1:], getattr(views, name)[:, 1:])
    assert some.person.tolist() == everyone.person[rows].tolist()


def test_views_stay_what_they_were():
    """Drawn one by one before they were moved together: stores of other views would be written again."""
    views = draw_views(people(40), 4, seed=0)
    center = [[133.276118, 70.390688], [146.803565, 77.628266], [127.83764, 70.366493], [133.276118, 70.390688]]
    size = [[75.463731, 59.845362], [59.784592, 58.71164], [56.492912, 64.174454], [77.143737, 61.177665]]
    np.testing.assert_allclose(views.center[0], center, rtol=0, atol=1e-6)
    np.testing.assert_allclose(views.size[0], size, rtol=0, atol=1e-6)
    np.testing.assert_allclose(views.rotation[0], [0, 0, 0, -36.426619], rtol=0, atol=1e-6)


def without_half_bodies(count):
    """Seven labelled keypoints are too few for one."""
    everyone = people(count)
    labelled = np.zeros_like(everyone.labelled)
    labelled[:, :7] = True
    return replace(everyone, labelled=labelled)


@pytest.mark.parametrize(
    ("view", "kind", "low", "high", "turn", "shift"),
    [(1, "strong", 0.6, 1.4, 80, 0.16), (3, "weak", 0.75, 1.25, 60, 0.0)],
)
def test_limits(view, kind, low, high, turn, shift):
    """Reached, too: normal draws of half a limit are beyond it in 4.6 of 100 cases, so 400 people hold some."""
    everyone = without_half_bodies(400)
    views = draw_views(everyone, 4, seed=0)
    assert views.kinds[view] == kind
    factor = views.size[:, view] / everyone.box[:, 2:]
    assert np.allclose(factor[:, 0], factor[:, 1])
    assert np.allclose([factor.min(), factor.max()], [low, high])
    assert np.allclose([views.rotation[:, view].min(), views.rotation[:, view].max()], [-turn, turn])
    moved = np.abs(views.center[:, view] - views.center[:, 0]) / everyone.box[:, 2:]
    assert moved.max() == pytest.approx(shift)
    # Of 400, with probability 0.4 upright and 0.7 in the middle: three standard deviations are 0.073 and 0.069.
    assert (views.rotation[:, view] == 0).mean() == pytest.approx(0.4, abs=0.075)
    if shift:
        assert (moved.max(axis=1) == 0).mean() == pytest.approx(0.7, abs=0.07)


@pytest.mark.parametrize("limit", [0.0, 20.0])
def test_rotation_has_a_limit(limit):
    views = draw_views(people(200), 4, seed=0, limit=limit)
    assert np.abs(views.rotation[:, 1]).max() == pytest.approx(limit)
    assert np.abs(views.rotation[:, 3]).max() == pytest.approx(0.75 * limit)


def test_half_bodies_surround_one_half():
    """Every strong view with a half body has the centre and, up to scale, the size of upper or lower keypoints with 20 % margin."""
    everyone = people(300, MPII16)
    upper = MPII16.upper_body
    halves = {True: [], False: []}
    for row in range(300):
        center, size, _ = draw_view(everyone, row, "strong", np.random.default_rng(row), 80.0)
        for side in halves:
            part = everyone.keypoints[row, upper if side else ~upper]
            low, high = part.min(axis=0), part.max(axis=0)
            half = np.maximum((high - low) * 1.2, everyone.box[row, 2:].max() * 0.2)
            factor = size / half
            if np.isclose(factor[0], factor[1]) and np.all(np.abs(center - (low + high) / 2) <= 0.16 * half + 1e-9):
                halves[side].append(factor[0])
    # 15 % each: 45 of 300, standard deviation 6.2; three of them are 19.
    assert all(26 <= len(factors) <= 64 for factors in halves.values())
    factors = [*halves[True], *halves[False]]
    assert np.allclose([min(factors), max(factors)], [0.6, 1.4])


def test_regions_of_some_rows_and_views():
    views = draw_views(people(6), 3, seed=0)
    regions = views.regions(slice(2, 4), slice(None))
    assert len(regions) == 6
    assert np.array_equal(regions.center[4], views.center[3, 1])
    picked = views.regions(np.array([5, 0]), np.array([2, 1]))
    assert np.array_equal(picked.size, [views.size[5, 2], views.size[0, 1]])
    assert picked.rotation.tolist() == [views.rotation[5, 2], views.rotation[0, 1]]
    assert np.array_equal(views.regions(3, 1).center, views.center[3:4, 1])


def test_round_trip_is_exact(tmp_path):
    views = draw_views(people(7), 5, seed=0)
    write_views(views, tmp_path / "views.parquet")
    back = read_views(tmp_path / "views.parquet")
    assert back.kinds == views.kinds
    for name in ("person", *ARRAYS):
        assert np.array_equal(getattr(back, name), getattr(views, name))
        assert getattr(back, name).dtype == getattr(views, name).dtype
    assert [path.name for path in tmp_path.iterdir()] == ["views.parquet"]


def test_nobody_has_no_views(tmp_path):
    write_views(draw_views(people(0), 4, seed=0), tmp_path / "views.parquet")
    assert read_views(tmp_path / "views.parquet").center.shape == (0, 4, 2)


def shuffled(path):
    table = pq.read_table(path)
    pq.write_table(table.take(pa.array(np.arange(table.num_rows)[::-1])), path)


def without_kinds(path):
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)


def without_rotation(path):
    pq.write_table(pq.read_table(path).drop_columns(["rotation"]), path)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-50])


def a_row_less(path):
    table = pq.read_table(path)
    pq.write_table(table.slice(0, table.num_rows - 1), path)


@pytest.mark.parametrize(
    "damage", [shuffled, without_kinds, without_rotation, cut_short, a_row_less, lambda path: path.unlink()]
)
def test_foreign_files_are_refused(tmp_path, damage):
    path = tmp_path / "views.parquet"
    write_views(draw_views(people(4), 3, seed=0), path)
    damage(path)
    with pytest.raises(UserError, match=r"views\.parquet: expected a table of views, found .+: run `pipeline prepare`"):
        read_views(path)
