"""Workers that stay from one call to the next: the same processes, never a stale J, and nothing left behind."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.core.errors import InputError
from distfd.executors.ray.executor import _warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

X = [1.0, 2.0]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _none_left(private_ray: None) -> Iterator[None]:
    _warm.end()
    yield
    _warm.end()
    assert len(_warm) == 0


def pids(fun: Callable[[Any], float], executor: distfd.RayExecutor, expected: Any = None, **options: Any) -> set[int]:
    """The processes that evaluated a gradient."""
    result = distfd.differentiate(fun, X, executor=executor, **options)
    if expected is not None:
        np.testing.assert_allclose(result.derivative, expected, rtol=1e-6)
    return {each.pid for each in result.evaluations}


def one(**options: Any) -> distfd.RayExecutor:
    return distfd.RayExecutor(max_slots=1, **options)


def square(x: Any) -> float:
    return float(x @ x)


def weighted(k: float, x: Any) -> float:
    return float(k * x.sum())


def test_the_second_call_is_by_the_same_processes() -> None:
    executor = one()
    assert pids(square, executor, [2.0, 4.0]) == pids(square, executor, [2.0, 4.0])
    assert len(_warm) == 1


def test_another_j_and_another_executor_like_it_find_them_too() -> None:
    first = pids(square, one(), [2.0, 4.0])
    assert pids(lambda x: 3.0 * square(x), one(), [6.0, 12.0]) == first
    for k in (1.0, 2.0, 3.0):
        assert pids(partial(weighted, k), one(), [k, k]) == first


def test_an_executor_that_is_unlike_ends_them() -> None:
    first = pids(square, one())
    second = pids(square, distfd.RayExecutor(max_slots=1, show_output=False))
    assert not first & second
    assert len(_warm) == 1
    assert not second & pids(square, one(), [2.0, 4.0])
    assert len(_warm) == 1


def test_a_callable_with_state_begins_anew() -> None:
    class Counts:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, x: Any) -> float:
            self.calls += 1
            return float(self.calls)

    fun, executor = Counts(), one()
    values = [distfd.differentiate(fun, X, executor=executor, deterministic=False).value for _ in range(3)]
    assert values == [1.0, 1.0, 1.0]


def test_a_redefined_function_and_a_global_that_has_changed() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    executor, seen = one(), set()
    for k in (1.0, 2.0, 3.0):
        exec(f"k = {k}\ndef J(x):\n    return k * float(x @ x) + {k}", space)
        seen |= pids(space["J"], executor, [2.0 * k, 4.0 * k])
        assert distfd.differentiate(space["J"], X, executor=executor).value == 6.0 * k
    assert len(seen) == 1


def test_a_module_that_j_imports_when_called_is_never_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "lazy_warm_module.py"

    def lazy(x: Any) -> float:
        module = importlib.import_module("lazy_warm_module")
        return float(module.K * x.sum())

    for k in (1.0, 2.0, 35.0):
        file.write_text(f"K = {k}\n")
        pids(lazy, one(), [k, k])


def test_an_edited_and_reloaded_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "edited_warm_module.py"
    file.write_text("def J(x):\n    return float(x.sum())\n")
    module = importlib.import_module("edited_warm_module")
    first = pids(module.J, one(), [1.0, 1.0])
    file.write_text("def J(x):\n    return 12.0 * float(x.sum())\n")
    importlib.reload(module)
    assert not first & pids(module.J, one(), [12.0, 12.0])


def test_the_environment_and_directory_of_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(x: Any) -> float:
        return float(os.environ.get("WARM_FACTOR", "1")) * (len(str(Path.cwd())) + 0.0) * float(x.sum())

    executor, seen = one(), set()
    for factor, folder in (("2", tmp_path), ("5", tmp_path.parent), (None, tmp_path)):
        monkeypatch.chdir(folder)
        monkeypatch.delenv("WARM_FACTOR", raising=False)
        if factor is not None:
            monkeypatch.setenv("WARM_FACTOR", factor)
        k = float(factor or 1) * len(str(folder))
        seen |= pids(reads, executor, [k, k])
    assert len(seen) == 1


class Sim:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def reset(self) -> None:
        pass

    def evaluate(self, x: Any) -> float:
        return self.factor * float(x.sum())


def test_a_simulators_process_is_not_handed_on() -> None:
    from distfd.objectives.simulator import SimulatorObjective

    executor = one()
    first = pids(SimulatorObjective(Sim, (2.0,)), executor, [2.0, 2.0])  # type: ignore[arg-type]  # any objective
    assert len(_warm) == 0
    second = pids(SimulatorObjective(Sim, (3.0,)), executor, [3.0, 3.0])  # type: ignore[arg-type]  # the same
    assert not (first | second) & pids(square, executor)
    assert len({*first, *second}) == 2


def test_a_crashed_worker_and_one_that_took_too_long_never_come_back() -> None:
    executor = one()

    def dies(x: Any) -> float:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0.0

    def sleeps(x: Any) -> float:
        time.sleep(60)
        return 0.0

    first = pids(square, executor, [2.0, 4.0])
    with pytest.raises(distfd.EvaluationError):
        distfd.gradient(dies, X, executor=executor, retries=0)
    second = pids(square, executor, [2.0, 4.0])
    assert not first & second
    with pytest.raises(distfd.EvaluationError):
        distfd.gradient(sleeps, X, executor=executor, timeout=0.2, retries=0)
    assert not second & pids(square, executor, [2.0, 4.0])


def test_one_that_dies_while_it_is_idle_is_no_ones_fault() -> None:
    executor = one()
    (pid,) = pids(square, executor)
    os.kill(pid, signal.SIGKILL)
    assert pid not in pids(square, executor, [2.0, 4.0], retries=0)


def test_one_in_which_j_has_left_a_program_or_a_thread_takes_no_other_j() -> None:
    executor = one()

    def starts(x: Any) -> float:
        subprocess.Popen(["sleep", "60"])
        return float(x.sum())

    def begins(x: Any) -> float:
        import threading

        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        return float(x.sum())

    first = pids(starts, executor)
    second = pids(begins, executor)
    third = pids(square, executor, [2.0, 4.0])
    assert len({*first, *second, *third}) == 3


def test_none_stays_where_none_is_to() -> None:
    pids(square, one(keep_idle=0))
    assert len(_warm) == 0


@pytest.mark.parametrize("needs", [{"num_gpus": 1}, {"custom": {"licence": 1}}, {"nodes": 2}])
def test_where_gpus_or_licences_are_asked_for_none_stays(needs: dict[str, Any]) -> None:
    from distfd.objectives.function import PythonObjective

    assert not one(**needs)._stays(PythonObjective(square))
    assert one()._stays(PythonObjective(square))


def test_they_end_after_an_idle_time() -> None:
    (pid,) = pids(square, one(keep_idle="0.3s"))
    _wait_until(lambda: len(_warm) == 0)
    _wait_until(partial(_dead, pid))


def test_they_end_with_the_block() -> None:
    with one() as executor:
        first = pids(square, executor)
        assert first == pids(square, executor)
        assert len(_warm) == 1
    assert len(_warm) == 0
    for pid in first:
        _wait_until(partial(_dead, pid))


def test_another_executor_and_a_task_of_the_callers_get_their_place() -> None:
    import ray

    everything = distfd.RayExecutor()
    pids(square, everything)
    assert len(_warm) > 0
    other = distfd.RayExecutor(num_cpus=None, show_output=False)
    pids(square, other, [2.0, 4.0])

    def own_pid() -> int:
        return os.getpid()

    task: Any = ray.remote(num_cpus=8)(own_pid)
    assert ray.get(task.remote(), timeout=60) > 0
    assert len(_warm) == 0


def test_a_cluster_that_the_caller_has_left() -> None:
    import ray

    executor = one()
    first = pids(square, executor)
    ray.shutdown()
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    assert not first & pids(square, executor, [2.0, 4.0])


@pytest.mark.parametrize("given", [-1, "soon", float("nan"), None, True])
def test_a_keep_idle_that_makes_no_sense(given: Any) -> None:
    with pytest.raises(InputError, match="keep_idle: must be"):
        distfd.RayExecutor(keep_idle=given)


ENDS = """
    import os, sys, time
    import distfd, ray

    def J(x):
        return float(x @ x)

    if __name__ == "__main__":
        r = distfd.differentiate(J, [1.0, 2.0], executor=distfd.RayExecutor(num_cpus=2))
        print(*{each.pid for each in r.evaluations}, flush=True)
        if sys.argv[1] == "shutdown":
            distfd.shutdown()
            print(ray.is_initialized(), flush=True)
            distfd.shutdown()
            print(distfd.gradient(J, [1.0, 2.0]).round(3).tolist(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["exit", "shutdown"])
def test_no_process_is_left(tmp_path: Path, how: str) -> None:
    (tmp_path / "ends.py").write_text(textwrap.dedent(ENDS))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}
    argv = [sys.executable, "-W", "ignore", "ends.py", how]
    ran = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=240)
    first, *rest = ran.stdout.splitlines()
    assert rest == (["False", "[2.0, 4.0]"] if how == "shutdown" else []), ran.stderr
    assert ran.returncode == 0
    for pid in map(int, first.split()):
        _wait_until(partial(_dead, pid))


def _dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


def _wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.05)
