"""Runs that end before their time: what result.json says of them, and observers that fail."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

import distfd
from distfd import events
from distfd.config.load import load_config
from distfd.errors import EvaluationError, StoreError
from distfd.executors.serial import SerialExecutor
from distfd.jobs.run import Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = """
from pathlib import Path

def picky(x):
    if x[1] != 2.0:
        raise ValueError("negative width")
    return float(x @ x)

def stops(x, log, after, error):
    calls = Path(log)
    with calls.open("a") as file:
        file.write("call\\n")
    if len(calls.read_text().splitlines()) > after:
        raise {"interrupt": KeyboardInterrupt, "value": ValueError}[error]()
    return float((x - 3) @ (x - 3))
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a configuration in this process; what result.json says."""
    monkeypatch.setattr("distfd.jobs.run.make_executor", lambda *_, **__: SerialExecutor())
    (tmp_path / "run_ends_model.py").write_text(MODEL)

    def go(raises: type[BaseException] | None = None, **document: Any) -> dict[str, Any]:
        document = {"output": str(tmp_path / "run"), **document}
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
        job = Job(load_config(str(tmp_path / "job.yaml"), ()), lambda event: None, lambda text: None)
        if raises is None:
            job.run()
        else:
            with pytest.raises(raises):
                job.run()
        found = job.directory.result()
        assert found is not None
        return found

    return go


def test_a_failed_run_counts_what_failed(run: Callable[..., dict[str, Any]]) -> None:
    found = run(
        EvaluationError,
        objective={"python": "run_ends_model:picky"},
        x0=[1.5, 2.0, -3.0],
        evaluation={"retries": 1},
        derivative={"scheme": "central"},
    )
    # Both points of the second coordinate, each tried twice.
    assert (found["status"], found["n_failed"], found["n_retried"]) == ("failed", 2, 2)
    assert found["n_evaluations"] == 7
    assert "negative width" in found["message"]


@pytest.mark.parametrize(("error", "raises"), [("interrupt", KeyboardInterrupt), ("value", EvaluationError)])
def test_a_stopped_minimisation_keeps_its_best_point(
    run: Callable[..., dict[str, Any]], tmp_path: Path, error: str, raises: type[BaseException]
) -> None:
    kwargs = {"log": str(tmp_path / "calls"), "after": 7, "error": error}
    found = run(
        raises,
        task="minimize",
        objective={"python": "run_ends_model:stops", "kwargs": kwargs, "version": "1"},
        x0=[0.0, 1.0],
    )
    # Two gradients of three evaluations are known.
    assert found["status"] == ("interrupted" if error == "interrupt" else "failed")
    assert found["value0"] == 13.0
    assert found["value"] < 13.0
    assert found["value"] == pytest.approx(float(np.sum((np.array(found["x"]) - 3) ** 2)))
    assert found["x0"] == [0.0, 1.0]
    np.testing.assert_allclose(found["derivative"], 2 * (np.array(found["x"]) - 3), atol=1e-5)
    assert found["n_failed"] == (0 if error == "interrupt" else 2)
    assert found["converged"] is False


def square(x: Any) -> float:
    return float(x @ x)


def test_an_observer_that_fails_is_told_of_once_and_ends_nothing() -> None:
    seen: list[str] = []

    def broken(event: events.Event) -> None:
        raise OSError("nobody looks at this")

    def well(event: events.Event) -> None:
        seen.append(type(event).__name__)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = distfd.differentiate(square, np.arange(1.0, 6.0), executor="serial", observers=[broken, well])
    np.testing.assert_allclose(result.derivative, 2 * np.arange(1.0, 6.0), atol=1e-6)
    (warning,) = caught
    assert "an observer (function) failed at" in str(warning.message)
    assert "OSError: nobody looks at this" in str(warning.message)
    assert seen[-2:] == ["Differentiated", "Stopped"]
    assert {"WaveStarted", "BatchFinished", "WaveEnded"} < set(seen)


def test_a_log_that_cannot_be_kept_ends_the_run(tmp_path: Path) -> None:
    def log(event: events.Event) -> None:
        if isinstance(event, events.BatchFinished):
            raise StoreError("the log cannot be written")

    with pytest.raises(StoreError, match="the log cannot"):
        distfd.gradient(square, np.arange(1.0, 6.0), executor="serial", observers=[log], store=tmp_path / "s.sqlite")
    # What it could not tell was committed before.
    result = distfd.differentiate(square, np.arange(1.0, 6.0), executor="serial", store=tmp_path / "s.sqlite")
    assert result.n_reused >= 1


def test_ctrl_c_in_an_observer_is_ctrl_c() -> None:
    def interrupted(event: events.Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distfd.gradient(square, np.arange(1.0, 6.0), executor="serial", observers=[interrupted])
