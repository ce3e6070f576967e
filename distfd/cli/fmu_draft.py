"""``distfd init --fmu FILE``: a first configuration from what an FMU says of its parameters and outputs."""

from __future__ import annotations

import keyword
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from distfd.cli.draft import Draft, other_tasks, quoted, refuse_existing
from distfd.core.errors import InputError
from distfd.objectives.fmu.description import Description, Variable, read_description

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST = 25
"""Largest number of parameters or outputs that are written to be used; others are comments."""

_MOST_OTHERS = 100
"""Largest number of comment lines of one kind."""

_COLUMN = 46
"""The column where remarks begin."""


def fmu_draft(file: str, to: str | None = None, *, force: bool = False) -> Draft:
    """A configuration for an FMU: none of its code is run.

    Parameters
    ----------
    file : path
        The FMU.
    to : path, optional
        The configuration to write; by default the FMU's name with .yaml, beside it.
    force : bool
        Whether the file may exist already; the caller that writes the draft renames it.

    Raises
    ------
    InputError
        If the file is no FMU that can be used, nothing in it can be a parameter or an output, or the configuration is
        there already.
    MissingSimulatorError
        If FMPy is not installed.
    """
    found = read_description(Path(file))
    config = Path(to) if to else Path(file).with_suffix(".yaml")
    if not force:
        refuse_existing([config])
    if not config.parent.is_dir():
        raise InputError(f"--to: there is no folder {config.parent}")
    beside = file if Path(file).is_absolute() else os.path.relpath(file, config.parent)
    return Draft(config, {config: _config(found, beside, config)})


def _config(found: Description, file: str, config: Path) -> str:
    outputs = _outputs(found)
    parameters, others = _movable(found)
    names = _short_names(outputs)
    stop = found.stop_time is not None and found.stop_time > (found.start_time or 0.0)
    made = f", exported by {_plain(found.tool)}" if found.tool else ""
    lines = [
        f"# Drafted by distfd init --fmu {_plain(file)}",
        f"# The model {_plain(found.model)}, FMI {found.version}{made}. Keep the parameters and outputs that matter.",
        f"#   distfd run {_plain(config.name)} --evaluate x0     one simulation: J at the values below",
        f"#   distfd plan {_plain(config.name)}                  what a derivative takes",
        f"#   distfd run {_plain(config.name)}                   dJ/d(parameter); run it again to resume",
        "",
        f"task: gradient                      # others: {', '.join(other_tasks())}",
        "",
        "objective:",
        "  fmu:",
        _line(f"    file: {quoted(file)}", "native code, which runs as you"),
        *_solver(found),
        *([_line(f"    start_time: {found.start_time!r}", "")] if found.start_time else []),
        _line(f"    stop_time: {found.stop_time!r}", "the FMU's own")
        if stop
        else _line("    stop_time: 1.0", "CHANGE THIS: the FMU does not say where it ends"),
        *_step(found),
        *_inputs(found),
        *([_line("    # start:", "other values of what is no parameter below")] if others else []),
        *(f"    #   {line}" for line in _entries(others)),
        _line("    outputs:", "at: last, max, min or mean; or times: [...]; or data: measured.csv"),
    ]
    for k, (name, variable) in enumerate(zip(names, outputs, strict=True)):
        lead = "      " if k < _MOST else "      # "
        lines.append(_line(f"{lead}{name}: {{variable: {quoted(variable.name)}, at: last}}", _remark(variable)))
    if len(outputs) > 1:
        remark = "CHANGE THIS: J, an expression of outputs; [a, b] for task: jacobian"
        lines.append(_line(f"    value: {names[0]}", remark))
    lines += ["", _line("parameters:", "lower and upper are bounds that no evaluation crosses")]
    lines += _parameters(parameters)
    lines += [
        "",
        "derivative:",
        "  scheme: central",
        _line("  step: auto", "by J's noise, which the FMU's solver makes; null is 6.1e-6 max(1, |x|)"),
        "",
        "evaluation:",
        "  timeout: 10min",
        "",
        "output: runs/" + (re.sub(r"\W+", "-", config.stem) or "fmu"),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _outputs(found: Description) -> list[Variable]:
    """Its outputs, or else what it calculates; real numbers first."""
    numbers = [v for v in found.variables.values() if v.is_number and not v.size and v.causality != "independent"]
    there = [v for v in numbers if v.causality == "output"]
    there = there or [v for v in numbers if v.causality == "local" and v.variability == "continuous"]
    if not there:
        raise InputError(
            f"{Path(found.file).name} has no output that is a number, so there is nothing to differentiate"
        )
    return sorted(there, key=lambda v: not v.is_real)[: _MOST + _MOST_OTHERS]


def _movable(found: Description) -> tuple[list[Variable], list[Variable]]:
    """The variables that become parameters, and others that can be set."""
    settable = [
        v
        for v in found.variables.values()
        if not v.size and v.causality != "input" and v.is_number and v.start is not None and not v.why_not_set()
    ]
    real = [v for v in settable if v.is_real and math.isfinite(v.start or 0.0)]
    moved = [v for v in real if v.causality == "parameter"] or real
    if not moved:
        inputs = [v for v in found.variables.values() if v.causality == "input" and v.is_real and not v.size]
        if not inputs:
            raise InputError(f"{Path(found.file).name} has no real parameter, start value or input that can be set")
        return inputs, settable
    return moved, [v for v in settable if v not in moved]


def _solver(found: Description) -> list[str]:
    """What solves it, where that is CVode, or could be."""
    if found.interface.is_exchange:
        tolerance = found.tolerance or 1e-8
        return [_line(f"    tolerance: {tolerance!r}", "of CVode, which solves it: it is for model exchange")]
    if len(found.kinds) > 1:
        return [_line("    # kind: model-exchange", "solved by CVode, not by its own solver, as co-simulation is")]
    return []


def _step(found: Description) -> list[str]:
    if (own := found.interface.fixed_step or found.step) is not None:
        return [_line(f"    step: {own!r}", "the communication step; the FMU's own")]
    return [_line("    # step: 0.01", "the communication step; a 500th of the time where none is given")]


def _inputs(found: Description) -> list[str]:
    """Its inputs as a comment: they keep their start values where nothing drives them."""
    there = [v for v in found.variables.values() if v.causality == "input" and v.is_number and not v.size]
    if not there:
        return []
    head = _line("    # inputs:", "numbers, or CSV files, or {times: [0, 1], values: [0, 2]}")
    return [head, *(f"    #   {line}" for line in _entries(there))]


def _entries(variables: Iterable[Variable]) -> list[str]:
    rows = list(variables)
    made = [_line(f"{quoted(v.name)}: {_start(v)}", _remark(v), _COLUMN - 8) for v in rows[:_MOST_OTHERS]]
    return made + ([f"... and {len(rows) - _MOST_OTHERS} more"] if len(rows) > _MOST_OTHERS else [])


def _start(variable: Variable) -> str:
    value = variable.start or 0.0
    if variable.type == "Boolean":
        return "true" if value else "false"
    return repr(value) if variable.is_real else repr(int(value))


def _parameters(variables: list[Variable]) -> list[str]:
    lines = []
    for k, variable in enumerate(variables[: _MOST + _MOST_OTHERS]):
        value, remark = variable.start or 0.0, _remark(variable)
        keys = [f"name: {quoted(variable.name)}", f"value: {value!r}"]
        inside = variable.lower <= value <= variable.upper
        keys += [f"lower: {variable.lower!r}"] if math.isfinite(variable.lower) else []
        keys += [f"upper: {variable.upper!r}"] if math.isfinite(variable.upper) else []
        if not value:
            nominal = abs(variable.nominal or 0.0)
            scale = nominal if 0 < nominal < math.inf else 1.0
            keys.append(f"scale: {scale!r}")
            remark = " ".join(filter(None, ("CHANGE scale: its typical size.", remark)))
        if not inside:
            remark = " ".join(filter(None, ("its value is outside of its min and max.", remark)))
        lead = "  - " if k < _MOST and inside else "  # - "
        lines.append(_line(f"{lead}{{{', '.join(keys)}}}", remark))
    if len(variables) > _MOST:
        total = f"  # The FMU has {len(variables)} parameters; the first {_MOST} are used. Each costs two simulations."
        lines.insert(0, total)
    return lines


def _short_names(variables: Iterable[Variable]) -> list[str]:
    """Names that expressions can use, such as ``tank_1_h`` for ``tank[1].h``."""
    made: list[str] = []
    for variable in variables:
        name = re.sub(r"\W+", "_", variable.name, flags=re.ASCII).strip("_")
        if not name.isidentifier() or keyword.iskeyword(name) or name in ("true", "false", "none", "null"):
            name = f"y_{name}".rstrip("_")
        if not isinstance(quoted(name), str) or quoted(name) != name:
            name = f"y_{name}"
        first, k = name, 2
        while name in made:
            name, k = f"{first}_{k}", k + 1
        made.append(name)
    return made


def _remark(variable: Variable) -> str:
    return _plain(" ".join(filter(None, (f"[{variable.unit}]" if variable.unit else "", variable.description))))


def _plain(text: str) -> str:
    """A text of the FMU's for a comment: one line of what can be printed."""
    return "".join(c if c.isprintable() else " " for c in text)[:100].strip()


def _line(text: str, remark: str, column: int = _COLUMN) -> str:
    return f"{text:<{column}}  # {remark}" if remark else text
