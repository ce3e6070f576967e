"""J gets point after point, and may treat its x as it likes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distfd.core.points import Points
from distfd.workers.argument_reuse import ArgumentLender

D = 200_000
"""So many coordinates that to copy them takes longer than any J below."""


def moved(d: int, n: int) -> Points:
    x = np.linspace(1.0, d, d)
    indices = np.arange(n) % d
    return Points(x, np.arange(n + 1), indices, x[indices] + 0.5)


def in_place(lender: ArgumentLender) -> bool:
    return not lender._careful and lender._base is not None


def test_a_quick_j_of_many_coordinates_sees_each_point_in_one_array() -> None:
    points, lender = moved(D, 50), ArgumentLender()
    seen = [lender.call(lambda x: x[:50].tolist(), points, k) for k in range(50)]
    assert seen == [points.dense(k)[:50].tolist() for k in range(50)]
    assert in_place(lender)
    lender.end()
    assert lender._base is None


def test_points_against_another_x_get_another_array() -> None:
    one, lender = moved(D, 9), ArgumentLender()
    other = Points(np.zeros(D), one.indptr, one.indices, one.values)
    for points in (one, other):
        for k in range(9):
            assert lender.call(lambda x: x.sum(), points, k) == points.dense(k).sum()


def test_a_slow_j_gets_copies_that_it_may_write_to() -> None:
    points, lender = moved(100, 5), ArgumentLender()

    def slow(x: Any) -> float:
        time.sleep(0.01)
        x *= 2
        return float(x.sum())

    assert [lender.call(slow, points, k) for k in range(5)] == [2 * points.dense(k).sum() for k in range(5)]
    assert lender._base is None


def test_a_j_that_writes_gets_copies() -> None:
    points, lender = moved(D, 5), ArgumentLender()

    def writes(x: Any) -> float:
        x[0] = -1.0
        return float(x[1])

    assert [lender.call(writes, points, k) for k in range(5)] == [points.dense(k)[1] for k in range(5)]
    assert lender._careful


def test_a_j_that_takes_the_right_to_write_gets_copies() -> None:
    points, lender = moved(D, 8), ArgumentLender()

    def takes(x: Any) -> float:
        if not x.flags.writeable:
            x.flags.writeable = True
            x[-1] = -1.0
        return float(x[:9].sum()) + float(x[-2])

    assert [lender.call(lambda x: float(x[0]), points, k) for k in range(3)] == [1.5, 1.0, 1.0]
    assert in_place(lender)
    found = [lender.call(takes, points, k) for k in range(3, 8)]
    assert found == [points.dense(k)[:9].sum() + points.dense(k)[-2] for k in range(3, 8)]
    assert lender._careful
    assert lender.call(lambda x: float(x[-1]), points, 0) == D


def test_points_that_move_many_coordinates_are_made_and_undone_too() -> None:
    x, rng = np.linspace(1.0, 2.0, D), np.random.default_rng(3)
    indices = [np.sort(rng.choice(D, 50, replace=False)) for _ in range(4)]
    starts = np.cumsum([0, *map(len, indices)])
    points, lender = Points(x, starts, np.concatenate(indices), rng.normal(size=200)), ArgumentLender()
    for k in (0, 1, 2, 3, 0, 3):
        assert lender.call(lambda at: at.tobytes() == points.dense(k).tobytes(), points, k)  # noqa: B023
    assert in_place(lender)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("part", [slice(None), slice(3, 9), None])
def test_a_j_that_keeps_its_x_or_a_part_of_it_keeps_that_point(late: bool, part: Any) -> None:
    points, lender = moved(D, 8), ArgumentLender()
    kept: list[Any] = []

    def keeps(x: Any) -> float:
        if not late or len(kept) > 0 or x[3] != 4.0:
            kept.append(x if part is None else x[part])
        return 0.0

    for k in range(8):
        lender.call(keeps, points, k)
    assert lender._careful
    first = 3 if late else 0
    for k, x in enumerate(kept, start=first):
        whole = points.dense(k)
        assert np.array_equal(x, whole if part is None else whole[part])


def test_a_j_that_writes_only_later_is_asked_again_with_a_copy() -> None:
    points, lender = moved(D, 6), ArgumentLender()

    def writes_at_4(x: Any) -> float:
        if x[4] != 5.0:
            x[0] = -1.0
        return float(x[1])

    assert [lender.call(writes_at_4, points, k) for k in range(6)] == [points.dense(k)[1] for k in range(6)]
    assert lender._careful


def test_an_exception_passes_and_the_next_point_is_whole() -> None:
    points, lender = moved(D, 6), ArgumentLender()
    held: list[Any] = []

    def fails_at_3(x: Any) -> float:
        if x[3] != 4.0:
            raise ValueError("no")
        return float(x.sum())

    for k in range(6):
        if k == 3:
            with pytest.raises(ValueError, match="no") as error:
                lender.call(fails_at_3, points, k)
            held.append(error)
        else:
            assert lender.call(fails_at_3, points, k) == points.dense(k).sum()


@settings(max_examples=40)
@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.floats(-9, 9)), max_size=4), min_size=1, max_size=12))
def test_every_point_is_the_one_that_was_asked_for(rows: list[list[tuple[int, float]]]) -> None:
    x = np.arange(6.0)
    rows = [list(dict(row).items()) for row in rows]
    indptr = np.cumsum([0, *map(len, rows)])
    flat = [pair for row in rows for pair in row]
    points = Points(x, indptr, np.array([k for k, _ in flat], np.int64), np.array([v for _, v in flat], float))
    lender = ArgumentLender()
    lender._copying = 1.0  # in place from the first point on
    for k in range(len(rows)):
        assert lender.call(lambda at: at.tobytes(), points, k) == points.dense(k).tobytes()
