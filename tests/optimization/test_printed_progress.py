"""``verbose`` of optimisations: silent, a line at the end, a line an iteration; SciPy's ``disp`` is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import Bounds

import distfd

START = [-0.5, 0.5]


def valley(x: Any) -> float:
    return float((x[0] - 1) ** 2 + 5 * (x[1] - x[0] ** 2) ** 2)


def residuals(x: Any) -> Any:
    return np.array([x[0] - 1, 5 * (x[1] - x[0] ** 2)])


def minimize(**given: Any) -> Any:
    return distfd.minimize(valley, START, executor="serial", **given)


def fit(**given: Any) -> Any:
    return distfd.least_squares(residuals, START, executor="serial", **given)


@pytest.mark.parametrize("method", ["L-BFGS", "L-BFGS-B", "BFGS", "SLSQP", "trust-constr", "Newton-CG"])
@pytest.mark.parametrize("run", [{"verbose": 1}, {"options": {"disp": True}}, {"options": {"verbose": 1}}], ids=str)
def test_a_line_at_the_end(method: str, run: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    found = minimize(method=method, **run)
    (line,) = capsys.readouterr().out.splitlines()
    spent = found.n_evaluations + found.n_reused
    assert line.endswith(f"; J = {found.fun:.8g}, {found.nit} iterations, {spent} evaluations")
    assert found.message.strip().rstrip(".") in line


@pytest.mark.parametrize("method", ["L-BFGS", "L-BFGS-B", "SLSQP", "trust-constr"])
def test_a_line_an_iteration(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = minimize(method=method, verbose=2, limits=distfd.Limits(max_iterations=4))
    header, *rows, last = capsys.readouterr().out.splitlines()
    assert header.split() == ["iteration", "J", "|g|", "evaluations"]
    assert [int(row.split()[0]) for row in rows] == [0, 1, 2, 3, 4]
    assert [row.split()[1] for row in rows] == [f"{one.value:.8g}" for one in found.history]
    assert last.startswith("not converged: max_iterations of 4 reached; J = ")


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm", "model"])
def test_of_a_fit(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = fit(method=method, verbose=2)
    header, *rows, last = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["iteration", "cost"]
    assert len(rows) == found.nit + 1
    assert f"; cost = {found.cost:.8g}, " in last
    fit(method=method, options={"verbose": 1})
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("options", [{}, {"disp": False}, {"disp": None}, {"verbose": 0}])
def test_silence(options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    minimize(options=options)
    minimize(method="L-BFGS", options=options)
    fit(options={key: value for key, value in options.items() if key == "verbose"})
    assert capsys.readouterr().out == ""


def test_where_all_is_fixed(capsys: pytest.CaptureFixture[str]) -> None:
    minimize(bounds=Bounds(START, START), verbose=1)
    assert capsys.readouterr().out.startswith("all variables are fixed by their bounds")


@pytest.mark.parametrize("verbose", [3, -1, "1", None, 0.5])
def test_what_is_no_level(verbose: Any) -> None:
    for function in (minimize, fit):
        with pytest.raises(distfd.InputError, match=r"verbose: must be 0 \(silent\), 1 .* or 2"):
            function(verbose=verbose)
