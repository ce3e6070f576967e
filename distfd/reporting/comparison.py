"""Compares runs: parameters, derivatives with error bars, steps, cost, and differences of the configurations.

All runs are compared with the first. The error bars of two runs are assumed to be independent, so the error bar of a
difference is the root of the sum of their squares.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import DistfdError, InputError, StoreError
from distfd.objectives.command.secrets import SHORTEST_SET
from distfd.reporting.run_data import parsed_config
from distfd.run_directory.directory import RunDirectory
from distfd.run_directory.listing import is_run, run_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from distfd.run_directory.listing import RunRow

    Floats = NDArray[np.float64]

_LARGEST = 2**30
"""Largest size in bytes of a result.json that is read."""
_NO_DIFFERENCE = ("output",)
"""Keys that always differ, as they say where a run is."""


POINTS_DIFFER = "The derivatives are at different points x, and a part of their differences comes from that."
OTHER_ORDER = "not beside the others, as second derivatives cannot be compared with first ones"
_ENV = "objective.command.env."
_ONE_LINE_EACH = frozenset({"objective.command.outputs", "objective.command.data", "objective.fmu.outputs"})
"""Keys whose named entries are shown as wholes."""
_USUAL = {"delimiter": ("whitespace", ","), "skip": (0,), "header": (True,), "decimal": (".",), "which": (None,)}
"""Default values of an output's keys, which are not shown."""


@dataclass(frozen=True)
class Component:
    """One component of the derivative, a value for each run; None where a run has none.

    Attributes
    ----------
    name : str
        The parameter's.
    output : int or None
        The number of the output of J, or of the other parameter of a Hessian; None for a gradient.
    output_name : str or None
        The name of that output or parameter; None if it has none.
    derivative, error : tuple of float or None
    difference : tuple of float or None
        The run's derivative minus that of the first run.
    bars : tuple of float or None
        The absolute difference divided by its error bar; None where the bar is not known, or is 0.
    """

    name: str
    output: int | None
    output_name: str | None
    derivative: tuple[float | None, ...]
    error: tuple[float | None, ...]
    difference: tuple[float | None, ...]
    bars: tuple[float | None, ...]

    @property
    def apart(self) -> float:
        """A measure of the difference, for sorting: in error bars where known, else relative to the derivative."""
        told = [bar for bar in self.bars if bar is not None]
        size = max((abs(value) for value in self.derivative if value is not None), default=0.0)
        relative = [abs(each) / size for each in self.difference if each is not None and size]
        return max(told, default=0.0) or max(relative, default=0.0)


@dataclass(frozen=True)
class Parameter:
    """A parameter, a value for each run; None where a run does not have it."""

    name: str
    x: tuple[float | None, ...]
    x_before: tuple[float | None, ...]
    step: tuple[float | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, in the order in which they were named."""

    runs: tuple[RunRow, ...]
    schemes: tuple[str | None, ...]
    parameters: tuple[Parameter, ...]
    components: tuple[Component, ...]
    config: tuple[tuple[str, tuple[Any, ...]], ...]
    """Keys whose values differ; None where a run does not have the key."""
    other_order: tuple[int, ...] = ()
    """Numbers of the runs whose derivatives are second ones, where those of the others are first ones, or the other way
    round. Their derivatives are not in `components`."""

    @property
    def same_x(self) -> bool:
        """Whether all derivatives are at the same point; otherwise they may differ because the points do."""
        return all(len({*each.x}) == 1 for each in self.parameters)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of ``distfd compare --json``."""
        return {
            "runs": [{**row.fields, "scheme": scheme} for row, scheme in zip(self.runs, self.schemes, strict=True)],
            "same_x": self.same_x,
            "parameters": [{**vars(each)} for each in self.parameters],
            "components": [{**vars(each)} for each in self.components],
            "config": [{"key": key, "values": list(values)} for key, values in self.config],
            "other_order": list(self.other_order),
        }


def compare_runs(paths: Sequence[str | Path]) -> Comparison:
    """Reads runs and compares them with the first.

    Raises
    ------
    InputError
        If there are fewer than two, or no run is in one of the places.
    StoreError
        If a result.json is not what distfd writes.
    """
    if len(paths) < 2:
        raise InputError("compare: name two runs or more: distfd compare runs/a runs/b")
    found = [Path(path).absolute() for path in paths]
    for given, path in zip(paths, found, strict=True):
        if not is_run(path):
            raise InputError(
                f"{given}: no run is there (no evaluations.sqlite, no result.json); give a run's directory"
            )
    directories = [RunDirectory(path) for path in found]
    results = [_result(directory, given) for directory, given in zip(directories, paths, strict=True)]
    names = _all_names(results)
    other = _of_other_order(results)
    likes = [{**result, "derivative": None} if k in other else result for k, result in enumerate(results)]
    common = _all_names(result for k, result in enumerate(results) if k not in other)
    return Comparison(
        runs=tuple(replace(run_row(path, path), name=str(given)) for given, path in zip(paths, found, strict=True)),
        schemes=tuple(result.get("scheme") for result in results),
        parameters=_parameters(results, names),
        components=tuple(_components(likes, common)),
        config=tuple(config_differences(in_effect([parsed_config(one.config_text() or "") for one in directories]))),
        other_order=other,
    )


def _all_names(results: Iterable[dict[str, Any]]) -> list[str]:
    """The parameters of all runs, each once."""
    return list(dict.fromkeys(name for result in results for name in result.get("names", ())))


def _of_other_order(results: Sequence[dict[str, Any]]) -> tuple[int, ...]:
    """Runs whose derivatives are of another order than that of the first run which has one."""
    known = [k for k, result in enumerate(results) if result.get("derivative")]
    second = [results[k].get("task") == "hessian" for k in known]
    return tuple(k for k, kind in zip(known, second, strict=True) if kind != second[0])


def _result(directory: RunDirectory, given: str | Path) -> dict[str, Any]:
    """What result.json holds; empty where there is none."""
    try:
        return directory.listed_result(_LARGEST) or {}
    except StoreError as error:
        raise StoreError(f"{given}: {error}") from error


def _parameters(results: Sequence[dict[str, Any]], names: list[str]) -> tuple[Parameter, ...]:
    columns = {key: [_by_name(result, _array(result, key), names) for result in results] for key in ("x", "x0", "step")}
    return tuple(
        Parameter(name, *(_cells(columns[key], k) for key in ("x", "x0", "step"))) for k, name in enumerate(names)
    )


def _components(results: Sequence[dict[str, Any]], names: list[str]) -> Iterator[Component]:
    """One for each output and parameter that some run has."""
    owns = [set(result.get("names", ())) for result in results]
    plain = [np.ndim(result.get("derivative") or ()) < 2 for result in results]
    for a, (label, at) in enumerate(_aligned_rows(results)):
        values, errors = (
            [_by_name(result, _row(_rows(result, key), row), names) for result, row in zip(results, at, strict=True)]
            for key in ("derivative", "error")
        )
        first, first_error = values[0], errors[0]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            differences = [np.full(len(names), np.nan), *(value - first for value in values[1:])]
            spans = [np.hypot(error, first_error) for error in errors]
            bars = [np.abs(d) / np.where(span > 0, span, np.nan) for d, span in zip(differences, spans, strict=True)]
        for k, name in enumerate(names):
            having = [b for b, row in enumerate(at) if row is not None and name in owns[b]]
            if not having:
                continue
            single = all(plain[b] for b in having)  # of gradients alone: those have no outputs to number or name
            columns = (values, errors, differences, bars)
            cells = (_cells(column, k) for column in columns)
            yield Component(name, None if single else a, None if single else label, *cells)


def _aligned_rows(results: Sequence[dict[str, Any]]) -> list[tuple[str | None, list[int | None]]]:
    """The rows of the derivatives: what a row is called, and its number in each run, None where that has none of it.

    Rows go by their names where all matrices have names; else by their numbers.
    """
    heights = [0 if (rows := _rows(result, "derivative")) is None else len(rows) for result in results]
    labels = [_row_names(result, height) for result, height in zip(results, heights, strict=True)]
    n_rows = max(heights, default=0)
    if all(own is not None for own, height in zip(labels, heights, strict=True) if height):
        numbers = [{label: k for k, label in enumerate(own or ())} for own in labels]
        return [(name, [one.get(name) for one in numbers]) for name in dict.fromkeys(n for one in numbers for n in one)]
    known = [own for own in labels if own is not None]
    return [
        (next((own[a] for own in known if a < len(own)), None), [a if a < height else None for height in heights])
        for a in range(n_rows)
    ]


def _row_names(result: dict[str, Any], n: int) -> list[str] | None:
    """The names of a matrix's n rows: J's outputs, or a Hessian's parameters; None where they have none."""
    if np.ndim(result.get("derivative") or ()) < 2:
        return None
    found = result.get("names" if result.get("task") == "hessian" else "outputs")
    return list(found) if found and len(found) == len(set(found)) == n else None


def _array(result: dict[str, Any], key: str) -> Floats | None:
    value = result.get(key)
    if not isinstance(value, list) or not value:
        return None
    array = np.array(value, dtype=np.float64)
    return array if array.ndim <= 2 else None


def _rows(result: dict[str, Any], key: str) -> Floats | None:
    """A derivative or its bars as rows of one number a parameter."""
    array = _array(result, key)
    return None if array is None else np.atleast_2d(array)


def _row(rows: Floats | None, a: int | None) -> Floats | None:
    return rows[a] if rows is not None and a is not None and a < len(rows) else None


def _by_name(result: dict[str, Any], values: Floats | None, names: list[str]) -> Floats:
    """Values in the order of ``names``; NaN for what a run does not have."""
    own = result.get("names", [])
    if values is None or values.ndim != 1 or len(values) != len(own):
        return np.full(len(names), np.nan)
    if own == names:
        return values
    known = dict(zip(own, values.tolist(), strict=True))
    return np.array([known.get(name, np.nan) for name in names])


def _cells(columns: Sequence[Floats], k: int) -> tuple[float | None, ...]:
    return tuple(float(column[k]) if math.isfinite(column[k]) else None for column in columns)


def in_effect(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The configurations with each key's default filled in, and numbers in one form.

    If one of them was written by a version with other keys, all are returned unchanged.
    """
    from pydantic import ValidationError

    from distfd.config.schema import Config

    try:
        whole = [Config.model_validate(config) for config in configs]
    except (ValidationError, DistfdError):
        return list(configs)
    return [config.model_dump(mode="json", by_alias=True, exclude_none=True) for config in whole]


def config_differences(configs: Sequence[dict[str, Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Keys by their paths, and the values of each configuration, where these are not all equal.

    A key that is empty in one and absent in another is no difference, and each output of a program is one key. ``$NAME
    (not shown)`` stands for a value of an environment variable that has 8 characters or more.
    """
    flat = [dict(_flat(config)) for config in configs]
    for key in dict.fromkeys(key for each in flat for key in each):
        values = tuple(each.get(key) for each in flat)
        if key in _NO_DIFFERENCE or all(_means_nothing(value) for value in values):
            continue
        if len({json.dumps(value, default=str) for value in values}) > 1:
            yield key, tuple(_shown(key, value) for value in values)


def _shown(key: str, value: Any) -> Any:
    """A value; of an environment variable that may be secret, as where a message quotes one, its name."""
    if key.startswith(_ENV) and isinstance(value, str) and len(value) >= SHORTEST_SET:
        return f"${key.removeprefix(_ENV)} (not shown)"
    return value


def _means_nothing(value: Any) -> bool:
    """Whether a value means the same as an absent key; 0 does not, as it may be a bound or a start."""
    return value is None or value is False or (isinstance(value, (str, list, dict)) and not value)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves; parameters go by their names, and other lists are leaves."""
    if path in _ONE_LINE_EACH and isinstance(value, dict):
        for key, inside in value.items():
            yield f"{path}.{key}", _without_usual(inside)
    elif isinstance(value, dict) and value:
        for key, inside in value.items():
            yield from _flat(inside, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and all(isinstance(each, dict) and "name" in each for each in value):
        for each in value:
            rest = {key: inside for key, inside in each.items() if key != "name"}
            yield from _flat(rest, f"{path}.{each['name']}")
    else:
        yield path, value


def _without_usual(output: Any) -> Any:
    """An output's keys without those that are as by default."""
    if not isinstance(output, dict):
        return output
    return {key: _without_usual(value) for key, value in output.items() if not (key in _USUAL and value in _USUAL[key])}
