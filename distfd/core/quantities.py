"""Durations and sizes as people write them."""

from __future__ import annotations

import contextlib
import re
from datetime import timedelta
from typing import Any

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES: dict[str, int] = {"B": 1, **{f"{p}B": 1000**k for k, p in enumerate(("k", "M", "G", "T"), 1)}} | {
    f"{p}iB": 1024**k for k, p in enumerate(("K", "M", "G", "T"), 1)
}
DURATION = r"([0-9]{1,15}(?:\.[0-9]{0,15})?) *(s|min|h|d)"
SIZE = rf"([0-9]{{1,15}}(?:\.[0-9]{{0,15}})?) *({'|'.join(BYTES)})"


def seconds(text: str) -> float:
    """The seconds of ``"30s"``, ``"10min"``, ``"1.5h"`` or ``"2d"``.

    Raises
    ------
    ValueError
        If the text is not of this form.
    """
    if not (found := re.fullmatch(DURATION, text)):
        raise ValueError("must be a number of seconds, or text such as 30s, 10min, 1.5h, 2d")
    return float(found[1]) * SECONDS[found[2]]


def in_seconds(given: Any) -> str:
    """The end of a sentence: how many seconds a text such as "5min", or a timedelta, stands for."""
    if isinstance(given, timedelta):
        return f"; that is {given.total_seconds():g}"
    if not isinstance(given, str):
        return ""
    with contextlib.suppress(ValueError):
        return f"; that is {seconds(given):g}"
    with contextlib.suppress(ValueError):
        return f"; give the number {float(given):g}"
    return ""


def size(text: str) -> int:
    """The bytes of ``"512MiB"``, ``"4GiB"`` or ``"1.5GB"``.

    Raises
    ------
    ValueError
        If the text is not of this form.
    """
    if not (found := re.fullmatch(SIZE, text)):
        raise ValueError("must be a number of bytes, or text such as 512MiB, 4GiB, 4GB")
    return round(float(found[1]) * BYTES[found[2]])
