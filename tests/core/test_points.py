"""Points and their keys: what must hold whatever x they are written against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distfd.core.points import Points, dense_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Any bits: NaNs with payloads, subnormals, both zeros. A third of the numbers are those that are easily confused.
BITS = st.one_of(st.sampled_from([0, 1, 1 << 63, 0x3FF << 52, 0x7FF8 << 48]), st.integers(0, 2**64 - 1))
SIZES = st.integers(1, 6)


def as_floats(bits: NDArray[np.uint64]) -> Floats:
    return bits.view(np.float64)


def bits_of(floats: Floats) -> list[int]:
    bits: list[int] = np.ascontiguousarray(floats).view(np.uint64).ravel().tolist()
    return bits


def matrices(rows: st.SearchStrategy[int] = SIZES) -> st.SearchStrategy[Floats]:
    return st.tuples(rows, SIZES).flatmap(lambda shape: hnp.arrays(np.uint64, shape, elements=BITS)).map(as_floats)


def written_against(x: Floats, rows: Floats, random: np.random.Generator) -> Points:
    """The rows as changes against x: the needed ones and some that change nothing, in any order."""
    indptr, indices, values = [0], [], []
    for row in rows:
        needed = row.view(np.uint64) != x.view(np.uint64)
        chosen = random.permutation(np.flatnonzero(needed | (random.random(len(x)) < 0.3)))
        indices.append(chosen)
        values.append(row[chosen])
        indptr.append(indptr[-1] + len(chosen))
    return Points(x, np.array(indptr), np.concatenate(indices), np.concatenate(values))


def equal_bits(points: Points, rows: Floats) -> bool:
    return len(points) == len(rows) and all(
        bits_of(points.dense(k)) == bits_of(np.asarray(row)) for k, row in enumerate(rows)
    )


def reference_key(point: Floats) -> list[int]:
    """The key of one dense point by whole Python numbers: no arrays, no changes, no wrapping by accident.

    Stores keep keys and outlive the program that wrote them: where this fails, old runs would compute all again.
    """
    mask, lanes = 2**64 - 1, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)

    def mix(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    return [
        sum(mix(mix((i * lanes[0] + lane) & mask) ^ bits) for i, bits in enumerate(bits_of(point))) & mask
        for lane in lanes
    ]


@given(matrices())
def test_dense_points_give_back_the_rows_bit_for_bit(rows: Floats) -> None:
    points = dense_points(list(rows))
    assert equal_bits(points, rows)
    assert len(points.changes(0)[0]) == 0
    assert len(points.values) == sum(
        a != b for row in rows for a, b in zip(bits_of(row), bits_of(rows[0]), strict=True)
    )


@given(matrices())
def test_dense_points_take_columns_of_an_array_too(rows: Floats) -> None:
    across = np.ascontiguousarray(rows.T)
    assert equal_bits(dense_points([across[:, k] for k in range(len(rows))]), rows)


@given(matrices(st.integers(2, 6)), st.integers(0, 2**32))
def test_points_are_the_rows_they_were_written_from(rows: Floats, seed: int) -> None:
    points = written_against(rows[0], rows, np.random.default_rng(seed))
    assert equal_bits(points, rows)
    for k, row in enumerate(rows):
        indices, values = points.changes(k)
        assert bits_of(values) == bits_of(row[indices])


@given(matrices())
def test_a_dense_point_is_the_callers_to_write_to(rows: Floats) -> None:
    points = dense_points(list(rows))
    before = bits_of(rows)
    for k in range(len(points)):
        points.dense(k)[:] = 7.0
    assert bits_of(rows) == before
    assert equal_bits(points, rows)


@given(st.data(), matrices(), st.integers(0, 2**32))
def test_take_is_the_same_as_picking_rows(data: st.DataObject, rows: Floats, seed: int) -> None:
    points = written_against(rows[-1], rows, np.random.default_rng(seed))
    numbers = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)), dtype=np.int64)
    taken = points.take(numbers)
    assert taken.x is points.x
    assert equal_bits(taken, rows[numbers])
    assert (taken.keys() == points.keys()[numbers]).all()
    again = np.arange(len(numbers))[::-1]
    assert equal_bits(taken.take(again), rows[numbers][again])


@given(matrices(), st.integers(0, 2**32))
def test_keys_do_not_depend_on_which_x_nor_on_the_order_of_changes(rows: Floats, seed: int) -> None:
    random = np.random.default_rng(seed)
    expected = dense_points(list(rows)).keys()
    others: list[Floats] = [
        rows[-1],
        np.zeros(rows.shape[1]),
        as_floats(random.integers(0, 2**64, rows.shape[1], np.uint64)),
    ]
    for x in others:
        assert (written_against(x, rows, random).keys() == expected).all()


@given(matrices(), st.integers(0, 2**32))
def test_keys_are_those_of_each_point_alone(rows: Floats, seed: int) -> None:
    keys = written_against(rows[-1], rows, np.random.default_rng(seed)).keys()
    assert keys.dtype == np.uint64
    assert keys.tolist() == [reference_key(row) for row in rows]


@given(st.data(), matrices(st.just(1)), st.integers(0, 2**130))
def test_one_bit_of_one_coordinate_changes_both_halves_of_the_key(data: st.DataObject, rows: Floats, salt: int) -> None:
    # Not a matter of luck: for one coordinate the hash is a bijection of the bits.
    x = rows[0]
    k, bit = data.draw(st.integers(0, len(x) - 1)), data.draw(st.integers(0, 63))
    other = x.copy()
    other.view(np.uint64)[k] ^= np.uint64(1 << bit)
    keys = dense_points([x, other]).keys(salt)
    assert (keys[0] != keys[1]).all()


def test_negative_zero_is_another_point() -> None:
    points = dense_points([np.array([0.0, 1.0]), np.array([-0.0, 1.0])])
    assert len(points.changes(1)[0]) == 1
    assert np.signbit(points.dense(1)[0])
    assert (points.keys()[0] != points.keys()[1]).all()


@given(matrices(st.just(1)), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_salts_separate_objectives(rows: Floats, one: int, other: int) -> None:
    points = dense_points(list(rows))
    assert (points.keys(one) == points.keys(other)).all() == (one == other)


def test_equal_numbers_in_other_places_are_other_points() -> None:
    x = np.array([1.0, 2.0, 3.0])
    rows = [x[list(order)] for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))]
    # One coordinate more or less is another point too, even if it is zero.
    keys = [*dense_points(rows).keys().tolist(), *dense_points([np.append(x, 0.0)]).keys().tolist()]
    assert len({tuple(key) for key in keys}) == 7


@pytest.mark.parametrize("d", [1, 100_000])
def test_a_gradients_points_are_cheap_and_all_different(d: int) -> None:
    # As a dense array the larger one would take 80 GB.
    x = np.linspace(-1, 1, d)
    points = Points(x, np.concatenate(([0], np.arange(d + 1))), np.arange(d), x + 1e-8)
    keys = points.keys()
    assert len({tuple(key) for key in keys.tolist()}) == len(points) == d + 1
    assert keys[[0, -1]].tolist() == [reference_key(points.dense(k)) for k in (0, d)]


def test_no_points_have_no_keys() -> None:
    none = dense_points([np.ones(3)]).take(np.array([], dtype=np.int64))
    assert len(none) == 0
    assert none.keys().shape == (0, 2)
