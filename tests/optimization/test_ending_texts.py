"""SciPy's reasons for an end in plain English, and how a minimisation prints."""

import pickle

import numpy as np
import pytest

import distfd
from distfd.optimization.ending_texts import plain_ending

TEXTS = [
    ("CONVERGENCE: RELATIVE REDUCTION OF F <= FACTR*EPSMCH", "J fell by less than ftol in the last iteration"),
    ("CONVERGENCE: NORM OF PROJECTED GRADIENT <= PGTOL", "the gradient is smaller than gtol"),
    ("STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT", "maxiter is reached: no more iterations are allowed"),
    ("ABNORMAL: ", "the line search found no lower J: J may be noisy, or its gradient inaccurate"),
    ("`gtol` termination condition is satisfied.", "the gradient is smaller than gtol"),
    ("Optimization terminated successfully", "the method's test of convergence is met"),
    ("Optimization terminated successfully.", "the method's test of convergence is met"),
]
SAID_ALREADY = ["max_iterations of 8 reached", "interrupted; x is the best point so far", "", "all: of it"]


@pytest.mark.parametrize(("text", "plain"), TEXTS)
def test_a_text_of_scipy_is_said_in_plain_english(text: str, plain: str) -> None:
    assert plain_ending(text) == plain


@pytest.mark.parametrize("text", SAID_ALREADY)
def test_any_other_text_stays(text: str) -> None:
    assert plain_ending(text) == text


def bowl(x: np.ndarray) -> float:
    return float(np.sum((x - 1) ** 2))


def test_a_minimisation_prints_as_a_summary_and_keeps_all() -> None:
    result = distfd.minimize(bowl, np.zeros(12), method="L-BFGS-B", executor="serial", check=False)
    assert result.scipy_message.isupper()
    lines = str(result).splitlines()
    assert len(lines) <= 8
    assert lines[0] == f"minimisation, converged: {result.message}"
    assert lines[2].startswith("J = 12 before, ")
    assert lines[3].endswith("] (12 numbers)")
    assert f"{result.nit} iterations, {result.n_evaluations} evaluations, 0 reused" in str(result)
    assert result["fun"] == result.fun
    assert {"derivative", "history", "totals", "jac", "hess_inv"} <= set(result)
    again = pickle.loads(pickle.dumps(result))  # what was pickled in the line itself
    assert again.message == result.message
    assert np.array_equal(again.x, result.x)


def test_a_minimisation_of_a_dict_prints() -> None:
    result = distfd.minimize(lambda p: (p["a"] - 2.0) ** 2, {"a": 0.5}, executor="serial", check=False)
    assert "x = {'a': " in repr(result)


def test_a_fit_says_why_it_ended_in_plain_english() -> None:
    fit = distfd.least_squares(lambda x: x - 1, np.zeros(2), executor="serial", check=False)
    assert fit.message == "the gradient is smaller than gtol"
    assert fit.scipy_message == "`gtol` termination condition is satisfied."
