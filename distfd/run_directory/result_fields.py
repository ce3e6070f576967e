"""What a run found, as the dictionary of result.json and as text."""

from __future__ import annotations

import math
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import EvaluationError, InputError
from distfd.differentiation.noise import STATUSES
from distfd.optimization.ending_texts import plain_ending
from distfd.optimization.fit_table import fit_notes
from distfd.results.derivative_result import efficiency_text, jacobian_titles, no_check_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from scipy.optimize import OptimizeResult

    from distfd.core.errors import DistfdError
    from distfd.differentiation.consistency import Consistency
    from distfd.differentiation.noise_result import NoiseResult
    from distfd.observers.run_tally import RunTally
    from distfd.results.derivative_result import DerivativeResult

INTERRUPTED = 130
"""Status of an optimisation that Ctrl-C has ended."""
TELLING = 1.0
"""Seconds of work below which the efficiency tells of nothing but the start of the workers."""
_ROWS = 40
"""Coordinates up to which a table has all rows."""
_OUTPUTS = 6
"""Columns of a matrix that a table has at most."""


def derivative_fields(result: DerivativeResult, x: NDArray[Any], names: Sequence[str]) -> dict[str, Any]:
    """result.json's fields for a derivative at x."""
    return {
        "x": x,
        "value": result.value,
        "derivative": result.derivative,
        # Nothing honest can be said where it is not known, and that is null in each place.
        "error": np.full(result.derivative.shape, np.nan) if result.error is None else result.error,
        "step": result.step,
        "scheme": result.scheme,
        "missing": [names[k] for k in result.missing],
        "repaired": {names[k]: text for k, text in result.repaired.items()},
        "warnings": list(result.warnings),
        "noise": result.noise,
        **({} if result.outputs is None else {"outputs": list(result.outputs)}),
        "consistency": None if result.consistency is None else consistency_fields(result.consistency, names),
        "unchecked": result.unchecked,
        "n_reused": result.n_reused,
        "n_failed": result.n_failed,
        "n_retried": result.n_retried,
        "ideal_seconds": result.ideal_seconds,
        "slots": result.slots,
    }


def consistency_fields(found: Consistency, names: Sequence[str]) -> dict[str, Any]:
    """What a directional check found; coordinates by their names, and in one sentence."""
    coordinates = [names[k] for k in found.coordinates]
    return {**asdict(found), "coordinates": coordinates, "sentence": found.sentence}


def noise_fields(result: NoiseResult) -> dict[str, Any]:
    """result.json's fields for a noise level: there is no derivative."""
    return {
        "derivative": None,
        "noise": {
            "level": result.level,
            "status": result.status,
            "spacing": result.spacing,
            "quantum": result.quantum,
            "n_evaluations": result.n_evaluations,
        },
    }


def minimize_fields(result: OptimizeResult, x0: NDArray[Any], names: Sequence[str]) -> dict[str, Any]:
    """result.json's fields for a minimisation or a fit that began at x0."""
    totals = result.totals
    more: dict[str, Any] = {}
    if "cost" in result:
        jacobian = result.jacobian.toarray() if hasattr(result.jacobian, "toarray") else result.jacobian
        more = {"residuals": result.fun, "jacobian": jacobian, "fit": fit_fields(result)}
        if result.get("residual_names") is not None:
            more["outputs"] = list(result.residual_names)
    elif result.outputs is not None:
        more = {"constraints": result.outputs, "violation": result.violation}
    return {
        **derivative_fields(result.derivative, result.x, names),
        **more,
        "n_failed_trials": result.n_failed_trials,
        "interrupted": result.status == INTERRUPTED,
        "x0": x0,
        "value0": result.value0,
        "iterations": int(result.nit),
        "message": str(result.message),
        **({"scipy_message": str(result.scipy_message)} if result.get("scipy_message") else {}),
        "converged": bool(result.success),
        "noise": result.derivative.noise if result.noise is None else result.noise,
        "n_reused": result.n_reused,
        "n_failed": int(totals["n_failed"]),
        "n_retried": int(totals["n_retried"]),
        "ideal_seconds": totals["ideal_seconds"],
    }


def fit_fields(result: Any) -> dict[str, Any] | None:
    """What a fit tells of its parameters; None where its Jacobian is too large for that.

    Parameters
    ----------
    result : FitResult
    """
    try:
        statistics, columns = result.statistics, result.table()
    except InputError:
        return None
    names = result.names
    shown = result.data_and_model() if len(result.fun) <= _MOST_DATA else None
    return {
        **{key: columns[key] for key in FIT_COLUMNS},
        "bound": columns["bound"],
        "n_residuals": len(result.fun),
        "n_prior": result.n_prior,
        "absolute_sigma": result.absolute_sigma,
        "degrees_of_freedom": statistics.degrees_of_freedom,
        "chi_square": statistics.chi_square,
        "reduced_chi_square": statistics.reduced_chi_square,
        "aic": statistics.aic,
        "r_squared": None if result.get("measured") is None else result.r_squared(),
        "data": None if shown is None else shown[0],
        "model": None if shown is None else shown[1],
        "correlation": statistics.correlation,
        "not_told_apart": result.not_told_apart,
        "findings": fit_notes(statistics, names, result.n_prior, result.derivative.scheme),
    }


_MOST_DATA = 100_000
"""Largest number of residuals with which the data and the model are written once more beside these."""
FIT_COLUMNS = ("standard_error", "lower", "upper")
"""Of a fit's table: one number a parameter; lower and upper are the ends of the 95 % interval."""


def failed_fields(task: str, error: DistfdError, names: Sequence[str]) -> dict[str, Any]:
    """result.json's fields for a derivative that failures of J have kept from being formed."""
    if not isinstance(error, EvaluationError) or task not in ("gradient", "jacobian", "hessian"):
        return {}
    value = error.value if task != "jacobian" or error.value is None else np.atleast_1d(error.value)
    return {"value": value, "missing": [names[k] for k in error.missing]}


def stopped_fields(task: str, tally: RunTally, x0: NDArray[Any], names: Sequence[str]) -> dict[str, Any]:
    """result.json's fields for a run that ended before its time: its counts, and the best point of a minimisation."""
    fields: dict[str, Any] = {}
    if (
        task in ("minimize", "least_squares")
        and tally.best is not None
        and tally.first is not None
        and tally.best_x is not None
    ):
        fields = {
            **derivative_fields(tally.best, tally.best_x, names),
            "x0": x0,
            "value0": tally.first.value,
            "iterations": tally.iterations,
            "converged": False,
            "noise": tally.best.noise,
        }
    counts = {name: getattr(tally, name) for name in ("n_reused", "n_failed", "n_retried")}
    return {**fields, **counts, "ideal_seconds": tally.ideal_seconds or None}


def versions() -> dict[str, str]:
    """What computed it."""
    found = {"python": platform.python_version()}
    for name in ("distfd", "ray", "numpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def summary(result: Mapping[str, Any]) -> str:
    """A result.json as text for a file or a pipe."""
    table = [*_table(result), *columns_left_out(result, _OUTPUTS), ""] if result.get("derivative") is not None else []
    return "\n".join([*table, *findings(result)])


def columns_left_out(result: Mapping[str, Any], shown: int) -> list[str]:
    """A line that says so where a matrix has more columns than a table shows of it."""
    if result["task"] not in ("jacobian", "hessian") or (n := len(result["derivative"])) <= shown:
        return []
    return [f"{shown} of {n} columns; result.json has all"]


def measure_of(task: str) -> str:
    """What the scalar of a task's result is called: the cost of a fit, else J."""
    return "cost" if task == "least_squares" else "J"


def measures(tasks: Iterable[str]) -> str:
    """What the scalars of several tasks are called: "J", "cost", or "J or cost"; a task that is not known is empty."""
    return " or ".join(sorted({measure_of(task) for task in tasks if task})) or "J"


def findings(result: Mapping[str, Any]) -> list[str]:
    """What a result.json says beside its table: J, how a search ended, what is missing, and the effort."""
    lines = []
    if result["task"] in ("minimize", "least_squares") and result.get("value0") is not None:
        ended = "converged" if result["converged"] else "not converged"
        what = measure_of(result["task"])
        lines.append(f"{what} = {number_text(result['value0'])} before, {number_text(result['value'])} after")
        if result.get("violation") is not None:
            lines.append(f"constraints kept to within {number_text(result['violation'])}")
        lines += (result.get("fit") or {}).get("findings", [])
        n = result["iterations"]
        lines.append(f"{ended} after {n} iteration{'' if n == 1 else 's'}: {ending_text(result['message'])}")
    elif result["task"] == "noise" and result.get("noise"):
        noise = result["noise"]
        lines.append(f"noise of J: {number_text(noise['level'])} ({noise['status']}: {STATUSES[noise['status']]})")
    elif isinstance(result.get("value"), (int, float)):
        lines.append(f"{measure_of(result['task'])} = {number_text(result['value'])}")
    if result.get("consistency"):
        lines.append(f"check: {result['consistency']['sentence']}")
    elif result.get("unchecked"):
        lines.append(f"check: {no_check_text(result['unchecked'], 'derivative.check=true')}")
    if result["missing"]:
        lines.append(f"missing, as J failed there: {', '.join(result['missing'][:20])}")
    repaired = list((result.get("repaired") or {}).items())
    lines += [f"repaired: {name}: {text}" for name, text in repaired[:20]]
    if len(repaired) > 20:
        lines.append(f"... and {len(repaired) - 20} more repaired, in result.json")
    if alone := result.get("only_in_arrays"):
        lines.append(f"{', '.join(alone)}: in derivative.npz alone, as so many entries make too much text")
    lines.append(_effort(result))
    return lines


def ending_text(message: str) -> str:
    """Why an optimiser ended, in plain English; runs of before have SciPy's own words."""
    return plain_ending(message)


def _effort(result: Mapping[str, Any]) -> str:
    failed = f", {result['n_failed']} failed" if result["n_failed"] else ""
    # Evaluations are those of all sessions, and what is reused is so by this one.
    made = f"{result['n_evaluations']} evaluation{'' if result['n_evaluations'] == 1 else 's'}"
    made += " in all" if result["n_reused"] else ""
    text = f"{result['status']}: {made}, {result['n_reused']} reused{failed}"
    if result.get("wall_seconds") is not None:
        text += f", {result['wall_seconds']:.1f} s"
        slots = result.get("slots")
        text += "" if slots is None else f" on {slots} slot{'' if slots == 1 else 's'}"
    if result.get("efficiency") is not None and (result.get("ideal_seconds") or 0.0) >= TELLING:
        wall = result.get("wall_seconds") or 0.0  # a stranger's may have none; then the start is not told of
        text += f", {efficiency_text(result['efficiency'], wall, result.get('start_seconds'))}"
    return text


def table_columns(result: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """The columns of a result's table, each with a number for each coordinate."""
    if result["task"] in ("jacobian", "hessian"):
        # A Hessian is symmetric, so its rows are its columns.
        titles = jacobian_titles(result.get("outputs"), result["names"], len(result["derivative"]))
        if result["task"] == "hessian":
            titles = [f"d2J/dx d{name}" for name in result["names"]]
        rows = zip(titles[:_OUTPUTS], result["derivative"], strict=False)
        return {"x": result["x"], **dict(rows)}
    if result.get("fit"):
        fit = result["fit"]
        shown = {"std. error": "standard_error", "95 % from": "lower", "to": "upper"}
        return {"before": result["x0"], "after": result["x"], **{title: fit[key] for title, key in shown.items()}}
    if "x0" in result:
        return {"before": result["x0"], "after": result["x"], "dJ/dx": result["derivative"]}
    columns = {"x": result["x"], "dJ/dx": result["derivative"]}
    if any(bar is not None for bar in result["error"]):
        columns["error"] = result["error"]
    return {**columns, "step": result["step"]}


def table_rows(n: int) -> tuple[list[int], int]:
    """The coordinates that have a row, and how many are left out in the middle."""
    if n <= _ROWS:
        return list(range(n)), 0
    return [*range(_ROWS // 2), *range(n - _ROWS // 2, n)], n - _ROWS


def _table(result: Mapping[str, Any]) -> list[str]:
    names, columns = result["names"], table_columns(result)
    shown, left_out = table_rows(len(names))
    width = max(4, *(len(names[k]) for k in shown))
    wide = [max(16, len(title) + 2) for title in columns]
    lines = [f"{'':{width}}" + "".join(f"{title:>{w}}" for title, w in zip(columns, wide, strict=True))]
    for k in shown:
        cells = [cell_text(title, column[k]) for title, column in columns.items()]
        lines.append(f"{names[k]:{width}}" + "".join(f"{c:>{w}}" for c, w in zip(cells, wide, strict=True)))
    if left_out:
        lines.insert(1 + _ROWS // 2, f"... {left_out} more in result.json ...")
    return lines


def cell_text(title: str, value: Any, digits: int = 8) -> str:
    """A number of a table's column; an error bar has two digits, and a step three, as more say nothing."""
    return number_text(value, min(digits, {"error": 2, "step": 3, "std. error": 4}.get(title, digits)))


def number_text(value: Any, digits: int = 8) -> str:
    """A number for people; - where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"
