"""Many users of one process: sessions that overlap, threads, forks, a connection that the caller has left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import distfd
from distfd.executors.ray.connection import connection
from distfd.executors.ray.executor import _registry
from distfd.executors.ray.slot_registry import SlotRegistry
from distfd.workers.messages import ChunkDone, SlotLost

ROOT = Path(__file__).parents[2]
CPUS = 4


class Holder:
    def __init__(self) -> None:
        self.closed = self.lent = self.taken = 0
        self.lacks = True

    def close(self) -> None:
        self.closed += 1

    def lend(self) -> None:
        self.lent += 1

    def take_over(self) -> bool:
        self.taken += 1
        return self.lacks

    def stop_asking(self) -> bool:
        return True


def slow(x: Any) -> float:
    time.sleep(0.05)
    return float(x @ x)


def cubes(x: Any) -> float:
    time.sleep(0.05)
    return float((x**3).sum())


X = np.array([1.0, 2.0, 3.0])


def pids(result: distfd.DerivativeResult) -> set[int]:
    return {each.pid for each in result.evaluations if each.pid is not None}


# The registry


def test_all_slots_are_one_users_where_there_is_one() -> None:
    registry, holder = SlotRegistry(), Holder()
    registry.begin(holder, "a")
    assert registry.share(holder, 7) == 7


@pytest.mark.parametrize("n", [2, 3, 5, 8, 13])
@pytest.mark.parametrize("slots", [1, 2, 7, 16])
def test_users_share_all_slots_and_each_has_one_while_there_are_any(n: int, slots: int) -> None:
    registry, holders = SlotRegistry(), [Holder() for _ in range(n)]
    for holder in holders:
        registry.begin(holder, "a")
    shares = [registry.share(holder, slots) for holder in holders]
    assert sum(shares) == slots
    assert max(shares) - min(shares) <= 1
    if n > slots:
        assert sorted(shares, reverse=True) == shares, "the last to come wait in line"


def test_other_clusters_do_not_count() -> None:
    registry, one, other = SlotRegistry(), Holder(), Holder()
    registry.begin(one, "a")
    registry.begin(other, "b")
    assert registry.share(one, 4) == registry.share(other, 4) == 4


def test_who_rests_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, one, other = SlotRegistry(), Holder(), Holder()
    registry.begin(one, "a")
    registry.begin(other, "a")
    registry.rest(other)
    assert registry.share(one, 4) == 4
    with registry.driving(one):
        assert other.closed == 0, "it may begin its next wave in a moment"
    registry.make_room(one)
    assert other.closed == 1
    registry.make_room(other)
    assert one.closed == 0, "it is in a wave"


def test_a_wave_that_nobody_waits_for_lends_its_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, one, other = SlotRegistry(), Holder(), Holder()
    registry.begin(one, "a")
    registry.begin(other, "a")
    assert [registry.share(each, 4) for each in (one, other)] == [2, 2]
    monkeypatch.setattr("distfd.executors.ray.slot_registry._REST", 0.0)
    assert [registry.share(each, 4) for each in (one, other)] == [4, 4], "nobody waits for either"
    monkeypatch.undo()
    then = time.monotonic() + 3
    monkeypatch.setattr("distfd.executors.ray.slot_registry.time.monotonic", lambda: then)
    with registry.driving(one):
        assert [registry.share(each, 4) for each in (one, other)] == [4, 0]
    assert other.lent == 1


def test_what_nobody_has_is_left_for_whoever_has_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, one, other, parked = SlotRegistry(), Holder(), Holder(), Holder()
    registry.begin(one, "a")
    registry.begin(other, "a")
    registry.park(parked, "a", counts=False)
    assert registry.count(one) == 2
    one.lacks = False
    with registry.driving(one):
        assert (one.taken, parked.closed) == (1, 0)
    with registry.driving(other):
        assert (other.taken, parked.closed) == (1, 1), "it could not use it, and waits for the room"


def test_somebody_who_waits_wants_slots() -> None:
    registry, one, other = SlotRegistry(), Holder(), Holder()
    registry.begin(one, "a")
    assert not registry.shares(one)
    registry.begin(other, "b")
    assert not registry.shares(one), "of another cluster"
    registry.begin(other, "a")
    assert registry.shares(one)
    assert registry.wanted(one)
    registry.rest(other)
    assert registry.shares(one)
    assert not registry.wanted(one)


def test_a_wave_is_waited_for_however_long_one_wait_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, one, other = SlotRegistry(), Holder(), Holder()
    registry.begin(one, "a")
    registry.begin(other, "a")
    with registry.driving(one), registry.driving(other):
        then = time.monotonic() + 60
        monkeypatch.setattr("distfd.executors.ray.slot_registry.time.monotonic", lambda: then)
        assert [registry.share(each, 4) for each in (one, other)] == [2, 2]


# Sessions on Ray


def test_two_that_overlap_both_end(private_ray: None) -> None:
    with distfd.Evaluator(slow) as a, distfd.Evaluator(cubes) as b:
        first, second = a.begin(X), b.begin(X)
        np.testing.assert_allclose(first.result().derivative, 2 * X, rtol=1e-6)
        np.testing.assert_allclose(second.result().derivative, 3 * X**2, rtol=1e-6)
        third, fourth = b.begin(X + 1), a.begin(X + 1)
        np.testing.assert_allclose(fourth.result().derivative, 2 * (X + 1), rtol=1e-6)
        np.testing.assert_allclose(third.result().derivative, 3 * (X + 1) ** 2, rtol=1e-6)


@pytest.mark.usefixtures("_ray_ends")
def test_processes_go_from_one_to_the_other() -> None:
    """A slot that one has to give back is the other's, process and all."""
    import ray

    ray.shutdown()
    x = np.arange(1.0, 13.0)
    one, other = (distfd.RayExecutor(num_cpus=CPUS, address="local") for _ in range(2))
    with (
        distfd.Evaluator(slow, executor=one, check=False) as a,
        distfd.Evaluator(cubes, executor=other, check=False) as b,
    ):
        alone: set[int] = set()
        for k in range(100):
            alone |= pids(a.differentiate(x + k))
            if len(alone) == CPUS:
                break
        first, second = a.begin(x + 100), b.begin(x + 100)
        np.testing.assert_allclose(second.result().derivative, 3 * (x + 100) ** 2, rtol=1e-6)
        np.testing.assert_allclose(first.result().derivative, 2 * (x + 100), rtol=1e-6)
        assert pids(first.result()) | pids(second.result()) == alone
        time.sleep(1.2)  # b rests, and a has all of them again
        assert pids(a.differentiate(x + 101)) <= alone
        assert pids(b.differentiate(x + 101)) <= alone
    distfd.shutdown()


@pytest.mark.parametrize("kill", [False, True])
def test_a_slot_that_another_thread_has_lent_meanwhile(private_ray: None, kill: bool) -> None:
    """Whoever has not heard of it yet gives it work, or ends it, and neither is an error."""
    other: Any = Holder()
    chunk: Any = SimpleNamespace(id=7)
    with distfd.RayExecutor() as executor, distfd.Evaluator(slow, executor=executor) as a:
        a.gradient(np.arange(1.0, 9.0))
        slots = set(range(executor.slots))
        cluster, held = connection(), executor._slots
        assert cluster is not None
        assert held is not None
        _registry.begin(executor, cluster)
        _registry.begin(other, cluster)
        try:
            with _registry.driving(other):
                executor.lend()
                gone = min(slot for slot in slots if not held.has(slot))
                if kill:
                    executor.kill(gone)
                else:
                    executor.submit(gone, chunk)
                reports = executor.wait(0)
        finally:
            _registry.end(other)
        if kill:
            assert gone not in {report.slot for report in reports}
        else:
            done, lost = (report for report in reports if report.slot == gone)
            assert isinstance(done, ChunkDone)
            assert (done.chunk, len(done.batch)) == (7, 0)
            assert isinstance(lost, SlotLost)
        np.testing.assert_allclose(a.gradient(X), 2 * X, rtol=1e-6)


def test_more_sessions_than_slots_wait_in_line(private_ray: None) -> None:
    with contextlib.ExitStack() as open_:
        evaluators = [open_.enter_context(distfd.Evaluator(slow if k % 2 else cubes)) for k in range(5)]
        waves = [each.begin(X) for each in evaluators]
        for k in reversed(range(5)):
            np.testing.assert_allclose(waves[k].result().derivative, 2 * X if k % 2 else 3 * X**2, rtol=1e-6)


def test_threads_with_evaluators_of_their_own(private_ray: None) -> None:
    found: dict[int, Any] = {}

    def use(k: int) -> None:
        fun, expected = (slow, 2 * X) if k % 2 else (cubes, 3 * X**2)
        for _ in range(2):
            found[k] = np.allclose(distfd.gradient(fun, X), expected, rtol=1e-6)

    threads = [threading.Thread(target=use, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
        assert not thread.is_alive(), "it hangs"
    assert found == dict.fromkeys(range(4), True)


def test_a_wave_that_is_cancelled_after_the_caller_has_left_ray_starts_nothing(private_ray: None) -> None:
    import ray

    evaluator = distfd.Evaluator(slow)
    pending = evaluator.begin(X)
    ray.shutdown()
    pending.cancel()
    assert not ray.is_initialized()
    evaluator.close()
    assert not ray.is_initialized()


FORKS = """
    import multiprocessing, os, sys
    import distfd

    def cost(x):
        return float(x @ x)

    def child():
        try:
            distfd.gradient(cost, [1.0, 2.0])
        except distfd.InputError as error:
            print("refused:", "does not survive a fork" in str(error), flush=True)
        print(distfd.gradient(cost, [1.0, 2.0], executor="serial").round(3).tolist(), flush=True)

    if __name__ == "__main__":
        distfd.gradient(cost, [1.0, 2.0])
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(60)
        print("exit", process.exitcode, flush=True)
        pid = os.fork()
        if not pid:
            sys.exit(3)
        print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        print(distfd.gradient(cost, [3.0, 4.0]).round(3).tolist(), flush=True)
"""


@pytest.mark.slow
def test_a_forked_child_is_refused_or_serial_and_ends(tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(textwrap.dedent(FORKS))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}
    argv = [sys.executable, "-W", "ignore", "forks.py"]
    ran = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert ran.stdout.splitlines() == [
        "refused: True",
        "[2.0, 4.0]",
        "exit 0",
        "status 3",
        "[6.0, 8.0]",
    ], ran.stderr


CLOSES_IN_THE_CHILD = """
import gc, os, sys
import numpy as np
import distfd

data = np.full(1_000_000, 3.0)
executor = distfd.RayExecutor(max_slots=1)
evaluator = distfd.Evaluator(lambda x: float(x.sum() * data[0]), executor=executor)
evaluator.gradient(np.ones(2))
child = os.fork()
if not child:
    evaluator.close()
    del evaluator, executor
    gc.collect()
    os._exit(0)
os.waitpid(child, 0)
executor.kill(0)
print(evaluator.gradient(2 * np.ones(2)).round(4).tolist())
evaluator.close()
"""


def test_a_forked_child_that_closes_what_is_its_parents_changes_nothing_there() -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLOSES_IN_THE_CHILD],
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[3.0, 3.0]\n"


WAVES_IN_THE_CHILD = """
import os, sys, threading, time
import distfd

def slow(x):
    time.sleep(0.5)
    return float(x @ x)

if __name__ == "__main__":
    evaluator = distfd.Evaluator(slow, executor=distfd.RayExecutor(address="local", num_cpus=2, max_slots=2))
    evaluator.value([1.0, 1.0])
    pending = evaluator.begin([1.0, 2.0])
    for way in ("result", "again"):
        child = os.fork()
        if not child:
            try:
                evaluator.gradient([3.0, 4.0]) if way == "again" else pending.result()
            except distfd.InputError as error:
                print(way, "is refused:", "forked" in str(error), flush=True)
            os._exit(3)  # as multiprocessing's children end
        print(way, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    print(pending.result().derivative.round(3).tolist(), flush=True)
    evaluator.close()
"""


def test_a_forked_child_has_no_part_in_a_wave_of_its_parent(tmp_path: Path) -> None:
    (tmp_path / "waves.py").write_text(WAVES_IN_THE_CHILD)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}
    argv = [sys.executable, "-W", "ignore", "waves.py"]
    ran = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=400)
    assert ran.stdout.splitlines() == [
        "result is refused: True",
        "result 3",
        "again is refused: True",
        "again 3",
        "[2.0, 4.0]",
    ], ran.stderr
