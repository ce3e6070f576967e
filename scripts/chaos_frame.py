"""What the sections of scripts/chaos.py are made of: a registry, and the rows of its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Row:
    """One line of the table: what was done, how often, and how often what must not be was seen."""

    fault: str
    times: int
    broken: int
    """Must be 0."""
    seen: str = ""
    """What else is worth telling: figures, not praise."""


@dataclass(frozen=True)
class Section:
    """A kind of fault; ``run(times)`` does it so often and yields rows as it knows them."""

    name: str
    times: int
    """How often by default: the full count."""
    run: Callable[[int], Iterator[Row]]


SECTIONS: dict[str, Section] = {}


def section(name: str, times: int) -> Callable[[Callable[[int], Iterator[Row]]], Callable[[int], Iterator[Row]]]:
    """Enter a function into the registry."""

    def enter(run: Callable[[int], Iterator[Row]]) -> Callable[[int], Iterator[Row]]:
        SECTIONS[name] = Section(name, times, run)
        return run

    return enter
