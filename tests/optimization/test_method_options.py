"""Options of a method that it does not take are an error before anything is evaluated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import distfd
from distfd.optimization.method_options import check_fit_options, check_options
from distfd.optimization.scipy_methods import METHODS

FITTERS = ("trf", "dogbox", "lm")


def untouched(x: Any) -> float:
    raise AssertionError("it was evaluated")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("d", [1, 3, 2000])
def test_what_a_method_takes_passes(method: str, d: int) -> None:
    check_options(method, {}, d)
    check_options(method, {} if method == "TNC" else {"maxiter": 2}, d, tolerance=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_misspelt_option_is_named(method: str) -> None:
    with pytest.raises(distfd.InputError, match=rf"{method} has no 'maxitr'"):
        check_options(method, {"maxitr": 4}, 2)


@pytest.mark.parametrize("method", ["L-BFGS", "L-BFGS-B", "BFGS", "SLSQP", "trust-constr", "trust-exact"])
def test_a_value_that_makes_no_sense_is_refused(method: str) -> None:
    with pytest.raises(distfd.InputError, match="options"):
        check_options(method, {"maxiter": "many"}, 2)


@pytest.mark.parametrize("options", [{"trials": 0}, {"noise": "little"}, {"gtol": -1.0}, {"maxcor": 2.5}])
def test_values_of_our_own_method(options: dict[str, Any]) -> None:
    with pytest.raises(distfd.InputError, match=next(iter(options))):
        check_options("L-BFGS", options, 2)


@pytest.mark.parametrize("name", ["workers", "eps", "finite_diff_rel_step"])
def test_options_of_scipys_own_differences_are_refused(name: str) -> None:
    with pytest.raises(distfd.InputError, match=f"{name} would change nothing"):
        check_options("BFGS", {name: 2}, 2)


def test_arrays_have_as_many_numbers_as_there_are_parameters() -> None:
    check_options("TNC", {"scale": np.ones(200)}, 200)
    with pytest.raises(distfd.InputError, match="TNC"):
        check_options("TNC", {"scale": np.ones(3)}, 200)
    with pytest.raises(distfd.InputError, match="TNC"):
        check_options("TNC", {"scale": [[1.0], [2.0, 3.0]]}, 2)
    check_fit_options("trf", 200, options={}, x_scale=np.ones(200))
    with pytest.raises(distfd.InputError, match="x_scale"):
        check_fit_options("trf", 200, options={}, x_scale=np.ones(3))


@pytest.mark.parametrize("method", FITTERS)
def test_a_fit(method: str) -> None:
    check_fit_options(method, 3, options={"max_nfev": 3, "tr_options": {}}, tolerance=1e-3)
    with pytest.raises(distfd.InputError, match=f"{method} has no 'ftl'; did you mean 'ftol'"):
        check_fit_options(method, 3, options={"ftl": 1e-3})
    with pytest.raises(distfd.InputError, match="did you mean 'huber'"):
        check_fit_options(method, 3, options={}, loss="hubber")
    with pytest.raises(distfd.InputError, match=f"{method} does not take them: ftol = 'small': "):
        check_fit_options(method, 3, options={"xtol": 1e-3, "ftol": "small"})
    for most in (2.5, 0, "3"):
        with pytest.raises(distfd.InputError, match="max_nfev: must be a whole number >= 1"):
            check_fit_options(method, 3, options={"max_nfev": most})
    with pytest.raises(distfd.InputError, match="x_scale: must be 'jac', or"):
        check_fit_options(method, 3, options={}, x_scale=-1.0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gtol": 1e-3, "maxcor": -1}, "L-BFGS-B does not take them: maxcor = -1: "),
        ({"maxfun": "abc"}, "L-BFGS-B does not take them: maxfun = 'abc': "),
        ({"ftol": float("nan")}, r"ftol: must be a number \(was nan\)"),
        ({"callback": print}, "L-BFGS-B has no 'callback'"),
    ],
)
def test_the_option_that_is_at_fault_is_named(options: Any, told: str) -> None:
    with pytest.raises(distfd.InputError, match=told):
        check_options("L-BFGS-B", options, 2)


@pytest.mark.parametrize(("method", "options"), [("trust-ncg", {"max_trust_radius": -1.0}), ("dogleg", {"eta": 0.5})])
def test_what_scipy_refuses_by_a_plain_exception(method: str, options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(distfd.InputError, match=f"options: {method} does not take them: {name} = {value}: "):
        check_options(method, options, 2)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    check_options("TNC", {"disp": True}, 2)
    check_options("SLSQP", {"disp": True}, 2)
    check_options("trust-constr", {"verbose": 3}, 2)
    check_fit_options("trf", 2, options={"verbose": 2})
    assert capfd.readouterr() == ("", "")


def test_tolerances_of_nothing_end() -> None:
    check_options("L-BFGS-B", {"gtol": 0.0, "ftol": 0.0, "maxiter": 10**9, "maxfun": 10**9}, 3)
    check_options("CG", {"gtol": 0.0, "maxiter": 10**9}, 3)


def test_nothing_is_evaluated() -> None:
    with pytest.raises(distfd.InputError, match="BFGS has no 'maxitr'"):
        distfd.minimize(untouched, [1.0, 2.0], method="BFGS", options={"maxitr": 3}, executor="serial")
    with pytest.raises(distfd.InputError, match="L-BFGS has no 'maxitr'"):
        distfd.minimize(untouched, [1.0, 2.0], method="L-BFGS", options={"maxitr": 3}, executor="serial")
    with pytest.raises(distfd.InputError, match="x_scale"):
        distfd.least_squares(untouched, [1.0, 2.0], x_scale=-1.0, executor="serial")
