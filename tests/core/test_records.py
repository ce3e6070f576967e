"""Batches: columns with ragged values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfd.core.records import Batch, Evaluation, Failure, Status


def columns(rows: list[tuple[Status, list[float]]]) -> Batch:
    """A batch whose every column is a different function of the row's number, so that a mix-up shows."""
    n = len(rows)
    number = np.arange(n)
    return Batch(
        index=100 - 3 * number,
        status=np.array([status for status, _ in rows], dtype=np.uint8),
        size=np.array([len(value) for _, value in rows], dtype=np.int64),
        flat=np.array([v for _, value in rows for v in value], dtype=np.float64),
        started=np.arange(1000.0, 1000 + n),
        ended=np.arange(2000.0, 2000 + 2 * n, 2),
        attempt=(1 + number).astype(np.int32),
        host="here",
        pid=7,
        slot=2,
        failures={100 - 3 * k: Failure(s, f"row {k}") for k, (s, _) in enumerate(rows) if s != Status.OK},
        reused=True,
    )


VALUE = st.lists(st.floats(allow_nan=False), max_size=4)
ROW = st.one_of(
    VALUE.map(lambda value: (Status.OK, value)),
    st.sampled_from([Status.ERROR, Status.CRASH, Status.TIMEOUT, Status.LOST]).map(lambda s: (s, list[float]())),
)
BATCH = st.lists(ROW, max_size=8).map(columns)


def row(batch: Batch, r: int) -> tuple[object, ...]:
    start, end = batch.offsets[r : r + 2]
    number = int(batch.index[r])
    return (
        number,
        int(batch.status[r]),
        batch.flat[start:end].tolist(),
        float(batch.started[r]),
        float(batch.ended[r]),
        int(batch.attempt[r]),
        batch.failures.get(number),
    )


def rows(batch: Batch) -> list[tuple[object, ...]]:
    return [row(batch, r) for r in range(len(batch))]


@given(st.data(), BATCH)
def test_take_by_number_is_the_same_as_picking_rows(data: st.DataObject, batch: Batch) -> None:
    numbers = data.draw(st.lists(st.integers(0, len(batch) - 1), max_size=10) if len(batch) else st.just([]))
    taken = batch.take(np.array(numbers, dtype=np.int64))
    everything = rows(batch)
    assert rows(taken) == [everything[r] for r in numbers]
    assert len(taken.flat) == taken.offsets[-1]
    assert set(taken.failures) == {int(k) for k in taken.index} & set(batch.failures)
    assert (taken.host, taken.pid, taken.slot, taken.reused) == ("here", 7, 2, True)
    for name in ("index", "status", "size", "flat", "started", "ended", "attempt"):
        assert getattr(taken, name).dtype == getattr(batch, name).dtype, name


@given(st.data(), BATCH)
def test_take_by_mask_is_take_by_number(data: st.DataObject, batch: Batch) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch))), dtype=np.bool_)
    assert rows(batch.take(mask)) == rows(batch.take(np.flatnonzero(mask)))


@given(st.data(), BATCH)
def test_what_is_taken_twice_is_taken_once(data: st.DataObject, batch: Batch) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch))), dtype=np.bool_)
    kept = batch.take(mask)
    assert rows(kept.take(np.arange(len(kept)))) == rows(kept)
    assert rows(kept.take(np.ones(len(kept), dtype=np.bool_))) == rows(kept)


def test_take_leaves_the_batch_as_it_was() -> None:
    batch = columns([(Status.OK, [1.0, 2.0]), (Status.ERROR, []), (Status.OK, [3.0])])
    before = rows(batch)
    taken = batch.take(np.array([2, 0]))
    taken.flat[:] = -1.0
    taken.status[:] = Status.CANCELLED
    assert rows(batch) == before


def test_take_refuses_rows_that_are_not_there() -> None:
    batch = columns([(Status.OK, [1.0]), (Status.OK, [2.0])])
    for wrong in (np.array([2]), np.array([True])):
        with pytest.raises(IndexError):
            batch.take(wrong)


def test_words_of_a_status_are_words() -> None:
    assert {s: s.word for s in (Status.NOT_RUN, Status.OK)} == {Status.NOT_RUN: "not run", Status.OK: "ok"}


def test_an_evaluation_knows_its_time() -> None:
    one = Evaluation(0, "x", Status.OK, 1.0, (), 1, 10.0, 12.5, "here", 7, 0, reused=False)
    assert one.seconds == 2.5
