"""Whether a result.json is one of distfd's: the types and lengths of what is read from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def trouble_with(result: Mapping[str, Any]) -> str:
    """What is wrong with a result.json; empty where nothing is.

    Fields that a session of an earlier version did not write may be missing. What is there has the type that distfd
    writes, and lists have the lengths that belong together.
    """
    for name, (wanted, fits) in _FIELDS.items():
        if name in result and not fits(result[name]):
            return f"{name} is not {wanted}"
    return ""


def trouble_with_check(check: Mapping[str, Any]) -> str:
    """What is wrong with a check.json, as `trouble_with`."""
    noise = check.get("noise")
    if noise is not None and not (isinstance(noise, dict) and _or_null(_is_number)(noise.get("level"))):
        return "noise is no noise level"
    if not _or_null(_is_text)(check.get("message")):
        return "message is not text"
    for name in ("components", "sweep"):
        rows = check.get(name) or []
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            return f"{name} is no list of its coordinates"
        if not all(_is_text(value) or _is_tensor(value) for row in rows for value in row.values()):
            return f"{name} holds something else than texts and numbers"
    return ""


def cannot_be_shown(result: Mapping[str, Any]) -> str:
    """What a result.json lacks to be shown as a table; empty where it lacks nothing."""
    missing = next((name for name in _NEEDED if name not in result), None)
    return _shapes(result) if missing is None else f"there is no {missing}"


def _is_number(value: Any) -> bool:
    """A finite double: Python's whole numbers have no end, and json reads NaN."""
    return not isinstance(value, bool) and isinstance(value, (int, float)) and -1e308 <= value <= 1e308


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _or_null(fits: Any) -> Any:
    return lambda value: value is None or fits(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_numbers(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    kinds = set(map(type, value))
    if not kinds <= {float, int, type(None)}:
        return False
    numbers = [item for item in value if item is not None] if type(None) in kinds else value
    try:  # by functions in C throughout: a million numbers take some 50 ms
        finite = all(map(math.isfinite, numbers))
    except OverflowError:  # a whole number past all doubles
        return False
    return finite and (int not in kinds or (min(numbers) >= -1e308 and max(numbers) <= 1e308))


def _is_tensor(value: Any) -> bool:
    """A number, null, or a list of such, at most of two levels, as long as each other on the second."""
    if value is None or _is_number(value) or _is_numbers(value):
        return True
    return isinstance(value, list) and all(map(_is_numbers, value)) and len({len(row) for row in value}) == 1


def _is_text_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_noise(value: Any) -> bool:
    if not isinstance(value, dict):
        return _is_tensor(value)
    from distfd.differentiation.noise import STATUSES

    known = isinstance(value.get("status"), str) and value["status"] in STATUSES
    return known and "level" in value and _or_null(_is_number)(value["level"])


def _is_sentence(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("sentence"))


def _is_fit(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_texts(value.get("findings")):
        return False
    return all(_is_numbers(value.get(name)) for name in ("standard_error", "lower", "upper"))


_NEEDED = ("task", "status", "names", "missing", "n_evaluations", "n_reused", "n_failed")
_NUMBER = ("a number or null", _or_null(_is_number))
_COUNT = ("a whole number", _is_count)
_TEXT = ("text", _is_text)
_TEXT_OR_NULL = ("text or null", _or_null(_is_text))
_TENSOR = ("a number, or a list or matrix of numbers", _is_tensor)
_FIELDS: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("task", "status"), _TEXT),
    **dict.fromkeys(("scheme", "message", "started", "finished"), _TEXT_OR_NULL),
    **dict.fromkeys(("n_evaluations", "n_reused", "n_failed"), _COUNT),
    **dict.fromkeys(
        ("n_retried", "n_failed_trials", "iterations", "slots", "exit_code", "unchecked"),
        ("a whole number or null", _or_null(_is_count)),
    ),
    **dict.fromkeys(("wall_seconds", "start_seconds", "ideal_seconds", "efficiency", "violation"), _NUMBER),
    **dict.fromkeys(("value", "value0", "derivative", "error", "step", "x", "x0"), _TENSOR),
    **dict.fromkeys(("names", "missing"), ("a list of texts", _is_texts)),
    **dict.fromkeys(("outputs", "only_in_arrays"), ("a list of texts or null", _or_null(_is_texts))),
    "consistency": ("a check in a sentence, or null", _or_null(_is_sentence)),
    "warnings": ("a list of texts", _is_texts),
    "repaired": ("texts by name", _or_null(_is_text_by_name)),
    "versions": ("texts by name", _is_text_by_name),
    "noise": ("a number, a list, or a noise level", _is_noise),
    "fit": ("a fit's statistics or null", _or_null(_is_fit)),
    "converged": ("true or false", lambda value: isinstance(value, bool)),
}


def _shapes(result: Mapping[str, Any]) -> str:
    """What is wrong with the lengths of lists, in a result that has a derivative."""
    task, n = result["task"], len(result["names"])
    if task == "noise" and result.get("noise") and not isinstance(result["noise"], dict):
        return "noise is no noise level"
    derivative = result.get("derivative")
    trouble = _search(result)
    if trouble or derivative is None:
        return trouble
    columns = ["x0", "x"] if "x0" in result or result.get("fit") else ["x"]
    if not isinstance(derivative, list) or any(not _is_vector(result.get(name), n) for name in columns):
        return "x and the derivative have not one entry for each name"
    if task in ("jacobian", "hessian"):
        wide = all(isinstance(row, list) and len(row) == n for row in derivative)
        tall = task == "jacobian" or len(derivative) == n
        return "" if wide and tall else "the derivative has not one column for each name"
    others = () if "x0" in result else ("error", "step")
    if any(not _is_vector(result.get(name), n) for name in ("derivative", *others)):
        return "the derivative, its error and its step have not one entry for each name"
    return ""


def _search(result: Mapping[str, Any]) -> str:
    """What is wrong with how an optimisation ended."""
    fit = result.get("fit")
    if fit and any(len(fit[name]) != len(result["names"]) for name in ("standard_error", "lower", "upper")):
        return "the fit's table has not one line for each name"
    if result["task"] not in ("minimize", "least_squares") or result.get("value0") is None:
        return ""
    lacking = [name for name in ("converged", "iterations", "value", "message") if result.get(name) is None]
    if lacking:
        return f"a search has no {lacking[0]}"
    fits = _is_number(result["value0"]) and _is_number(result["value"])
    return "" if fits else "value and value0 of a search are no numbers"


def _is_vector(value: Any, n: int) -> bool:
    return isinstance(value, list) and len(value) == n and list not in set(map(type, value))
