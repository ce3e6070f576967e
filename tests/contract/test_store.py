"""What every store promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from outside import DictStore

from distfd.core.records import Batch, Failure, Status
from distfd.stores.memory import MemoryStore
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from distfd.stores.base import Store

    Open = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite", "outside"])
def open_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    opened: list[Store] = []

    def fresh() -> Store:
        if request.param == "memory":
            opened.append(MemoryStore())
        elif request.param == "outside":
            opened.append(DictStore())
        else:
            opened.append(SQLiteStore(tmp_path_factory.mktemp("store") / "a 'b'?#%41.sqlite"))
        return opened[-1]

    yield fresh
    for store in opened:
        store.close()


def batch(values: Sequence[Sequence[float]], status: Sequence[Status] | None = None, **changes: object) -> Batch:
    n = len(values)
    columns = {
        "index": np.arange(n),
        "status": np.array(status if status is not None else [Status.OK] * n, np.uint8),
        "size": np.array([len(v) for v in values], np.int64),
        "flat": np.concatenate([np.zeros(0), *(np.asarray(v, np.float64) for v in values)]),
        "started": np.full(n, 1.7e9),
        "ended": np.full(n, 1.7e9 + 2),
        "attempt": np.ones(n, np.int32),
        "host": "node",
        "pid": 7,
        "slot": 0,
    }
    return Batch(**{**columns, **changes})  # type: ignore[arg-type]  # columns by name, for short calls


def keys(*numbers: int) -> NDArray[np.uint64]:
    return np.array([(n, 2**64 - 1 - n) for n in numbers], np.uint64).reshape(-1, 2)


def values_of(store: Store, wanted: NDArray[np.uint64]) -> dict[int, list[float]]:
    rows, size, flat = store.get(wanted)
    assert len(rows) == len(size)
    assert len(flat) == size.sum()
    assert flat.dtype == np.float64
    return {int(r): part.tolist() for r, part in zip(rows, np.split(flat, np.cumsum(size)[:-1]), strict=True)}


def test_a_new_store_knows_nothing(open_store: Open) -> None:
    store = open_store()
    assert len(store.get(keys(1, 2))[0]) == 0
    assert len(store.get(keys())[0]) == 0


def test_what_was_put_is_got_in_the_order_asked_for(open_store: Open) -> None:
    store = open_store()
    store.put(keys(1, 2, 3), batch([[1.5], [2.5], [3.5]]))
    assert values_of(store, keys(3, 9, 1, 3)) == {0: [3.5], 2: [1.5], 3: [3.5]}


def test_rows_come_in_ascending_order(open_store: Open) -> None:
    store = open_store()
    store.put(keys(*range(1200)), batch([[float(k)] for k in range(1200)]))
    rows, _, flat = store.get(keys(*range(1199, -1, -1)))
    assert np.array_equal(rows, np.arange(1200))
    assert np.array_equal(flat, np.arange(1199, -1, -1))


def test_ragged_vectors(open_store: Open) -> None:
    store = open_store()
    store.put(keys(1, 2, 3), batch([[1.0, 2.0], [], [3.0, 4.0, 5.0]]))
    store.put(keys(4), batch([[6.0]]))
    assert values_of(store, keys(4, 3, 2, 1)) == {0: [6.0], 1: [3.0, 4.0, 5.0], 2: [], 3: [1.0, 2.0]}


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
def test_only_ok_rows_become_values(open_store: Open, status: Status) -> None:
    store = open_store()
    failures = {0: Failure(status, "ValueError: no", "a traceback\n\udcff\0")}
    store.put(keys(1, 2), batch([[], [2.0]], [status, Status.OK], failures=failures))
    assert values_of(store, keys(1, 2)) == {1: [2.0]}


def test_a_failed_point_can_get_a_value_later(open_store: Open) -> None:
    store = open_store()
    store.put(keys(1), batch([[]], [Status.CRASH]))
    store.put(keys(1), batch([[4.0]]))
    store.put(keys(1), batch([[]], [Status.ERROR]))
    assert values_of(store, keys(1)) == {0: [4.0]}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_value(open_store: Open, bad: float) -> None:
    store = open_store()
    store.put(keys(1, 2, 3), batch([[1.0, bad], [2.0, 3.0], [bad, 4.0]]))
    assert values_of(store, keys(1, 2, 3)) == {1: [2.0, 3.0]}


def test_the_first_value_stays(open_store: Open) -> None:
    store = open_store()
    store.put(keys(1, 1), batch([[1.0], [2.0]]))
    store.put(keys(1, 2), batch([[3.0], [4.0]]))
    assert values_of(store, keys(1, 2)) == {0: [1.0], 1: [4.0]}


def test_what_was_put_is_a_copy(open_store: Open) -> None:
    store = open_store()
    vectors = batch([[1.0, 2.0]])
    store.put(keys(1), vectors)
    vectors.flat[:] = 9.0
    store.get(keys(1))[2][:] = 8.0
    assert values_of(store, keys(1)) == {0: [1.0, 2.0]}


def test_both_halves_of_a_key_count(open_store: Open) -> None:
    store = open_store()
    store.put(np.array([[1, 2]], np.uint64), batch([[1.0]]))
    assert values_of(store, np.array([[1, 3], [2, 1], [0, 2], [1, 2]], np.uint64)) == {3: [1.0]}


def test_keys_and_rows_must_match(open_store: Open) -> None:
    with pytest.raises(ValueError, match="2 keys for 1"):
        open_store().put(keys(1, 2), batch([[1.0]]))


def test_close_twice(open_store: Open) -> None:
    store = open_store()
    store.close()
    store.close()


@settings(max_examples=30, deadline=None)
@given(
    flat=hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(allow_nan=False, allow_infinity=False)),
    data=st.data(),
)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_bit_for_bit(
    kind: str, flat: NDArray[np.float64], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(flat)), max_size=6)))
    parts = np.split(np.concatenate([flat, [-0.0, 5e-324, 2.2e-308, 1.7976931348623157e308]]), cuts)
    directory: Path = tmp_path_factory.mktemp("bits")
    store: Store = MemoryStore() if kind == "memory" else SQLiteStore(directory / "s.sqlite")
    wanted = keys(*range(len(parts)))
    store.put(wanted, batch([part.tolist() for part in parts]))
    rows, size, got = store.get(wanted)
    assert np.array_equal(rows, np.arange(len(parts)))
    assert size.tolist() == [len(part) for part in parts]
    assert got.tobytes() == np.concatenate(parts).tobytes()
    store.close()


def test_seconds_of_earlier_processes(tmp_path: Path) -> None:
    """A store of this process alone has none to tell; one that outlives it has those of valid values."""
    path = tmp_path / "s.sqlite"
    keys = np.arange(8, dtype=np.uint64).reshape(4, 2)
    times = {"started": np.full(4, 1.7e9), "ended": 1.7e9 + np.array([1.0, 2.0, 3.0, 4.0])}
    failed = {2: Failure(Status.ERROR, "no")}
    status = [Status.OK, Status.OK, Status.ERROR, Status.OK]
    rows = batch([[1.0], [2.0], [], [3.0]], status, failures=failed, index=np.array([5, 6, 2, 9]), **times)
    memory = MemoryStore()
    memory.put(keys, rows)
    assert [len(column) for column in memory.seconds()] == [0, 0]
    store = SQLiteStore(path)
    store.put(keys, rows)
    store.close()
    again = SQLiteStore(path)
    index, seconds = again.seconds()
    again.close()
    assert index.tolist() == [5, 6, 9]
    assert seconds == pytest.approx([1.0, 2.0, 4.0])
