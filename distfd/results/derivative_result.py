"""A derivative and what is known of it, and how people see it: in a terminal, in a notebook, as a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.results.csv_export import data_frame, write_csv

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.consistency import Consistency
    from distfd.results.evaluations import Evaluations

_ALL = 24
"""Rows up to which a table is whole; of longer ones the ends are shown."""
_HEAD, _TAIL = 12, 6
_OUTPUTS = 4
"""Outputs of J, or columns of a Hessian, that are shown."""

_CELL = 'style="text-align:right;padding:0.15em 0.9em"'


@dataclass(frozen=True, eq=False, repr=False)
class DerivativeResult:
    """A derivative and what is known of it.

    Attributes
    ----------
    derivative : ndarray or sparse array
        (d,) for a gradient or Hessian-vector product, (m, d) for a Jacobian (csr where its sparsity was given), (d, d)
        for a Hessian, (p,) or (p, m) for p directions, (m,) for a Jacobian-vector product; NaN where missing.
    value : float or (m,) ndarray
        J(x).
    error : ndarray, sparse array or None
        Half width of an interval meant to hold the derivative with at least 95 %; None where nothing is known. Sparse
        where the derivative is.
    step : (d,) ndarray
        Realised steps; 0 at coordinates that do not move. Along directions: (p,).
    scheme : str
    missing : (n,) ndarray of int
        Coordinates (or directions) without a derivative; of a J with several outputs, those that lack it for any of
        them. `missing_entries` says for which.
    n_evaluations : int
        Points computed in this call, the baseline included, and those of a directional check.
    n_reused : int
        Points whose values were known before.
    n_failed, n_retried : int
        Points that failed for good, and further tries.
    wall_seconds : float
    efficiency : float or None
        Ideal time over wall time, where the ideal is max(longest evaluation, total / slots), summed over waves.
    evaluations : Evaluations
        A sequence of `Evaluation`; ``evaluations.array`` is a structured array, ``evaluations["seconds"]`` a column.
    warnings : tuple of str
        Reasons to doubt it, by coordinate name.
    noise : float or None
        The noise level of J, where it was measured or given.
    x : (d,) ndarray or None
        Where the derivative was taken.
    names : tuple of str or None
        The coordinates' names, where they have any.
    kind : str
        As for `Evaluator.differentiate`.
    repaired : mapping of int to str
        With on_failure="repair": coordinates along which J failed, and what their derivatives were formed from
        instead. Where there are error bars, theirs are NaN: nothing is known of them.
    consistency : Consistency or None
        What a directional check found, at one point more; None where there was none.
    start_seconds : float
        Of the wall time, until the first worker was up: the efficiency of later calls lacks it.
    outputs : tuple of str or None
        What J's outputs are called, where they have names.
    unchecked : int
        How many evaluations ``check=True`` would add, where there was no directional check because no slot was idle; 0
        where there was one, where you asked for none, or where error bars stand in its place.
    """

    derivative: NDArray[np.float64]
    value: float | NDArray[np.float64]
    error: Any
    step: NDArray[np.float64]
    scheme: str
    missing: NDArray[np.int64]
    n_evaluations: int
    n_reused: int
    n_failed: int
    n_retried: int
    wall_seconds: float
    efficiency: float | None
    evaluations: Evaluations
    ideal_seconds: float = 0.0
    slots: int = 1
    warnings: tuple[str, ...] = ()
    noise: float | None = None
    x: NDArray[np.float64] | None = None
    names: tuple[str, ...] | None = None
    kind: str = "gradient"
    repaired: Mapping[int, str] = field(default_factory=dict)
    consistency: Consistency | None = None
    start_seconds: float = 0.0
    outputs: tuple[str, ...] | None = None
    unchecked: int = 0

    @property
    def plain(self) -> DerivativeResult:
        """The same in arrays, where x has a structure with names; else itself."""
        return self

    @property
    def missing_entries(self) -> NDArray[np.int64]:
        """Where ``derivative`` is NaN, one row of indices for each place: (output, coordinate) of a Jacobian."""
        derivative: Any = self.plain.derivative
        if isinstance(derivative, np.ndarray):
            return np.argwhere(np.isnan(derivative))
        entries = derivative.tocoo()
        lost = np.isnan(entries.data)
        return np.stack((entries.row[lost], entries.col[lost]), axis=1).astype(np.int64)

    @property
    def labels(self) -> NDArray[np.str_]:
        """What the entries of a gradient (d,) or a Jacobian (m, d) are called: ``d cl / d alpha``.

        Raises
        ------
        InputError
            If it is the derivative of another kind.
        """
        if self.kind not in ("gradient", "jacobian"):
            raise InputError(f"labels: entries of a derivative of kind {self.kind} have none")
        names = _names(self, self.derivative.shape[-1])
        if self.kind == "gradient":
            return np.array([entry_label("J", name) for name in names])
        of = output_names(self.outputs, self.derivative.shape[0])
        return np.array([[entry_label(output, name) for name in names] for output in of])

    def __repr__(self) -> str:
        return result_text(self.plain)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        return result_html(self.plain)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the derivative as a table, one line a coordinate (or direction); NaN is an empty cell.

        The evaluations have a ``to_csv`` of their own.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        write_csv(path, result_columns(self.plain))

    def to_dataframe(self) -> Any:
        """The derivative as a pandas.DataFrame, one row a coordinate (or direction).

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        return data_frame(result_columns(self.plain))

    def to_series(self) -> Any:
        """A gradient, or another derivative that is a vector, as a pandas.Series by the names of coordinates.

        Raises
        ------
        InputError
            If it is a matrix, or pandas is not installed.
        """
        plain = self.plain
        if np.ndim(plain.derivative) != 1 or not isinstance(plain.derivative, np.ndarray):
            raise InputError(f"to_series: a {plain.kind} is a matrix; use to_dataframe()")
        titles = {"name": _names(plain, len(plain.derivative)), "derivative": plain.derivative}
        return data_frame(titles).set_index("name")["derivative"].rename_axis(None)


def result_text(result: DerivativeResult) -> str:
    """What it is, the table, and what it took."""
    if result.kind == "value":
        return "\n".join([f"J = {result.value}", "", *_notes(result)])
    columns, more = _shown(result)
    rows = _rows(len(next(iter(columns.values()))))
    cells = {title: [_cell(title, column[k]) for k in rows] for title, column in columns.items()}
    widths = {title: max(len(title), *map(len, column)) for title, column in cells.items()}
    first = next(iter(columns))
    lines = [_headline(result), "", "  ".join(f"{title:{_side(title, first)}{widths[title]}}" for title in columns)]
    for at, k in enumerate(rows):
        if at and k != rows[at - 1] + 1:
            lines.append(f"... {k - rows[at - 1] - 1} more ...")
        lines.append("  ".join(f"{column[at]:{_side(title, first)}{widths[title]}}" for title, column in cells.items()))
    return "\n".join([*lines, *([more] if more else []), "", *_notes(result)])


def result_html(result: DerivativeResult) -> str:
    """The same for a notebook."""
    if result.kind == "value":
        return f"<pre>{escape(result_text(result))}</pre>"
    columns, more = _shown(result)
    rows = _rows(len(next(iter(columns.values()))))
    head = "".join(f'<th scope="col" {_CELL}>{escape(title)}</th>' for title in columns)
    body = []
    for at, k in enumerate(rows):
        if at and k != rows[at - 1] + 1:
            body.append(f'<tr><td colspan="{len(columns)}">... {k - rows[at - 1] - 1} more ...</td></tr>')
        first, *rest = (escape(_cell(title, column[k])) for title, column in columns.items())
        body.append(f'<tr><th scope="row">{first}</th>' + "".join(f"<td {_CELL}>{c}</td>" for c in rest) + "</tr>")
    notes = [*([more] if more else []), *_notes(result)]
    return (
        f"<table><caption>{escape(_headline(result))}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>" + "".join(f"<div>{escape(note)}</div>" for note in notes)
    )


def result_columns(result: DerivativeResult) -> dict[str, Any]:
    """All columns of the derivative, one row a coordinate (or direction, or output of a product).

    Of a sparse Jacobian, one row an entry.
    """
    if not isinstance(result.derivative, np.ndarray):
        entries = result.derivative.tocoo()
        names = _names(result, result.derivative.shape[1])
        hessian = result.kind == "hessian"
        outer: dict[str, Any] = (
            {"row": [names[k] for k in entries.row]}
            if hessian
            else {"output": entries.row if result.outputs is None else [result.outputs[k] for k in entries.row]}
        )
        listed = {**outer, "name": [names[k] for k in entries.col], "derivative": entries.data}
        return listed if result.error is None else {**listed, "error": result.error.tocoo().data}
    table, titles = _table(result)
    rows = len(table)
    columns: dict[str, Any] = {"name": _names(result, rows)}
    if _by_coordinate(result) and result.x is not None:
        columns["x"] = result.x
    columns |= {title: table[:, a] for a, title in enumerate(titles)}
    if result.error is not None:
        error = result.error.T if result.kind == "jacobian" else result.error
        bars = error.reshape(rows, -1)
        named = result.outputs if result.kind == "jacobian" else None
        of = [f"error{a}" if named is None else f"error of {named[a]}" for a in range(bars.shape[1])]
        columns |= {"error" if bars.shape[1] == 1 else title: bars[:, a] for a, title in enumerate(of)}
    if np.shape(result.step) == (rows,):
        columns["step"] = result.step
    return columns


def _shown(result: DerivativeResult) -> tuple[dict[str, Any], str]:
    """Columns that fit a terminal, and what is left out."""
    columns = result_columns(result)
    dense = isinstance(result.derivative, np.ndarray)
    outputs = [title for title in _table(result)[1] if title in columns][_OUTPUTS:] if dense else []
    bars = [title for title in columns if title.startswith("error") and title != "error"]
    if not outputs:
        return columns, ""
    kept = {title: column for title, column in columns.items() if title not in (*outputs, *bars)}
    return kept, f"and {len(outputs)} more column{'s' if len(outputs) > 1 else ''}: see derivative, or to_csv"


def _table(result: DerivativeResult) -> tuple[Any, list[str]]:
    """The derivative with a row for each coordinate or direction, and its columns' titles."""
    derivative = result.derivative
    if derivative.ndim == 1:
        return derivative[:, None], [_TITLES.get(result.kind, "derivative")]
    if result.kind == "hessian":
        return derivative, [f"d2J/dx d{name}" for name in _names(result, derivative.shape[1])]
    table = derivative.T if result.kind == "jacobian" else derivative
    if result.kind != "jacobian":
        return table, [f"dJ{a}/dx" for a in range(table.shape[1])]
    return table, jacobian_titles(result.outputs, _names(result, len(table)), table.shape[1])


def entry_label(output: str, name: str) -> str:
    """What the derivative of an output by a parameter is called."""
    return f"d {output} / d {name}"


def output_names(outputs: Sequence[str] | None, m: int) -> list[str]:
    """The names of m outputs: J0, J1, ... where they have none."""
    return list(outputs) if outputs is not None and len(outputs) == m else [f"J{a}" for a in range(m)]


def jacobian_titles(outputs: Sequence[str] | None, names: Sequence[str], m: int) -> list[str]:
    """Titles of a Jacobian's columns in a table with one row a parameter: m of them.

    Parameters
    ----------
    outputs : sequence of str or None
        The outputs' names, where they have any.
    names : sequence of str
        The parameters' names; where there is one, it is in the titles.
    """
    if outputs is None or len(outputs) != m:
        return [f"dJ{a}/dx" for a in range(m)]
    return [entry_label(output, names[0]) if len(names) == 1 else f"d {output} / dx" for output in outputs]


_TITLES = {"gradient": "dJ/dx", "directional": "dJ/dt", "hvp": "H v", "jvp": "J v"}


def _by_coordinate(result: DerivativeResult) -> bool:
    return result.kind not in ("directional", "jvp")


def _names(result: DerivativeResult, n: int) -> Sequence[str]:
    if not _by_coordinate(result):
        if result.kind == "jvp" and result.outputs is not None:
            return result.outputs
        return [f"{'direction' if result.kind == 'directional' else 'output'} {k}" for k in range(n)]
    return result.names if result.names is not None else [f"x{k}" for k in range(n)]


def _rows(n: int) -> list[int]:
    return list(range(n)) if n <= _ALL else [*range(_HEAD), *range(n - _TAIL, n)]


def _side(title: str, first: str) -> str:
    return "<" if title == first else ">"


def _cell(title: str, value: Any) -> str:
    if not isinstance(value, (float, np.floating)):
        return str(value)
    if np.isnan(value):
        return "unknown" if title.startswith("error") else "missing"
    return f"{value:.2g}" if title.startswith("error") else f"{value:.3g}" if title == "step" else f"{value:.8g}"


def _headline(result: DerivativeResult) -> str:
    shape = " x ".join(map(str, result.derivative.shape))
    value = f", J = {result.value:.10g}" if np.ndim(result.value) == 0 else f", J has {np.size(result.value)} outputs"
    parts = f"{result.kind} ({shape}) by {result.scheme}{value}"
    if result.kind == "gradient":
        parts += f", |g| = {euclidean_norm(np.nan_to_num(result.derivative)):.6g}"
    return parts


def euclidean_norm(vector: NDArray[np.float64]) -> float:
    """The length of a vector; its squares may be larger or smaller than any number, where `numpy.linalg.norm` ends."""
    size = float(np.max(np.abs(vector), initial=0.0))
    if 1e-140 < size < 1e140:
        return float(np.linalg.norm(vector))
    return size * float(np.linalg.norm(vector / size)) if 1e-300 < size < np.inf else size


def _missing_outputs(result: DerivativeResult, k: int) -> str:
    """Which outputs lack their derivative along coordinate k, where not all do."""
    if result.kind != "jacobian":
        return ""
    rows = result.missing_entries
    outputs = rows[rows[:, 1] == k, 0]
    if len(outputs) in (0, result.derivative.shape[0]):
        return ""
    named = [str(k) if result.outputs is None else result.outputs[k] for k in outputs[:_OUTPUTS].tolist()]
    more = f" and {len(outputs) - _OUTPUTS} more" if len(outputs) > _OUTPUTS else ""
    return f" (output{'s' if len(outputs) > 1 else ''} {', '.join(named[:_OUTPUTS])}{more})"


def _notes(result: DerivativeResult) -> list[str]:
    names = result.names
    lines = [f"warning: {text}" for text in result.warnings]
    if len(result.missing):
        few = ", ".join(
            (f"x{k}" if names is None or not _by_coordinate(result) else names[k]) + _missing_outputs(result, k)
            for k in result.missing[:10].tolist()
        )
        more = f" and {len(result.missing) - 10} more" if len(result.missing) > 10 else ""
        lines.append(f"missing, as J failed there: {few}{more}")
    if result.repaired:
        k, how = next(iter(result.repaired.items()))
        more = f" and {len(result.repaired) - 1} more" if len(result.repaired) > 1 else ""
        lines.append(f"repaired: {f'x{k}' if names is None else names[k]} ({how}){more}")
    if result.consistency is not None:
        lines.append(f"check: {result.consistency.sentence}")
    elif result.unchecked:
        lines.append(f"check: {no_check_text(result.unchecked, 'check=True')}")
    effort = f"{result.n_evaluations} evaluations, {result.n_reused} reused, {result.n_failed} failed"
    effort += f"; {result.wall_seconds:.3g} s on {result.slots} slot{'s' if result.slots != 1 else ''}"
    if result.efficiency is not None:
        effort += f", {efficiency_text(result.efficiency, result.wall_seconds, result.start_seconds)}"
    return [*lines, effort]


def no_check_text(n: int, setting: str) -> str:
    """That there was no directional check, and what one takes.

    Parameters
    ----------
    n : int
        Evaluations that it would add.
    setting : str
        What asks for it.
    """
    return f"none ({setting} adds {n} evaluation{'' if n == 1 else 's'})"


_TELLING_SHARE = 0.05
"""Of the wall time: a start that took less is not told of."""


def efficiency_text(efficiency: float, wall: float, start: float | None) -> str:
    """The efficiency since the first worker was up, and what it is with the time before, where that makes a difference.

    Parameters
    ----------
    efficiency : float
        Of the whole wall time.
    wall, start : float
        Seconds.
    """
    since = efficiency_since_up(efficiency, wall, start)
    if since is None or start is None:
        return f"efficiency {efficiency:.2f}"
    return f"efficiency {since:.2f} once the first worker was up ({start:.3g} s before that; {efficiency:.2f} with it)"


def efficiency_since_up(efficiency: float, wall: float, start: float | None) -> float | None:
    """The efficiency without the time until the first worker was up; None where that makes no difference.

    Parameters
    ----------
    efficiency : float
        Of the whole wall time.
    wall, start : float
        Seconds.
    """
    if start is None or not _TELLING_SHARE * wall < start < wall:
        return None
    return efficiency * wall / (wall - start)
