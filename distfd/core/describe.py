"""Texts that describe points and failures: which coordinate, which x, the reason, and the remedy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from distfd.core.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Batch, Failure

PRINTED = "--- the last lines of "
"""Start of the detail of a program's failure: such a detail is short, and shown in full."""

_REMEDIES = {
    Status.ERROR: "correct J, its bounds or step, or let a component be missing or repaired (on_failure: nan, repair)",
    Status.CRASH: "look for the crash in J (memory, a signal, an exit), or allow more tries (retries: {crash: n})",
    Status.TIMEOUT: "raise the timeout, or allow more tries (retries: {timeout: n})",
}
_FEW = 3
"""Largest number of changed coordinates that are named one by one."""

_BASELINE_REMEDY = "correct J, or choose another x"
"""Of an error at x itself, which is no component that could be left out."""
_IMPORT_REMEDY = "install the module where J is evaluated, or put it in a file that can be imported there"
"""Of a module that J imports and that is not there."""
_COMPLEX_REMEDY = "let J take complex x (no float(), no math.), or use a scheme other than complex-step"


def coordinate_label(names: Sequence[str] | None) -> Callable[[int], str]:
    """A function from a coordinate's number to ``coordinate 3 ('mass')``, or to the number alone without names."""
    if names is None:
        return numbered
    return partial(_named, names)  # results hold it, and a lambda cannot be pickled


def _named(names: Sequence[str], k: int) -> str:
    return f"coordinate {k} ({names[k]!r})"


def numbered(k: int) -> str:
    """The name of a coordinate without a name of its own."""
    return f"coordinate {k}"


def numbered_output(j: int, m: int) -> str:  # noqa: ARG001  # same signature as functions that need m
    """The name of output j, for a J whose m outputs have no names."""
    return f"output {j}"


def point_label(points: Points, k: int, label: Callable[[int], str]) -> str:
    """A short description of how point k differs from x."""
    indices, values = points.changes(k)
    if not len(indices):
        return "x itself (the baseline)"
    if len(indices) > 1:
        few = len(indices) <= _FEW
        return f"point {k}, which changes " + (
            " and ".join(label(int(i)) for i in indices) if few else f"{len(indices)} coordinates of x"
        )
    i, value = int(indices[0]), values[0].item()
    return f"{label(i)}, x = {value!r} (baseline {float(points.x[i])!r}, moved by {value - float(points.x[i]):.3g})"


def short_vector(x: NDArray[Any]) -> str:
    """All elements of a short x; the first and last ones of a long x."""
    if len(x) <= 12:
        return "[" + ", ".join(f"{v:.10g}" for v in x) + "]"
    head, tail = (", ".join(f"{v:.6g}" for v in part) for part in (x[:4], x[-2:]))
    return f"[{head}, ... {len(x) - 6} more ..., {tail}]"


def failure_message(
    points: Points, k: int, failure: Failure, label: Callable[[int], str], *, attempts: int, place: str
) -> str:
    """A message that says what failed, where, why, and what to do."""
    lines = [
        f"J failed at {point_label(points, k, label)}",
        f"  why:   {failure.text}",
        f"  x:     {short_vector(points.dense(k))}",
        f"  where: {place or 'never started'}, {attempts} {'attempt' if attempts == 1 else 'attempts'}",
    ]
    said = [line for line in failure.detail.strip().splitlines() if line.strip()]
    program = bool(said) and said[0].startswith(PRINTED)
    last = said if program else said[-8:]
    # After a worker's death there is no message of J; the detail is then Ray's, and long.
    if last and (program or failure.status != Status.CRASH):
        lines += ["  J said:", *("    " + line for line in last)]
    if failure.status in _REMEDIES:
        remedy = _REMEDIES[failure.status]
        if failure.status == Status.ERROR:
            at_x = not len(points.changes(k)[0])
            remedy = _COMPLEX_REMEDY if points.imaginary[k] else _BASELINE_REMEDY if at_x else remedy
            if failure.text.startswith(ModuleNotFoundError.__name__):
                remedy = _IMPORT_REMEDY
        lines.append(f"  to do: {remedy}")
    return "\n".join(lines)


def where(batch: Batch) -> str:
    """Host and process of a batch."""
    return f"{batch.host} pid {batch.pid}" if batch.host else ""
