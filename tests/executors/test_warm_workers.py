"""Workers that stay from one call to the next: the same processes, never a stale J, and nothing left behind."""

from __future__ import annotations

import importlib
import importlib.util
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
from waiting import await_that, running

import distfd
from distfd.core.errors import InputError
from distfd.executors.ray.executor import _registry, _warm
from distfd.executors.ray.nodes import _runs
from distfd.executors.ray.warm_workers import WarmWorkers

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
    try:
        await_that("all CPUs are free", _all_is_free)
    except AssertionError:
        pytest.fail(f"a CPU is held, with these actors alive: {_alive()}")


def _alive() -> list[str]:
    from ray._private.state import actors

    return [f"{each['ActorID']} {each['State']}" for each in actors().values() if each["State"] != "DEAD"]


def _all_is_free() -> bool:
    """Whether nothing holds a CPU of the cluster that this process is connected to."""
    import ray

    if not ray.is_initialized():
        return True
    free = ray.available_resources().get("CPU", 0.0)  # type: ignore[no-untyped-call]  # Ray lacks types
    return bool(free >= ray.cluster_resources().get("CPU", 0.0))  # type: ignore[no-untyped-call]


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


@pytest.mark.filterwarnings("ignore:rounding hides:distfd.DerivativeWarning")  # it counts, in whole numbers
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
    for k in map(float, range(1, 51)):
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

    # "" on the path would be another place in each directory, and its modules perhaps others.
    places = [path for path in sys.path if Path(path).is_absolute()]
    monkeypatch.setattr(sys, "path", [*places, "__editable__.some_package-1.0.finder.__path_hook__"])
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
    first = pids(SimulatorObjective(Sim, (2.0,)), executor, [2.0, 2.0])
    assert len(_warm) == 0
    second = pids(SimulatorObjective(Sim, (3.0,)), executor, [3.0, 3.0])
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


def test_one_that_has_been_killed_is_given_nothing_even_before_the_kernel_has_ended_it() -> None:
    for _ in range(30):
        with subprocess.Popen(["sleep", "60"]) as process:
            was_there = _runs(process.pid)
            process.kill()
            assert (was_there, _runs(process.pid)) == (True, False)


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

    assert not one(**needs)._hands_on.suits(PythonObjective(square))
    assert one()._hands_on.suits(PythonObjective(square))


def test_they_end_after_an_idle_time() -> None:
    (pid,) = pids(square, one(keep_idle="0.3s"))
    await_that("none is parked", lambda: len(_warm) == 0)
    await_that("it is dead", lambda: not running(pid))


def test_they_end_with_the_block() -> None:
    with one() as executor:
        first = pids(square, executor)
        assert first == pids(square, executor)
        assert len(_warm) == 1
    assert len(_warm) == 0
    await_that("all are dead", lambda: not any(map(running, first)))


def test_another_executor_and_a_task_of_the_callers_get_their_place() -> None:
    import ray

    everything = distfd.RayExecutor()
    pids(square, everything)
    assert len(_warm) > 0
    other = distfd.RayExecutor(num_cpus=None, show_output=False)
    pids(square, other, [2.0, 4.0])

    def own_pid() -> int:
        return os.getpid()

    task: Any = ray.remote(num_cpus=4)(own_pid)
    assert ray.get(task.remote(), timeout=300) > 0
    assert len(_warm) == 0


def test_a_cluster_that_the_caller_has_left() -> None:
    import ray

    executor = one()
    first = pids(square, executor)
    ray.shutdown()
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    assert not first & pids(square, executor, [2.0, 4.0])


def test_a_class_of_a_notebook_keeps_nothing_that_j_has_stored_in_it() -> None:
    class Model:
        factor = 1.0

    def stores(x: Any) -> float:
        if not hasattr(Model, "kept"):
            Model.kept = Model.factor  # type: ignore[attr-defined]  # as a notebook does
        return float(Model.kept * x.sum())  # type: ignore[attr-defined]

    executor, seen = one(), set()
    for factor in (1.0, 2.0, 5.0):
        Model.factor = factor
        seen |= pids(stores, executor, [factor, factor])
    assert len(seen) == 1


def test_a_cache_in_a_module_is_filled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    data = tmp_path / "data.txt"
    (tmp_path / "cached_warm_module.py").write_text(
        "import functools\n@functools.lru_cache\ndef load(path):\n    return float(open(path).read())\n"
        "class Table:\n    @staticmethod\n    @functools.cache\n    def load(path):\n        return load(path)\n"
        "def J(path, x):\n    return load(path) * Table.load(path) * float(x.sum())\n"
    )
    module = importlib.import_module("cached_warm_module")
    executor, seen = one(), set()
    for k in (1.0, 2.0, 3.0):
        data.write_text(str(k))
        seen |= pids(partial(module.J, str(data)), executor, [k * k, k * k])
    assert len(seen) == 1


def test_what_j_stores_in_a_module_that_it_imports_when_called_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "storing_warm_module.py").write_text("kept = {}\n")

    def stores(k: float, x: Any) -> float:
        module = importlib.import_module("storing_warm_module")
        return float(module.kept.setdefault("k", k) * x.sum())

    executor = one()
    for k in (1.0, 2.0):
        pids(partial(stores, k), executor, [k, k])


def test_what_j_stores_in_a_module_of_the_drivers_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "kept = {}\ncalls = 0\ndef J(k, x):\n    global calls\n    calls += 1\n"
    text += "    return kept.setdefault('k', k) * float(x.sum()) + 0 * calls\n"
    (tmp_path / "keeping_warm_module.py").write_text(text)
    module = importlib.import_module("keeping_warm_module")
    executor = one()
    for k in (1.0, 2.0, 3.0):
        pids(partial(module.J, k), executor, [k, k])


def test_a_cache_that_no_name_of_a_module_leads_to_is_emptied_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    data = tmp_path / "data.txt"
    (tmp_path / "wrapped_warm_module.py").write_text(
        "import functools\ndef logged(fun):\n    @functools.wraps(fun)\n    def call(*args):\n"
        "        return fun(*args)\n    return call\n"
        "@logged\n@functools.lru_cache\ndef load(path):\n    return float(open(path).read())\n"
        "loaders = {'k': functools.cache(lambda path: float(open(path).read()))}\n"
        "def J(path, x):\n    return load(path) * loaders['k'](path) * float(x.sum())\n"
    )
    module = importlib.import_module("wrapped_warm_module")
    executor = one()
    for k in (1.0, 2.0, 3.0):
        data.write_text(str(k))
        pids(partial(module.J, str(data)), executor, [k * k, k * k])


def test_what_j_stores_in_a_module_that_its_code_does_not_name_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has imported the module too, and nobody compares it, as it is found by importlib."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "unnamed_warm_module.py").write_text("kept = {}\n")
    importlib.import_module("unnamed_warm_module")

    def stores(k: float, x: Any) -> float:
        module = importlib.import_module("unnamed_" + "warm_module")
        return float(module.kept.setdefault("k", k) * x.sum())

    executor = one()
    for k in (1.0, 2.0, 3.0):
        pids(partial(stores, k), executor, [k, k])


def test_modules_are_found_where_the_driver_finds_them_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook, whose sys.path has "": it means another directory after a change of directory."""
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    for k in (1.0, 2.0):
        (tmp_path / str(k)).mkdir()
        (tmp_path / str(k) / "placed_warm_module.py").write_text(f"k = {k}\n")

    def fun(x: Any) -> float:
        return float(importlib.import_module("placed_" + "warm_module").k * x.sum())

    executor = one()
    for k in (1.0, 2.0):
        monkeypatch.chdir(tmp_path / str(k))
        pids(square, executor, [2.0, 4.0])
        monkeypatch.chdir(tmp_path / str(k))
        pids(fun, executor, [k, k])


def test_what_j_puts_on_the_path_is_gone(tmp_path: Path) -> None:
    (tmp_path / "hidden_warm_module.py").write_text("k = 3.0\n")

    def puts(x: Any) -> float:
        if str(tmp_path) not in sys.path:
            sys.path.insert(0, str(tmp_path))
        return float(x.sum())

    def finds(x: Any) -> float:
        return float(x.sum()) * (1 + (importlib.util.find_spec("hidden_warm_module") is not None))

    executor = one()
    pids(puts, executor, [1.0, 1.0])
    pids(finds, executor, [1.0, 1.0])


def test_points_of_all_calls_count_where_processes_are_to_be_replaced() -> None:
    executor = one()
    seen = [pids(square, executor, [2.0, 4.0], recycle={"evaluations": 4}) for _ in range(3)]
    assert len(set().union(*seen)) >= 2


def test_settings_of_the_process_that_j_has_changed_are_put_back() -> None:
    import decimal

    def changes(x: Any) -> float:
        decimal.getcontext().prec = 3
        np.seterr(all="ignore")
        os.environ["WARM_LEFT"] = "7"
        os.chdir("/")
        return float(x.sum())

    def reads(x: Any) -> float:
        seen = (decimal.getcontext().prec, np.geterr()["divide"], os.environ.get("WARM_LEFT"), str(Path.cwd()))
        return float(x.sum()) * (1.0 if seen == wanted else 100.0)

    wanted = (decimal.getcontext().prec, np.geterr()["divide"], None, str(Path.cwd()))
    executor = one()
    pids(changes, executor, [1.0, 1.0])
    pids(reads, executor, [1.0, 1.0])


def test_an_evaluator_between_two_waves_leaves_its_workers_to_a_call_and_takes_them_back() -> None:
    with distfd.Evaluator(square, executor=one(), store=None) as evaluator:
        first = {each.pid for each in evaluator.differentiate(X).evaluations}
        assert first == pids(lambda x: 3.0 * square(x), one(), [6.0, 12.0])
        again = evaluator.differentiate([3.0, 5.0])
        np.testing.assert_allclose(again.derivative, [6.0, 10.0], rtol=1e-6)
        assert {each.pid for each in again.evaluations} == first


def test_calls_in_two_threads_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def call(k: float) -> list[list[float]]:
        return [distfd.gradient(partial(weighted, k + n), X, executor=one()).tolist() for n in range(3)]

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(call, (10.0, 20.0)))
    for k, gradients in zip((10.0, 20.0), found, strict=True):
        np.testing.assert_allclose(gradients, [[k + n, k + n] for n in range(3)], rtol=1e-6)


def test_a_child_that_is_forked_leaves_them_alone() -> None:
    executor = one()
    first = pids(square, executor)
    child = os.fork()
    if not child:
        code = 1
        try:
            distfd.shutdown()
            _warm.end()
            with executor:
                code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(_warm) == 1
    assert pids(square, executor, [2.0, 4.0]) == first


def test_what_is_in_a_closure_is_let_go_of() -> None:
    big = np.ones(4_000_000)
    pids(lambda x: float(big[0] * x.sum()), one(), [1.0, 1.0])
    (parked,) = _warm._parked
    assert parked.slots._make._shared is None
    assert len(parked.slots._make._pickled.pickled.payload) == 0


def test_that_they_stay_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    fresh = WarmWorkers(_registry)
    with caplog.at_level("INFO", "distfd"):
        fresh._tell(4, 30.0)
        fresh._tell(4, 30.0)
    (told,) = caplog.messages
    assert told.startswith("distfd keeps 4 idle workers for the next call, for 30 s. distfd.shutdown() ends them")


@pytest.mark.parametrize("serial", [False, True])
def test_an_executor_is_a_block(serial: bool) -> None:
    with distfd.SerialExecutor() if serial else one() as executor:
        np.testing.assert_allclose(distfd.gradient(square, X, executor=executor), [2.0, 4.0], rtol=1e-6)
    assert executor.slots == int(serial)


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
        if sys.argv[1] == "own":
            distfd.shutdown()
            ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
            print(distfd.gradient(lambda x: 2 * J(x), [1.0, 2.0]).round(3).tolist(), flush=True)
            distfd.shutdown()
            print(ray.is_initialized(), flush=True)
            ray.shutdown()
            time.sleep(2.0)  # the thread that ends idle workers finds that they are gone
        if sys.argv[1] == "error":
            raise SystemExit(3)
        if sys.argv[1] == "thread":
            import threading
            threading.Thread(target=lambda: (time.sleep(1.0), distfd.gradient(J, [1.0, 2.0])), daemon=True).start()
"""
_SAYS = {"shutdown": ["False", "[2.0, 4.0]"], "own": ["[4.0, 8.0]", "True"]}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["exit", "shutdown", "own", "error", "thread"])
def test_no_process_is_left(tmp_path: Path, how: str) -> None:
    (tmp_path / "ends.py").write_text(textwrap.dedent(ENDS))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}
    argv = [sys.executable, "-W", "ignore", "ends.py", how]
    ran = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=240)
    first, *rest = ran.stdout.splitlines()
    assert rest == _SAYS.get(how, []), ran.stderr
    assert ran.returncode == (3 if how == "error" else 0), ran.stderr
    await_that("all are dead", lambda: not any(map(running, map(int, first.split()))))


JOINS = """
    import sys
    import distfd

    def J(x):
        return float(x @ x)

    for _ in sys.stdin:
        r = distfd.differentiate(J, [1.0, 2.0], executor=distfd.RayExecutor(address=sys.argv[1], keep_idle="1h"))
        print(*{each.pid for each in r.evaluations}, *r.derivative.round(3), flush=True)
"""


@pytest.mark.slow
def test_on_a_cluster_that_was_joined_they_make_room_for_another_driver(tmp_path: Path, ray_address: str) -> None:
    (tmp_path / "joins.py").write_text(textwrap.dedent(JOINS))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}
    argv = [sys.executable, "-W", "ignore", "joins.py", ray_address]
    start = partial(subprocess.Popen, argv, cwd=tmp_path, env=env, text=True)
    with (
        start(stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one_driver,
        start(stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
    ):
        said = []
        for driver in (one_driver, one_driver, other, one_driver, other):
            assert driver.stdin is not None
            assert driver.stdout is not None
            driver.stdin.write("go\n")
            driver.stdin.flush()
            *workers, first, second = driver.stdout.readline().split()
            assert (first, second) == ("2.0", "4.0")
            said.append(workers)
        last = [driver.communicate(timeout=120)[0] for driver in (one_driver, other)]
    assert last == ["", ""]
    assert (one_driver.returncode, other.returncode) == (0, 0)
    pids_said = {int(each) for workers in said for each in workers}
    await_that("all are dead", lambda: not any(map(running, pids_said)))


def test_workers_that_are_still_starting_stay_too() -> None:
    everything = distfd.RayExecutor()
    kept: list[set[Any]] = []
    for _ in range(3):  # the first call ends when the first workers are up
        pids(square, everything, [2.0, 4.0], deterministic=False)  # or the loser of two copies of a point ends
        kept.append({actor._actor_id for parked in _warm._parked for actor in parked.slots._actors.values()})
    assert len(kept[0]) > 1
    assert len(kept[0] & kept[1] & kept[2]) > len(kept[0]) / 2, "one that is slow to answer may be ended"


def test_a_run_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distfd.config.load import load_config
    from distfd.jobs.run import Job

    monkeypatch.chdir(tmp_path)
    (tmp_path / "run_warm_module.py").write_text("def J(x):\n    return float(x @ x)\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        "objective: {python: 'run_warm_module:J'}\nx0: [1.0, 2.0]\noutput: run\n"
        "cluster: {max_slots: 1, keep_idle: 1h}\n"
    )
    result = Job(load_config(config), lambda _: None, lambda _: None).run()
    np.testing.assert_allclose(result["derivative"], [2.0, 4.0], rtol=1e-6)
    assert len(_warm) == 0


def test_through_rays_client_none_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from distfd.executors.ray import warm_workers

    monkeypatch.setattr(warm_workers, "sees_who_waits", lambda: False)
    pids(square, one(), [2.0, 4.0])
    assert len(_warm) == 0


def test_members_that_j_has_changed_and_those_that_are_another_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType

    from distfd.executors.ray.module_state import Amendment, MembersBefore
    from distfd.fingerprint.members import digests
    from distfd.fingerprint.reads import Member

    class Another:
        made = 0

        def __reduce__(self) -> Any:
            Another.made += 1
            return float, (Another.made,)

    module = ModuleType("members_warm_module")
    module.kept, module.clock = {"k": [1.0]}, Another()  # type: ignore[attr-defined]  # made here
    monkeypatch.setitem(sys.modules, module.__name__, module)
    kept, clock = Member(module.__name__, "kept"), Member(module.__name__, "clock")
    expected = digests({kept: module.kept, clock: module.clock})
    before = MembersBefore(expected, Amendment(left=frozenset({clock})))
    assert not before.changed
    module.kept["k"].append(2.0)
    assert before.changed
    del module.kept
    assert before.changed
