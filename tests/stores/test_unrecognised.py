"""A J that another process cannot recognise is told of, with the object that is to blame."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd

if TYPE_CHECKING:
    from pathlib import Path

LOCK = threading.Lock()


def locked(x: Any) -> float:
    with LOCK:
        return float(x @ x)


class Locked:
    """A simulator that refers to what no other process can have."""

    def reset(self) -> None:
        """It keeps no state."""

    def evaluate(self, x: Any) -> float:
        """J(x)."""
        with LOCK:
            return float(x @ x)


@pytest.mark.parametrize("fun", [locked, Locked])
def test_the_object_and_the_remedy_are_named(fun: Any, tmp_path: Path) -> None:
    store, x = tmp_path / "values.db", np.ones(3)
    with pytest.warns(UserWarning, match=r"not be used again: global 'LOCK' of .*_thread.lock.*give `version`"):
        evaluator = distfd.Evaluator(fun, executor="serial", store=store)
    with evaluator:
        assert np.allclose(evaluator.gradient(x), 2)
    with distfd.Evaluator(fun, executor="serial", store=store, version="1") as known:
        first = known.differentiate(x)
    with distfd.Evaluator(fun, executor="serial", store=store, version="1") as again:
        assert again.differentiate(x).n_reused == first.n_evaluations > 0


def test_an_objective_that_gives_no_reason_is_told_of_too(tmp_path: Path) -> None:
    class Own:
        def make(self) -> Own:
            return self

        def evaluate(self, x: Any, *, timeout: float | None) -> float:
            del timeout
            return float(x @ x)

        def fingerprint(self) -> None:
            return None

    with (
        pytest.warns(UserWarning, match=r"not be used again: give version="),
        distfd.Evaluator(Own(), executor="serial", store=tmp_path / "values.db") as evaluator,
    ):
        assert np.allclose(evaluator.gradient(np.ones(2)), 2)
