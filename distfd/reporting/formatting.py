"""Numbers, times and places as the page spells them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from distfd.core.printable import printable
from distfd.run_directory.directory import plain

UNKNOWN = "\N{EN DASH}"
_LONGEST = 1e10
"""Seconds above which days, hours and minutes say nothing: three hundred years."""


def number(value: Any, digits: int = 8) -> str:
    """A number in as few characters as its digits take; a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return UNKNOWN
    digits_, e, power = f"{value:.{digits}g}".partition("e")
    return f"{digits_}{e}{int(power) if e else ''}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: float | None) -> str:
    """Seconds with the unit that suits them."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 0:  # a clock was set back in between
        return f"\N{MINUS SIGN}{duration(-seconds)}"
    for unit, name in ((1e-6, "µs"), (1e-3, "ms")):
        if seconds < 999.5 * unit:  # what rounds to 1000 has the next unit
            return f"{seconds / unit:.3g} {name}".replace("e-", "e\N{MINUS SIGN}")
    if seconds < 119.5:
        return f"{seconds:.3g} s"
    if seconds >= _LONGEST:
        return f"{seconds:.3g} s"
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole, "s")]
    first = next(k for k, (amount, _) in enumerate(parts) if amount)
    return " ".join(f"{amount} {name}" for amount, name in parts[first : first + 2] if amount)


def count(n: int, one: str, several: str = "") -> str:
    """``3 evaluations``, ``1 evaluation``; thousands are set apart."""
    return f"{n:,} {one if n == 1 else several or one + 's'}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def percent(part: float) -> str:
    """A share of 1."""
    if not math.isfinite(part):
        return UNKNOWN
    return f"{100 * part:.1f} %" if abs(part) < 0.0995 else f"{100 * part:.0f} %"


def page_json(fields: Any) -> str:
    """JSON for a page: what is not finite is null, and no text of a run can turn the direction of reading."""
    return printable(json.dumps(plain(fields), allow_nan=False, ensure_ascii=False, separators=(",", ":")))


def moment(epoch: float) -> str:
    """A time of day in UTC, to the second."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def short(text: str, most: int = 28) -> str:
    """A name that fits beside a chart."""
    return text if len(text) <= most else text[: most - 6] + "…" + text[-5:]
