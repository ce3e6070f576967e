"""Forecasts the time, slot-hours, traffic and memory of a wave on a large cluster, by a simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.jobs.simulation import CHUNK_COST, simulate_wave

if TYPE_CHECKING:
    from distfd.jobs.simulation import Simulated

_ROW = 121
"""Bytes of an evaluation in the store, measured with 10,001 evaluations."""
_POINT, _SLOT = 350, 10_000
"""Bytes in the driver for each point of the wave (measured at d = 1,000,000), and for each running Ray task."""
_WORKER = 70e6
"""Bytes of a slot's process, without J's own."""


@dataclass(frozen=True)
class Assumed:
    """Assumptions about a cluster and about J.

    Parameters
    ----------
    slots : int
    duration : float
        Mean seconds of an evaluation.
    spread : float
        Standard deviation of these seconds, relative to the mean.
    """

    slots: int
    duration: float
    spread: float = 0.0

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise InputError(f"--slots: must be >= 1 (was {self.slots})")
        if not self.duration > 0:
            raise InputError(f"--duration: must be > 0 (was {self.duration:g} s)")
        if not 0 <= self.spread <= 10:  # with a larger spread, a few longest evaluations would decide all
            raise InputError(f"--spread: must be between 0 and 10 (was {self.spread:g})")


def simulated(points: int, assumed: Assumed) -> Simulated:
    """The simulation of one wave."""
    return simulate_wave(points, assumed.slots, assumed.duration, assumed.spread)


def forecast_fields(points: int, assumed: Assumed, found: Simulated) -> dict[str, Any]:
    """The forecast in ``distfd plan --json``; times are in seconds, memory in bytes."""
    return {
        "slots": assumed.slots,
        "duration": assumed.duration,
        "spread": assumed.spread,
        "evaluations": points,
        "simulated": found.simulated,
        "wall_seconds": found.wall,
        "ideal_seconds": found.ideal,
        "efficiency": found.ideal / found.wall,
        "tail_seconds": found.tail,
        "backups": found.backups,
        "slots_killed": found.killed,
        "slot_hours": assumed.slots * found.wall / 3600,
        "driver_busy": found.driver,
        "store_bytes": points * _ROW,
        "driver_bytes": points * _POINT + assumed.slots * _SLOT,
        "worker_bytes": assumed.slots * _WORKER,
    }


def forecast(points: int, dimension: int, assumed: Assumed, found: Simulated | None = None) -> list[tuple[str, str]]:
    """Titles and texts that describe one wave.

    Parameters
    ----------
    points : int
        Number of evaluations.
    dimension : int
        Number of coordinates of x.
    assumed : Assumed
    found : Simulated, optional
        The simulation by `simulated`; if not given, the wave is simulated here.
    """
    found = simulated(points, assumed) if found is None else found
    slots, duration = assumed.slots, assumed.duration
    rate = points / found.wall
    limit = duration / CHUNK_COST
    driver = f"busy for {100 * found.driver:.2g} % of the time; one driver feeds about {limit:,.0f} such slots"
    if slots > limit:
        driver += ": MORE SLOTS THAN THAT ARE IDLE"
    counted = f"{slots:,} slot{'s' if slots != 1 else ''}"
    part = f" (of which {found.simulated:,} one by one)" if found.simulated < points else ""
    return [
        (
            "simulated",
            f"{points:,} evaluations of {_time(duration)}, spread {assumed.spread:g}, on {counted}{part}",
        ),
        (
            "wall time",
            f"{_time(found.wall)}, {found.wall / duration:.2f} rounds; efficiency {found.ideal / found.wall:.2f}",
        ),
        (
            "tail",
            f"{_time(found.tail)} in which slots run out of work; {found.backups} backups, {found.killed} slots killed",
        ),
        ("cost", f"{slots * found.wall / 3600:,.1f} slot-hours, {points * duration / 3600:,.1f} of them in J"),
        ("store", f"{_size(points * _ROW)}, {rate:,.3g} rows/s"),
        ("driver", driver),
        ("memory", f"driver {_size(points * _POINT + slots * _SLOT)}, workers {_size(slots * _WORKER)} beside J's own"),
        ("network", f"x is {_size(8 * dimension)}, once to each node; each value comes back by itself"),
    ]


def _time(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


def _size(amount: float) -> str:
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if amount >= unit:
            return f"{amount / unit:.3g} {name}"
    return f"{amount:.0f} B"
