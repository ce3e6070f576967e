"""Numbers, times and places as the page spells them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

UNKNOWN = "\N{EN DASH}"


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
    for limit, unit, name in ((1e-3, 1e-6, "µs"), (1.0, 1e-3, "ms"), (120.0, 1.0, "s")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
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
    return UNKNOWN if not math.isfinite(part) else f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.1f} %"


def moment(epoch: float) -> str:
    """A time of day in UTC, to the second."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def short(text: str, most: int = 28) -> str:
    """A name that fits beside a chart."""
    return text if len(text) <= most else text[: most - 6] + "…" + text[-5:]
