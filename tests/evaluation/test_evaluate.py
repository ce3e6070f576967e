from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from distfd import events
from distfd.core.points import dense_points
from distfd.core.records import Batch, Failure, Status
from distfd.differentiation.method import Request
from distfd.errors import ClusterError, StoreError
from distfd.evaluation.evaluate import evaluate
from distfd.evaluation.session import Session
from distfd.executors.base import Executor
from distfd.executors.serial import SerialExecutor
from distfd.objectives.function import PythonObjective
from distfd.scheduling.policy import Policy
from distfd.scheduling.slot_pool import SlotPool
from distfd.stores.memory import MemoryStore
from distfd.workers.messages import ChunkDone, EvaluationChunk, SlotLost, SlotUp
from distfd.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.objectives.base import Objective
    from distfd.workers.messages import Chunk, Report


class FaultyExecutor(Executor):
    """Slots in memory; every third call of ``wait`` goes wrong in its own way.

    ``script`` overrides that: what happens, one entry a call ("run", "crash", "lost", "quiet" or an exception).
    """

    slots = 0

    def __init__(self, slots: int = 3, script: Sequence[Any] = ()) -> None:
        self.slots = slots
        self.script = deque(script)
        self.killed: list[int] = []
        self.closed = 0
        self.opened = 0
        self.calls = 0
        self.evaluated: list[int] = []
        self._objective: Objective | None = None
        self._queues: dict[int, deque[Chunk]] = {}
        self._up: dict[int, SlotUp] = {}
        self._news: list[Report] = []

    def open(self, objective: Objective) -> Sequence[SlotUp]:
        if self._objective is objective:
            return list(self._up.values())
        self.opened += 1
        self._objective = objective
        for slot in range(self.slots):
            self._start(slot)
        return []

    def submit(self, slot: int, chunk: Chunk) -> None:
        assert slot in self._queues, "work for a slot that is not up"
        self._queues[slot].append(chunk)

    def wait(self, seconds: float) -> Sequence[Report]:
        assert self._objective is not None
        self.calls += 1
        if self._news:
            news, self._news = self._news, []
            for report in news:
                if isinstance(report, SlotUp):
                    self._queues[report.slot] = deque()
                    self._up[report.slot] = report
            return news
        faults = ("run", "run", ("crash", "lost", "quiet")[self.calls // 3 % 3])
        deed = self.script.popleft() if self.script else faults[self.calls % 3]
        if isinstance(deed, BaseException):
            raise deed
        busy = [slot for slot, queue in self._queues.items() if queue]
        if deed == "quiet" or not busy:
            return []
        slot = busy[self.calls % len(busy)]
        if deed in ("crash", "lost"):
            self._start(slot)
            return [SlotLost(slot, Failure(Status.CRASH if deed == "crash" else Status.LOST, "gone"))]
        chunk = self._queues[slot].popleft()
        batch = Worker(self._objective, slot).run(chunk)
        self.evaluated += batch.index.tolist()
        return [ChunkDone(slot, chunk.id, batch)]

    def kill(self, slot: int) -> None:
        self.killed.append(slot)
        self._start(slot)

    def close(self) -> None:
        self.closed += 1
        self._objective = None
        self._queues.clear()
        self._up.clear()
        self._news.clear()

    def _start(self, slot: int) -> None:
        self._queues.pop(slot, None)
        self._up.pop(slot, None)
        self._news.append(SlotUp(slot, "memory", 100 + self.calls))


class NotingStore(MemoryStore):
    """Notes what is put; fails at one put if asked."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.put_rows: list[int] = []
        self.puts = 0
        self.fail_at = fail_at

    def put(self, keys: NDArray[np.uint64], batch: Batch) -> None:
        self.puts += 1
        if self.puts == self.fail_at:
            raise StoreError("disk full")
        super().put(keys, batch)
        self.put_rows += batch.index.tolist()


def square(x: NDArray[np.float64]) -> float:
    if x[0] == -1:
        raise ValueError("negative")
    return float(x[0] ** 2)


def session(executor: Any, store: Any = None, **changes: Any) -> Session:
    settings: dict[str, Any] = {
        "objective": PythonObjective(square),
        "executor": executor,
        "store": MemoryStore() if store is None else store,
        "observers": (),
        "policy": Policy({Status.CRASH: 10}),
    }
    return Session(**{**settings, **changes})


def request(*x: float, baseline: int | None = None) -> Request:
    return Request(dense_points([[v] for v in x]), baseline)


def values(batches: Sequence[Batch]) -> dict[int, float]:
    found: dict[int, float] = {}
    for batch in batches:
        assert (batch.status == Status.OK).all()
        assert not found.keys() & set(batch.index.tolist()), "a point came twice"
        found.update(zip(batch.index.tolist(), batch.flat.tolist(), strict=True))
    return found


@pytest.mark.parametrize("n", [1, 2, 7, 40, 300])
@pytest.mark.parametrize("slots", [1, 3])
def test_all_points_come_once_whatever_goes_wrong(n: int, slots: int) -> None:
    executor = FaultyExecutor(slots)
    found = values(list(evaluate(session(executor), request(*range(n)))))
    assert found == {k: float(k * k) for k in range(n)}


def test_serial() -> None:
    found = values(list(evaluate(session(SerialExecutor()), request(*range(50), baseline=0))))
    assert found == {k: float(k * k) for k in range(50)}


def test_what_is_in_the_store_comes_first_and_is_not_evaluated_again() -> None:
    executor = FaultyExecutor()
    own = session(executor)
    list(evaluate(own, request(1, 3)))
    executor.evaluated.clear()
    batches = list(evaluate(own, request(0, 1, 2, 3, 4)))
    assert batches[0].reused
    assert batches[0].index.tolist() == [1, 3]
    assert batches[0].flat.tolist() == [1.0, 9.0]
    assert batches[0].attempt.tolist() == [0, 0]
    assert not any(batch.reused for batch in batches[1:])
    assert sorted(executor.evaluated) == [0, 2, 4]
    assert values(batches) == {k: float(k * k) for k in range(5)}


def test_a_request_that_the_store_answers_starts_no_slot() -> None:
    store = MemoryStore()
    list(evaluate(session(FaultyExecutor(), store), request(1, 3)))
    idle = FaultyExecutor()
    (batch,) = evaluate(session(idle, store), request(3, 1))
    assert batch.flat.tolist() == [9.0, 1.0]
    assert idle.opened == 0


def test_another_objective_finds_nothing_of_this_ones() -> None:
    store = MemoryStore()
    list(evaluate(session(FaultyExecutor(), store, salt=1), request(1, 3)))
    assert not any(batch.reused for batch in evaluate(session(FaultyExecutor(), store, salt=2), request(1, 3)))


def test_what_is_yielded_is_in_the_store() -> None:
    store = NotingStore()
    seen = 0
    for batch in evaluate(session(FaultyExecutor(), store), request(*range(30))):
        assert set(batch.index.tolist()) <= set(store.put_rows)
        seen += len(batch)
    assert seen == 30


def test_failed_attempts_are_stored_too_but_not_as_values() -> None:
    store = NotingStore()
    own = session(FaultyExecutor(1, ["run"] * 9), store, policy=Policy({Status.ERROR: 2}))
    batches = list(evaluate(own, request(-1)))
    assert [batch.attempt.tolist() for batch in batches] == [[3]]
    assert batches[0].status.tolist() == [Status.ERROR]
    assert store.put_rows == [0, 0, 0]
    assert len(store) == 0


def test_closing_ends_what_runs() -> None:
    executor = FaultyExecutor(3, ["run"])
    own = session(executor)
    wave = evaluate(own, request(*range(9)))
    first = next(wave)
    assert len(first) == 1
    wave.close()
    # The slot that had just reported was idle; the others' evaluations take no time, and are waited for elsewhere.
    assert not executor.killed
    assert set(own.pool.draining) == {0, 1, 2} - {first.slot}
    assert executor.closed == 0


def test_closing_kills_what_would_take_long() -> None:
    executor = FaultyExecutor(3, ["run"])
    own = session(executor)
    wave = evaluate(own, request(*range(9)))
    first = next(wave)
    own.pool.times.note(9, np.arange(9), np.full(9, 60.0))
    wave.close()
    assert sorted(executor.killed) == sorted({0, 1, 2} - {first.slot})


def test_a_wave_after_one_that_was_closed() -> None:
    executor = FaultyExecutor()
    own = session(executor)
    wave = evaluate(own, request(*range(9)))
    next(wave)
    wave.close()
    assert values(list(evaluate(own, request(*range(9))))) == {k: float(k * k) for k in range(9)}
    assert executor.opened == 1


def test_a_baseline_that_fails_ends_the_wave_and_what_runs() -> None:
    executor = FaultyExecutor(3, ["run"] * 3)
    batches = list(evaluate(session(executor), request(-1, *range(100), baseline=0)))
    failed = [k for batch in batches for k in batch.failures]
    assert failed == [0]
    assert len(executor.killed) == 2
    assert sum(map(len, batches)) <= 3


def test_no_slot_is_left_busy_at_the_end() -> None:
    executor = FaultyExecutor()
    list(evaluate(session(executor), request(*range(20))))
    assert executor.killed == []
    assert not any(executor._queues.values())


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("lost the head")])
def test_an_interrupt_leaves_the_store_complete_and_the_session_usable(calls: int, error: BaseException) -> None:
    executor = FaultyExecutor(2, [*["run"] * calls, error])
    store = NotingStore()
    own = session(executor, store)
    came: list[Batch] = []
    with pytest.raises(type(error)):
        came.extend(evaluate(own, request(*range(30))))
    assert len(store.put_rows) == len(executor.evaluated)
    assert executor.closed == 1
    done = list(executor.evaluated)
    executor.evaluated.clear()
    assert values(list(evaluate(own, request(*range(30))))) == {k: float(k * k) for k in range(30)}
    assert sorted(done + executor.evaluated) == list(range(30))


def test_a_store_that_fails_ends_the_wave_and_keeps_what_it_had() -> None:
    executor = FaultyExecutor(2, ["run"] * 20)
    store = NotingStore(fail_at=3)
    own = session(executor, store)
    came: list[Batch] = []
    with pytest.raises(StoreError, match="disk full"):
        came.extend(evaluate(own, request(*range(30))))
    assert sum(map(len, came)) == len(store) == len(store.put_rows)
    assert values(list(evaluate(own, request(*range(30))))) == {k: float(k * k) for k in range(30)}


class StillbornExecutor(FaultyExecutor):
    """Every worker dies while it starts."""

    def wait(self, seconds: float) -> Sequence[Report]:
        self.calls += 1
        return [SlotLost(slot, Failure(Status.CRASH, "no module named distfd")) for slot in range(self.slots)]


def test_slots_that_never_come_up_are_a_cluster_error() -> None:
    executor = StillbornExecutor(2)
    own = session(executor)
    for waits in (3, 6):
        with pytest.raises(ClusterError, match="5 workers in a row died while starting: no module named distfd"):
            list(evaluate(own, request(1, 2)))
        # Tried as often anew the second time.
        assert executor.calls == waits
    assert executor.closed == 2


class HangingExecutor(FaultyExecutor):
    """A chunk with x = -1 never ends."""

    def wait(self, seconds: float) -> Sequence[Report]:
        for slot, queue in self._queues.items():
            if queue and isinstance(queue[0], EvaluationChunk) and -1 in queue[0].points.values:
                return [] if not self._news else super().wait(seconds)
            if queue:
                chunk = queue.popleft()
                assert self._objective is not None
                return [ChunkDone(slot, chunk.id, Worker(self._objective, slot).run(chunk))]
        return super().wait(seconds)


def test_a_point_that_hangs_is_ended_and_recorded() -> None:
    executor = HangingExecutor(1, ["run"] * 1000)
    own = session(executor, policy=Policy({}, timeout=0.01))
    batches = list(evaluate(own, request(5, -1, 2)))
    by_point = {int(k): Status(int(s)) for b in batches for k, s in zip(b.index, b.status, strict=True)}
    assert by_point == {0: Status.OK, 1: Status.TIMEOUT, 2: Status.OK}
    # Once with its neighbour, which blames neither, and once alone.
    assert executor.killed == [0, 0]


def kinds(seen: Sequence[events.Event]) -> list[str]:
    return [type(event).__name__ for event in seen]


def test_observers_are_told_in_order() -> None:
    seen: list[events.Event] = []
    again: list[events.Event] = []
    executor = FaultyExecutor(1, ["run"] * 99)
    own = session(executor, observers=(seen.append, again.append), policy=Policy({Status.ERROR: 1}), names=["mass"])
    list(evaluate(own, request(4, -1), task="gradient"))
    assert seen == again
    assert kinds(seen) == [
        "WaveStarted",
        "SlotStarted",
        "BatchFinished",
        "AttemptFailed",
        "AttemptFailed",
        "BatchFinished",
    ]
    assert seen[0] == events.WaveStarted("gradient", 2, 0, slots=1)
    assert seen[1] == events.SlotStarted(0, "memory", 100)
    first, second = seen[3:5]
    assert isinstance(first, events.AttemptFailed)
    assert isinstance(second, events.AttemptFailed)
    assert (first.attempt, first.again, second.attempt, second.again) == (1, True, 2, False)
    assert first.label == "coordinate 0 ('mass'), x = -1.0 (baseline 4.0, moved by -5)"
    assert first.failure.text == "ValueError: negative"


def test_the_first_wave_says_how_many_slots_there_are() -> None:
    seen: list[events.Event] = []
    list(evaluate(session(FaultyExecutor(3), observers=(seen.append,)), request(1, 2)))
    assert seen[0] == events.WaveStarted("values", 2, 0, slots=3)


def test_a_slot_that_stays_up_is_announced_once() -> None:
    seen: list[events.Event] = []
    own = session(SerialExecutor(), observers=(seen.append,))
    for k in range(3):
        list(evaluate(own, request(k)))
    assert kinds(seen).count("SlotStarted") == 1


def test_a_log_that_cannot_be_written_harms_no_later_wave() -> None:
    def grumble(event: events.Event) -> None:
        if isinstance(event, events.SlotStarted) and not grumbled:
            grumbled.append(event)
            raise StoreError("no room")

    grumbled: list[events.Event] = []
    own = session(FaultyExecutor(1), observers=(grumble,))
    with pytest.raises(StoreError, match="no room"):
        list(evaluate(own, request(1, 2)))
    assert values(list(evaluate(own, request(1, 2)))) == {0: 1.0, 1: 4.0}


def test_two_sessions_may_share_an_executor_and_an_objective() -> None:
    executor, objective = SerialExecutor(), PythonObjective(square)
    one, two = (session(executor, objective=objective) for _ in range(2))
    for own in (one, two, one):
        assert values(list(evaluate(own, request(7, own is two)))) == {0: 49.0, 1: float(own is two)}


def test_what_waits_for_a_slot_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr("distfd.evaluation.evaluate.time.monotonic", lambda: float(next(clock)))
    seen: list[events.Event] = []
    executor = FaultyExecutor(1, [*["quiet"] * 3, *["run"] * 9])
    own = session(executor, observers=(seen.append,))
    own.start()
    news, executor._news = executor._news, []
    wave = evaluate(own, request(1))

    def late(event: events.Event) -> None:
        if isinstance(event, events.Waiting):
            executor._news = news

    both: list[Any] = [seen.append, late]
    own.observers = both
    assert values(list(wave)) == {0: 1.0}
    waiting = [event for event in seen if isinstance(event, events.Waiting)]
    assert len(waiting) == 1
    assert waiting[0].seconds > 30


def test_a_pool_outlives_its_waves() -> None:
    own = session(FaultyExecutor(2, ["run"] * 999), pool=SlotPool(slots=1))
    list(evaluate(own, request(*range(20))))
    assert own.pool.times.count == 20
    list(evaluate(own, request(*range(20, 40))))
    assert own.pool.times.count == 40
    assert own.pool.slots == 2


def test_values_do_not_depend_on_slots_and_faults() -> None:
    def bits(executor: Any) -> bytes:
        found = values(list(evaluate(session(executor, objective=PythonObjective(np.sin)), request(*range(25)))))
        return np.array([found[k] for k in range(25)]).tobytes()

    executors: list[Callable[[], Any]] = [SerialExecutor, lambda: FaultyExecutor(1), lambda: FaultyExecutor(5)]
    assert len({bits(make()) for make in executors}) == 1


def test_slots_that_others_have_ended_are_waited_for() -> None:
    executor = FaultyExecutor(2, ["run"] * 99)
    own = session(executor)
    list(evaluate(own, request(1, 2)))
    executor.close()
    assert values(list(evaluate(own, request(3, 4)))) == {0: 9.0, 1: 16.0}


def test_what_is_asked_for_twice_is_evaluated_once() -> None:
    executor = FaultyExecutor(2, ["run"] * 99)
    batches = list(evaluate(session(executor), request(3, 4, 3, 3, 4)))
    assert sorted(executor.evaluated) == [0, 1]
    assert values(batches) == {0: 9.0, 1: 16.0, 2: 9.0, 3: 9.0, 4: 16.0}
    assert {int(k) for batch in batches if batch.reused for k in batch.index} == {2, 3, 4}


def test_what_is_asked_for_twice_fails_twice() -> None:
    def fails(x: Any) -> float:
        raise ValueError(f"at {x[0]}")

    batches = list(evaluate(session(FaultyExecutor(1, ["run"] * 99), objective=PythonObjective(fails)), request(3, 3)))
    assert [(batch.index.tolist(), batch.failures[int(batch.index[0])].text) for batch in batches] == [
        ([0], "ValueError: at 3.0"),
        ([1], "ValueError: at 3.0"),
    ]
