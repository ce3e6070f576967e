"""The worker beside the slots that takes the place of one whose process is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import await_that

import distfd

X = [1.0, 2.0, 3.0]


class Deadly:
    """J that ends its process whenever it finds an order to do so, which it then takes away."""

    def __init__(self, folder: Path, factor: float = 1.0) -> None:
        self.folder, self.factor = str(folder), factor

    def __call__(self, x: Any) -> float:
        order = Path(self.folder) / "die"
        if order.exists():
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(self.factor * (x @ x))


def _spare(executor: Any) -> Any:
    return executor._slots._spare


def _spare_pid(executor: Any) -> int:
    import ray

    spare = _spare(executor)
    return int(ray.get(spare._there)[1]) if spare._node() is not None else 0


def _pids(result: Any) -> set[int]:
    return {each.pid for each in result.evaluations}


@pytest.fixture(name="executor")
def _one_slot(private_ray: None) -> Any:
    executor: Any = distfd.RayExecutor(max_slots=1, show_output=False)
    return executor


@pytest.mark.slow
def test_the_second_loss_is_met_by_a_process_that_runs(tmp_path: Path, executor: Any) -> None:
    with distfd.Evaluator(Deadly(tmp_path), executor=executor) as evaluator:
        evaluator.gradient(X)
        assert _spare(executor)._actor is None, "nothing was lost, and nothing more runs"
        for loss in range(3):
            before = _spare_pid(executor)
            assert bool(before) == (loss > 0)
            (tmp_path / "die").touch()
            result = evaluator.differentiate(np.array(X) + loss + 1)
            np.testing.assert_allclose(result.derivative, 2 * (np.array(X) + loss + 1), rtol=1e-6)
            if before:
                assert before in _pids(result)
            await_that("there is a spare worker", lambda: _spare_pid(executor))
    assert executor._slots is None


@pytest.mark.slow
def test_a_spare_is_given_the_j_of_now_and_ends_with_the_session(tmp_path: Path, executor: Any) -> None:
    deadly = Deadly(tmp_path)
    with distfd.Evaluator(deadly, executor=executor, deterministic=False) as evaluator:
        (tmp_path / "die").touch()
        evaluator.gradient(X)
        spare = await_that("there is a spare worker", lambda: _spare_pid(executor))
        deadly.factor = 3.0  # workers adopt it, and the spare of before is gone
        np.testing.assert_allclose(evaluator.gradient(X), 6.0 * np.array(X), rtol=1e-6)
        assert _spare(executor)._actor is None
        await_that("it has ended", lambda: not Path(f"/proc/{spare}").exists())
        (tmp_path / "die").touch()
        np.testing.assert_allclose(evaluator.gradient([2.0, 2.0, 2.0]), [12.0] * 3, rtol=1e-6)
        spare = await_that("there is a spare worker", lambda: _spare_pid(executor))
    await_that("it has ended", lambda: not Path(f"/proc/{spare}").exists())


@pytest.mark.slow
def test_processes_hold_as_many_cpus_as_there_are_slots(tmp_path: Path, private_ray: None) -> None:
    import ray

    def free() -> float:
        return float(ray.available_resources().get("CPU", 0.0))  # type: ignore[no-untyped-call]  # Ray lacks types

    beside = ray.cluster_resources()["CPU"] - 2.0  # type: ignore[no-untyped-call]  # Ray lacks types
    executor: Any = distfd.RayExecutor(max_slots=2, show_output=False)
    with distfd.Evaluator(Deadly(tmp_path), executor=executor) as evaluator:
        evaluator.gradient(X)
        await_that("the CPUs are free", lambda: free() == beside)
        for k in range(2):
            (tmp_path / "die").touch()
            evaluator.gradient(np.array(X) + k + 1)
            # A worker that has come up between two waves is seen in the next one.
            await_that(
                "there is a spare worker",
                lambda: evaluator.value(np.random.default_rng().random(3)) and _spare_pid(executor),
            )
            await_that("the CPUs are free", lambda: free() == beside)
            time.sleep(0.3)
            assert free() == beside


@pytest.mark.slow
def test_a_j_whose_setup_ends_every_process_fails(executor: Any) -> None:
    with pytest.raises(distfd.EvaluationError, match="constructor or setup"):
        distfd.gradient(_DiesInSetup, X, executor=executor)


class _DiesInSetup:
    def setup(self) -> None:
        os._exit(3)

    def reset(self) -> None:
        pass

    def evaluate(self, x: Any) -> float:
        return float(x @ x)


def test_none_where_evaluations_hold_more_than_cpus() -> None:
    from distfd.executors.ray.resources import Resources

    assert Resources(num_cpus=2, labels={"zone": "a"}).cpus_alone
    for more in ({"num_gpus": 1}, {"memory": 1}, {"custom": {"licence": 1}}, {"nodes": 2}):
        assert not Resources(**more).cpus_alone
