"""The table of test functions is right: every analytic gradient is that of the complex step."""

from __future__ import annotations

import numpy as np
import pytest
from problems import PROBLEMS


def test_there_are_enough() -> None:
    assert sum(p.kind != "linear" for p in PROBLEMS.values()) >= 40


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_are_those_of_the_complex_step(name: str) -> None:
    problem = PROBLEMS[name]
    rng = np.random.default_rng(1)
    for x in (problem.x0, problem.x0 * (1 + 0.05 * rng.normal(size=problem.x0.shape))):
        d = len(x)
        stepped = problem.value(x + 1e-30j * np.eye(d)).imag / 1e-30
        scale = np.abs(stepped).max()
        np.testing.assert_allclose(problem.gradient(x), stepped, rtol=1e-10, atol=1e-12 * scale)
        assert np.isrealobj(problem.value(x[None]))
