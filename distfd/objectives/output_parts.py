"""Which of J's outputs come from which expression of its value, so that they can be referred to by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class OutputPart:
    """A range of J's outputs that come from one expression.

    Attributes
    ----------
    text : str
        The expression.
    names : tuple of str
        Names by which the part may be referred to: outputs and data in the expression.
    length : int or None
        Number of outputs; None if only an evaluation shows it.
    measured : (length,) ndarray or None
        The data, if the part is residuals: simulated minus measured, or the reverse.
    sign : int
        1 if the residuals are simulated minus measured, -1 if they are the reverse.
    """

    text: str
    names: tuple[str, ...]
    length: int | None = None
    measured: NDArray[np.float64] | None = None
    sign: int = 1


@dataclass(frozen=True, eq=False)
class MeasuredData:
    """The data of which J's m outputs are residuals, (m,) each.

    Attributes
    ----------
    values : ndarray
    sets : ndarray of int
        Number of the part that each belongs to.
    signs : ndarray of int
        As `OutputPart.sign`.
    """

    values: NDArray[np.float64]
    sets: NDArray[np.int64]
    signs: NDArray[np.int64]


def part_lengths(parts: Sequence[OutputPart], m: int | None) -> tuple[int, ...] | None:
    """The number of outputs of each part, if J has m outputs; with m None, as far as it is known before.

    None if the numbers cannot be determined, or do not add up to m.
    """
    known = [part.length for part in parts if part.length is not None]
    unknown = len(parts) - len(known)
    if m is None:
        return None if unknown else tuple(known)
    left = m - sum(known)
    told = not left if not unknown else left >= 1 and unknown in (1, left)  # as every part has at least one output
    if not told:
        return None
    return tuple(left // unknown if part.length is None else part.length for part in parts)


def data_of(parts: Sequence[OutputPart] | None, m: int) -> MeasuredData | None:
    """The data of which J's m outputs are residuals; None if some are no residuals."""
    lengths = part_lengths(parts, m) if parts else None
    if parts is None or lengths is None:
        return None
    data = [part.measured for part in parts if part.measured is not None]
    if [len(each) for each in data] != list(lengths):
        return None
    return MeasuredData(
        np.concatenate(data),
        np.repeat(np.arange(len(parts)), lengths),
        np.repeat([part.sign for part in parts], lengths),
    )


def naming_mistakes(given: Iterable[str], parts: Sequence[OutputPart]) -> list[tuple[str | None, str]]:
    """Mistakes, if names do not give every part one entry: (name, what is wrong), or (None, what is missing).

    Parameters
    ----------
    given : iterable of str
        The names that have an entry.
    """
    wanted, known = list(given), list(dict.fromkeys(name for part in parts for name in part.names))
    found: list[tuple[str | None, str]] = []
    for name in wanted:
        if name not in known:
            near = did_you_mean(str(name), known) or f"; they are {', '.join(known)}"
            found.append((name, f"is the name of no output or data that J is made of{near}"))
    if found:
        return found
    for part in parts:
        has = [name for name in wanted if name in part.names]
        if not has:
            remedy = f"; add one for {' or '.join(part.names)}" if part.names else ", and no output is in it"
            found.append((None, f"there is none for {part.text}{remedy}"))
        elif len(has) > 1:
            found.append((has[1], f"{part.text} has one already, that of {has[0]}"))
    return found
