"""How the slots' time was spent: evaluations of J, and everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.log_file import LoggedSession
    from distfd.reporting.run_clock import RunClock
    from distfd.reporting.run_data import RunData

_ENDS_WORKERS = (Status.CRASH, Status.TIMEOUT, Status.LOST)
"""Statuses of attempts whose process ended with them, used where the process id is not known."""


@dataclass(frozen=True)
class Share:
    """One part of all slots' time, in slot-seconds."""

    kind: str
    title: str
    meaning: str
    seconds: float


_PARTS = (
    ("useful", "J", "evaluations whose values count"),
    ("lost", "Lost attempts", "failed ones, and duplicates that were not needed"),
    ("start", "Starting", "Ray, worker processes, imports and set-up, until a slot's first evaluation"),
    ("restarts", "Restarts", "new worker processes in the place of those that were killed, lost or recycled"),
    ("tail", "Waiting for the last", "slots with nothing left to do in a wave"),
    ("between", "Between waves", "planning, the optimizer, writing results"),
    ("handing", "Handing out", "scheduling, transport, storing: gaps between evaluations"),
)


def where_time_went(data: RunData, clock: RunClock) -> list[Share]:
    """The parts, in order, over all sessions in the log; empty if waves are not known."""
    totals = dict.fromkeys((kind for kind, *_ in _PARTS), 0.0)
    rows = data.attempts.rows
    rows = rows[np.isfinite(rows["started"]) & np.isfinite(rows["ended"]) & (rows["slot"] >= 0)]
    sessions = [session for session in data.log.sessions if session.waves]
    for session in sessions:
        at = int(np.clip(np.searchsorted(clock.begins, session.started + 1e-3, side="right") - 1, 0, None))
        begin, end = float(clock.begins[at]), float(clock.ends[at])
        mine = rows[(rows["started"] >= begin) & (rows["started"] < end)]
        for kind, seconds in _session(session, mine, begin, end).items():
            totals[kind] += seconds
    if not sum(totals.values()):
        return []
    return [Share(kind, title, meaning, totals[kind]) for kind, title, meaning in _PARTS]


def _session(session: LoggedSession, rows: NDArray[Any], begin: float, end: float) -> dict[str, float]:
    numbers, slot = np.unique(rows["slot"], return_inverse=True)
    n = max(len(numbers), *(wave.slots for wave in session.waves))
    # The last entry stands for all slots that were given nothing: their number is what a log says, and any number.
    first = np.append(np.full(len(numbers), np.inf), begin)
    alike = np.append(np.ones(len(numbers)), n - len(numbers))
    if len(rows):
        np.minimum.at(first, slot, rows["started"])
        # A slot that was given nothing waited for it like the others.
        first[-1] = first[:-1].min()
    seconds = rows["ended"] - rows["started"]
    ok = rows["status"] == Status.OK
    starts = np.array([wave.started for wave in session.waves])
    ends = np.array([end if wave.ended is None else wave.ended for wave in session.waves])
    parts = {
        "useful": float(seconds[ok].sum()),
        "lost": float(seconds[~ok].sum()),
        "start": float((first - begin) @ alike),
        "restarts": _restarts(rows, slot, starts),
        "tail": float(_tail(rows, slot, first, starts, ends) @ alike),
        "between": float(_overlap(np.append(ends, end)[:-1], np.append(starts[1:], end), first) @ alike),
    }
    return {**parts, "handing": max(0.0, n * (end - begin) - sum(parts.values()))}


def _restarts(rows: NDArray[Any], slot: NDArray[np.int64], starts: NDArray[np.float64]) -> float:
    """Seconds from a slot's last evaluation in one process to its first in the next one, inside a wave.

    A slot without a further evaluation in the wave waits for the wave's end, whatever its process does.
    """
    order = np.lexsort((rows["ended"], rows["started"], slot))
    rows, slot = rows[order], slot[order]
    before, after = rows[:-1], rows[1:]
    wave = np.searchsorted(starts, rows["started"], side="right")
    known = (before["pid"] > 0) & (after["pid"] > 0)
    another = np.where(known, before["pid"] != after["pid"], np.isin(before["status"], _ENDS_WORKERS))
    counts = another & (slot[1:] == slot[:-1]) & (wave[1:] == wave[:-1])
    return float(np.clip(after["started"] - before["ended"], 0, None)[counts].sum())


def _tail(
    rows: NDArray[Any],
    slot: NDArray[np.int64],
    first: NDArray[np.float64],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Seconds from a slot's last evaluation of a wave to the wave's end, of all waves together."""
    last = np.maximum(starts[:, None], first[None, :])
    wave = np.clip(np.searchsorted(starts, rows["started"], side="right") - 1, 0, None)
    np.maximum.at(last, (wave, slot), rows["ended"])
    return np.clip(ends[:, None] - last, 0, None).sum(axis=0)  # type: ignore[no-any-return]  # an array


def _overlap(begins: NDArray[np.float64], ends: NDArray[np.float64], first: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds of these stretches of time, of each slot from its first evaluation on."""
    found = np.clip(ends[:, None] - np.maximum(begins[:, None], first[None, :]), 0, None)
    return found.sum(axis=0)  # type: ignore[no-any-return]  # an array
