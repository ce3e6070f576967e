"""Combinations of two parameters of a test, of which CI takes some: each value of both at least once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


def in_turn(first: Iterable[Any], second: Iterable[Any], every: int = 3) -> list[Any]:
    """All pairs as pytest's parameters; those off every third diagonal are for the night (the mark ``nightly``)."""
    return [
        pytest.param(a, b, marks=[] if (i + j) % every == 0 else [pytest.mark.nightly])
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    ]
