"""Other libraries' optimisers on an Evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import rosen

import distfd


def test_nlopt() -> None:
    nlopt = pytest.importorskip("nlopt")
    with distfd.Evaluator(rosen, executor="serial", scheme="central") as ev:

        def objective(x: Any, gradient: Any) -> float:
            if gradient.size:
                value, gradient[:] = ev.value_and_gradient(x)
                return float(value)
            return float(ev.value(x))

        opt = nlopt.opt(nlopt.LD_LBFGS, 2)
        opt.set_min_objective(objective)
        opt.set_xtol_rel(1e-10)
        x = opt.optimize([-1.2, 1.0])
    np.testing.assert_allclose(x, 1.0, atol=1e-4)


def test_a_loop_of_ones_own_with_open_waves() -> None:
    """Steepest descent with halved steps: the derivative is on its way with every trial."""
    with distfd.Evaluator(lambda x: float(x @ (np.array([1.0, 4.0]) * x)), executor="serial") as ev:
        now = ev.begin([2.0, 1.0])
        for _ in range(30):
            value, gradient, t = now.value(), now.result().derivative, 1.0
            while (trial := ev.begin(now.x - t * gradient)).value() > value - 1e-4 * t * gradient @ gradient:
                trial.cancel()
                t /= 2
            now = trial
        assert now.value() < 1e-8
