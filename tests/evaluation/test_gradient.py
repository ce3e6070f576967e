"""The main job end to end: the gradient, on every executor, the same bits and the counted evaluations."""

from __future__ import annotations

import gc
import logging
import math
import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.objectives.function import PythonObjective

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SCHEMES = {"forward": 1, "backward": 1, "forward2": 2, "backward2": 2, "central": 2, "central4": 4}
X = np.array([1.0, -2.0, 0.0, 3.5, 1e-9, -40.0, 0.3])
V = np.array([0.3, 1.0, -2.0, 0.0, 0.7, 1e-3, 5.0])

KINDS: dict[str, tuple[int, Any, dict[str, Any]]] = {
    **{scheme: (1 + nodes * 7, scheme, {}) for scheme, nodes in SCHEMES.items()},
    "complex step": (9, "complex-step", {}),
    "jacobian": (15, "central", {"kind": "jacobian"}),
    "sparse": (8, "forward", {"kind": "jacobian", "sparsity": np.ones((1, 7))}),
    "probed": (8 + 8 + 8, "forward", {"kind": "jacobian", "sparsity": "probe"}),
    "hessian": (1 + 7 * 7 + 7, "forward", {"kind": "hessian"}),
    "hvp": (1 + 4 * 7, "forward", {"kind": "hvp", "v": V}),
    "jvp": (3, "central", {"kind": "jvp", "v": V}),
    "directional": (9, "central4", {"kind": "directional", "directions": [V, X]}),
    "complex directional": (4, "complex-step", {"kind": "directional", "directions": [V, X]}),
}
"""Evaluations, scheme, and what is asked for beside x."""


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One private Ray for this module, of more slots than cores: evaluations here sleep or are short."""
    import ray

    ray.shutdown()
    ray.init(address="local", num_cpus=8, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    yield
    ray.shutdown()


class Counting:
    """A J that leaves a line in a file for every call: calls are counted outside the processes that make them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, x: NDArray[Any]) -> Any:
        with self.path.open("a") as file:
            file.write(x.tobytes().hex() + "\n")
        return np.sin(x) @ np.cos(x) + np.exp(-((x - 1) @ (x - 1)) / 50) + x[0] * x[3]

    @property
    def calls(self) -> Counter[str]:
        return Counter(self.path.read_text().split()) if self.path.exists() else Counter()


def test_same_bits_and_counted_evaluations_on_every_executor(tmp_path: Path) -> None:
    """Serial, and Ray with 1, 2 and 4 slots; every scheme and kind."""
    found: dict[str, set[tuple[Any, ...]]] = {name: set() for name in KINDS}
    executors: list[Any] = [distfd.SerialExecutor(), *(distfd.RayExecutor(max_slots=n) for n in (1, 2, 4))]
    for k, executor in enumerate(executors):
        fun = Counting(tmp_path / f"calls{k}")
        objective = PythonObjective(fun)  # the same for all schemes, so that the workers stay
        for name, (expected, scheme, particulars) in KINDS.items():
            fun.path.unlink(missing_ok=True)
            check = None if scheme == "complex-step" else False  # nothing that depends on the slots
            evaluator = distfd.Evaluator(objective, scheme=scheme, executor=executor, deterministic=False, check=check)
            result = evaluator.differentiate(X, **particulars)
            assert result.n_evaluations == len(result.evaluations) == expected
            assert sum(fun.calls.values()) == len(fun.calls) == expected, "each point once, and no other"
            derivative: Any = result.derivative
            numbers = derivative.toarray() if "sparsity" in particulars else derivative
            found[name].add((numbers.tobytes(), np.asarray(result.value).tobytes(), result.step.tobytes()))
        executor.close()
    assert all(len(bits) == 1 for bits in found.values())


def test_forward_difference_is_the_source_formula_bit_for_bit(tmp_path: Path) -> None:
    fun = Counting(tmp_path / "calls")
    gradient = distfd.gradient(fun, X, executor=distfd.RayExecutor(max_slots=2))
    for k in range(len(X)):
        h = math.sqrt(np.finfo(float).eps) * (1 if X[k] >= 0 else -1) * max(1, abs(X[k]))
        moved = X.copy()
        moved[k] += h
        assert gradient[k] == (fun(moved) - fun(X)) / (moved[k] - X[k])


@pytest.mark.filterwarnings("ignore:J did not change:distfd.DerivativeWarning")  # nor does it, at such an x
def test_a_warm_gradient_takes_one_round() -> None:
    """With as many slots as points all evaluations overlap: the last begins before the first ends."""

    def sleeper(x: NDArray[np.float64]) -> float:
        time.sleep(0.5)
        return float(x @ x)

    with distfd.Evaluator(sleeper, executor=distfd.RayExecutor(max_slots=8), deterministic=False) as evaluator:
        evaluator.start(wait=True)
        evaluator.map(np.arange(64.0).reshape(16, 4) * 100)
        evaluations = evaluator.differentiate(np.arange(7.0)).evaluations
    assert len(evaluations) == 8
    assert len({e.slot for e in evaluations}) == 8
    assert max(e.started for e in evaluations) < min(e.ended for e in evaluations)


def test_a_cold_gradient_shares_the_wave_with_its_baseline(tmp_path: Path) -> None:
    """The perturbed points do not wait for the baseline even when no time is known."""

    def waits_for_another(x: NDArray[np.float64]) -> float:
        (tmp_path / str(os.getpid())).touch()
        end = time.monotonic() + 120  # a process may be long in coming
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        return float(x @ x)

    evaluations = distfd.differentiate(
        waits_for_another, np.arange(1.0, 3.0), executor=distfd.RayExecutor(max_slots=3)
    ).evaluations
    baseline = next(e for e in evaluations if not e.changes)
    assert any(e.started < baseline.ended for e in evaluations if e.changes)


def test_value_and_gradient_share_the_baseline(tmp_path: Path) -> None:
    fun = Counting(tmp_path / "calls")
    with distfd.Evaluator(fun, executor=distfd.RayExecutor(max_slots=2), check=False) as evaluator:
        value = evaluator.value(X)
        assert evaluator.gradient(X).shape == X.shape
        assert evaluator.value_and_gradient(X)[0] == value
    assert sum(fun.calls.values()) == 1 + len(X)


def test_two_calls_share_nothing(tmp_path: Path) -> None:
    fun = Counting(tmp_path / "calls")
    distfd.gradient(fun, X, executor="serial")
    distfd.gradient(fun, X, executor="serial")
    assert sum(fun.calls.values()) == 2 * (1 + len(X))


def test_a_store_is_shared_by_sessions(tmp_path: Path) -> None:
    fun = Counting(tmp_path / "calls")
    first = distfd.differentiate(fun, X, executor="serial", store=tmp_path / "run.sqlite")
    again = distfd.differentiate(fun, X, executor="serial", store=tmp_path / "run.sqlite")
    assert (again.n_evaluations, again.n_reused) == (0, 1 + len(X))
    assert again.derivative.tobytes() == first.derivative.tobytes()
    central = distfd.differentiate(
        fun,
        X,
        executor="serial",
        store=tmp_path / "run.sqlite",
        scheme="central",
        step=distfd.AbsoluteStep(first.step) if np.all(first.step > 0) else None,
    )
    assert central.n_reused >= 1, "another scheme has at least the baseline in common"


@pytest.mark.filterwarnings("ignore:J did not change:distfd.DerivativeWarning")  # nor does it, at such an x
def test_another_objective_in_the_same_store_gets_its_own_values(tmp_path: Path) -> None:
    store = tmp_path / "run.sqlite"

    def scaled(factor: float) -> Callable[[NDArray[np.float64]], float]:
        return lambda x: factor * float(x @ x)

    one = distfd.gradient(scaled(1.0), X, executor="serial", store=store)
    two = distfd.gradient(scaled(2.0), X, executor="serial", store=store)
    np.testing.assert_array_equal(two, 2 * one)


def test_bounds_are_kept_and_equal_ones_cost_nothing(tmp_path: Path) -> None:
    fun = Counting(tmp_path / "calls")
    bounds = [(x, x) if k == 2 else (x - 1, x) for k, x in enumerate(X)]
    result = distfd.differentiate(fun, X, bounds=bounds, executor="serial", scheme="central")
    points = [np.frombuffer(bytes.fromhex(line)) for line in fun.calls]
    for low, high in (np.array(bounds).T,):
        assert all(np.all((p >= low) & (p <= high)) for p in points)
    assert result.derivative[2] == 0
    assert result.step[2] == 0
    assert result.n_evaluations == 1 + 2 * (len(X) - 1)


def test_jacobian() -> None:
    def fun(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([x[0] * x[1], np.sin(x[1]), x[0] ** 2])

    found = distfd.jacobian(fun, [2.0, 0.5], scheme="central", executor=distfd.RayExecutor(max_slots=2))
    np.testing.assert_allclose(found, [[0.5, 2.0], [0.0, math.cos(0.5)], [4.0, 0.0]], atol=1e-9)


def test_arguments_reach_the_function() -> None:
    def fun(x: NDArray[np.float64], a: float, *, b: float) -> float:
        return float(a * x[0] + b * x[1])

    found = distfd.gradient(fun, [1.0, 1.0], args=(3.0,), kwargs={"b": 4.0}, executor="serial")
    np.testing.assert_allclose(found, [3.0, 4.0], rtol=1e-7)


def test_values_of_points() -> None:
    with distfd.Evaluator(lambda x: x[0] - x[1], executor=distfd.RayExecutor(max_slots=2)) as evaluator:
        np.testing.assert_array_equal(evaluator.map([[1, 2], [5, 3], [0, 0]]), [-1, 2, 0])
        assert evaluator.map([]).shape == (0,)


@pytest.mark.slow
def test_ray_shut_down_and_started_again_between_calls() -> None:
    import ray

    fun = np.linalg.norm
    with distfd.Evaluator(fun, executor=distfd.RayExecutor(max_slots=2)) as evaluator:
        first = evaluator.gradient([3.0, 4.0])
        ray.shutdown()
        ray.init(address="local", num_cpus=8, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        second = evaluator.gradient([3.0, 4.0 + 1e-3])
    np.testing.assert_allclose(first, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(second, [0.6, 0.8], rtol=1e-3)
    assert ray.is_initialized(), "the caller's Ray is left running"


def crash_at_one(x: NDArray[np.float64]) -> float:
    if x[1] != 2.0:
        os._exit(7)
    return float(x.sum())


def hang_at_one(x: NDArray[np.float64]) -> float:
    if x[1] != 2.0:
        time.sleep(600)
    return float(x.sum())


def raise_at_one(x: NDArray[np.float64]) -> float:
    if x[1] != 2.0:
        raise ValueError("negative width")
    return float(x.sum())


def nan_at_one(x: NDArray[np.float64]) -> float:
    return math.nan if x[1] != 2.0 else float(x.sum())


FAULTS = {
    crash_at_one: (distfd.Status.CRASH, "worker process died", 3),
    hang_at_one: (distfd.Status.TIMEOUT, "timeout", 1),
    raise_at_one: (distfd.Status.ERROR, "ValueError: negative width", 1),
    nan_at_one: (distfd.Status.ERROR, "returned nan", 1),
}


_ELSEWHERE_TOO = (crash_at_one, hang_at_one)
"""What workers that die and hang come to is in tests/contract and tests/faults as well."""


@pytest.mark.parametrize(
    "fun",
    [pytest.param(fun, id=fun.__name__, marks=pytest.mark.slow if fun in _ELSEWHERE_TOO else ()) for fun in FAULTS],
)
def test_a_failed_component_is_named_and_the_others_are_kept(fun: Callable[..., float]) -> None:
    status, text, attempts = FAULTS[fun]
    names = ["mass", "width", "depth"]
    options: dict[str, Any] = {"names": names, "timeout": 2.0, "executor": distfd.RayExecutor(max_slots=2)}
    with pytest.raises(distfd.EvaluationError, match=r"coordinate 1 \('width'\)") as caught:
        distfd.gradient(fun, [1.0, 2.0, 3.0], **options)
    assert text in str(caught.value)
    record = caught.value.evaluation
    assert record is not None
    assert (record.status, record.attempt) == (status, attempts)
    if fun is raise_at_one:
        assert isinstance(caught.value.__cause__, ValueError)
    result = distfd.differentiate(fun, [1.0, 2.0, 3.0], on_failure="nan", **options)
    assert result.missing.tolist() == [1]
    assert np.isnan(result.derivative[1])
    np.testing.assert_allclose(result.derivative[[0, 2]], 1.0, rtol=1e-6)
    assert result.n_failed == 1
    assert result.n_retried == attempts - 1


@pytest.mark.parametrize("on_failure", ["raise", "nan", "repair"])
def test_a_failed_baseline_ends_the_wave(on_failure: Any, tmp_path: Path) -> None:
    counting = Counting(tmp_path / "calls")

    def fun(x: NDArray[np.float64]) -> float:
        counting(x)
        raise ArithmeticError("no solution")

    with pytest.raises(distfd.EvaluationError, match=r"x itself \(the baseline\)"):
        distfd.gradient(fun, np.arange(50.0), executor=distfd.RayExecutor(max_slots=2), on_failure=on_failure)
    assert sum(counting.calls.values()) < 51


def test_an_infeasible_evaluation_is_refused_at_once() -> None:
    with pytest.raises(distfd.ClusterError, match="needs 1000 CPU"):
        distfd.gradient(np.sum, [1.0], executor=distfd.RayExecutor(resources={"num_cpus": 1000}))


def test_nothing_answers_at_a_dead_address() -> None:
    import ray

    ray.shutdown()
    with pytest.raises(distfd.ClusterError, match=r"nothing answers.*start a cluster there"):
        distfd.gradient(np.sum, [1.0], executor=distfd.RayExecutor(address="127.0.0.1:1"))
    ray.init(address="local", num_cpus=8, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "fowrard"}, "there is no 'fowrard'"),
        ({"step": -1e-3}, "must be finite and > 0"),
        ({"step": [1e-3, 1e-3]}, "one for each coordinate"),
        ({"bounds": [(0, 1)]}, "bounds"),
        ({"bounds": [(2, 3)] * 3}, "outside its bounds"),
        ({"executor": "dask"}, "there is no 'dask'"),
        ({"on_failure": "ignore"}, "on_failure"),
        ({"retries": {"oops": 1}}, "there is no cause 'oops'"),
        ({"timeout": 0}, "timeout"),
        ({"names": ["a", "b"]}, "2 for 3 coordinates"),
        ({"step": distfd.AbsoluteStep(1e-30)}, "coordinate 0"),
    ],
)
def test_bad_options_cost_no_evaluation(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    fun = Counting(tmp_path / "calls")
    with pytest.raises(distfd.InputError, match=message):
        distfd.gradient(fun, [1.0, 1.0, 1.0], **{"executor": "serial", **options})
    assert not fun.calls


@pytest.mark.filterwarnings("ignore:J did not change:distfd.DerivativeWarning")  # nor does it, at such an x
def test_a_difference_past_floating_point_is_no_derivative() -> None:
    def cliff(x: NDArray[np.float64]) -> float:
        return 1e308 if x[1] > 0 else -1e308

    with pytest.raises(distfd.EvaluationError, match="coordinate 1 is too large for floating point"):
        distfd.gradient(cliff, [1.0, 0.0], executor="serial")
    assert distfd.differentiate(cliff, [1.0, 0.0], executor="serial", on_failure="nan").missing.tolist() == [1]


@pytest.mark.parametrize("x0", [[], [[1.0]], [math.nan], [math.inf], ["a"], [1j], None])
def test_bad_points(x0: Any) -> None:
    with pytest.raises(distfd.InputError, match="x0"):
        distfd.gradient(np.sum, x0, executor="serial")


def test_two_evaluators_in_turn_share_the_machine() -> None:
    """The idle slots of the first would keep the CPUs that the second waits for."""
    with distfd.Evaluator(np.sum, executor=distfd.RayExecutor(resources={"num_cpus": 8})) as one:
        two = distfd.Evaluator(np.linalg.norm, executor=distfd.RayExecutor(resources={"num_cpus": 8}))
        with two:
            for x in ([3.0, 4.0], [6.0, 8.0]):
                np.testing.assert_allclose(one.gradient(x), [1.0, 1.0], rtol=1e-6)
                np.testing.assert_allclose(two.gradient(x), [0.6, 0.8], rtol=1e-6)


def test_an_evaluator_inside_an_evaluation_is_refused() -> None:
    def nested(x: NDArray[np.float64]) -> float:
        return float(distfd.gradient(np.sum, x)[0])

    with pytest.raises(distfd.EvaluationError, match="executor='serial'"):
        distfd.gradient(nested, [1.0, 2.0], executor=distfd.RayExecutor(max_slots=1))


def test_threads_take_turns_on_one_evaluator() -> None:
    found: list[NDArray[np.float64]] = []
    with distfd.Evaluator(np.linalg.norm, executor=distfd.RayExecutor(max_slots=2)) as evaluator:
        threads = [
            threading.Thread(target=lambda k=k: found.append(evaluator.gradient([3.0 + k, 4.0]))) for k in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(found) == 4


def test_an_observer_that_calls_back_is_refused() -> None:
    def meddler(event: object) -> None:
        evaluator.value([1.0])

    evaluator = distfd.Evaluator(np.sum, executor="serial", observers=[meddler])
    with pytest.raises(distfd.InputError, match="evaluating already"):
        evaluator.gradient([1.0])


def test_another_cluster_beside_the_connected_one_is_refused() -> None:
    with pytest.raises(distfd.InputError, match="connected to Ray at"):
        distfd.gradient(np.sum, [1.0], executor=distfd.RayExecutor(address="local"))


def test_what_cannot_travel_is_said_plainly() -> None:
    lock = threading.Lock()

    def locked(x: NDArray[np.float64]) -> float:
        with lock:
            return float(x.sum())

    with pytest.raises(distfd.InputError, match="cannot be sent to another process"):
        distfd.gradient(locked, [1.0], executor=distfd.RayExecutor(max_slots=1))


def test_a_store_is_given_back_whatever_happens(tmp_path: Path) -> None:
    store = tmp_path / "run.sqlite"
    with pytest.raises(distfd.InputError):
        distfd.Evaluator(np.sum, store=store, executor="rya")  # type: ignore[arg-type]  # a mistake of the user's
    dropped = distfd.Evaluator(np.sum, store=store, executor="serial")
    dropped.gradient([1.0])
    del dropped
    gc.collect()
    assert distfd.differentiate(np.sum, [1.0], store=store, executor="serial").n_reused == 2


@pytest.mark.filterwarnings("ignore:J did not change:distfd.DerivativeWarning")  # nor does it, at such an x
def test_another_number_of_outputs_is_a_counted_failure() -> None:
    def ragged(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.ones(3 if x[1] != 2.0 else 2)

    result = distfd.differentiate(ragged, [1.0, 2.0], kind="jacobian", executor="serial", on_failure="nan")
    assert (result.missing.tolist(), result.n_failed) == ([1], 1)
