"""A clock that counts the time of a run's sessions, without the hours or days between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.reporting.log_file import LoggedSession
    from distfd.reporting.run_data import RunData


@dataclass(frozen=True, eq=False)
class RunClock:
    """Converts seconds since the epoch to seconds of running.

    Session s lasts from ``begins[s]`` to ``ends[s]``; a time between two sessions counts as the end of the first.
    """

    begins: NDArray[np.float64]
    ends: NDArray[np.float64]

    @property
    def total(self) -> float:
        """Seconds of running, in all sessions."""
        return float((self.ends - self.begins).sum())

    @property
    def joints(self) -> NDArray[np.float64]:
        """Where each session begins, in seconds of running."""
        lengths = self.ends - self.begins
        return np.asarray(np.cumsum(lengths) - lengths)

    def __call__(self, epoch: Any) -> NDArray[np.float64]:
        """Seconds of running at these times."""
        epoch = np.asarray(epoch, dtype=float)
        session = np.clip(np.searchsorted(self.begins, epoch, side="right") - 1, 0, None)
        length = self.ends[session] - self.begins[session]
        return np.asarray(self.joints[session] + np.clip(epoch - self.begins[session], 0, length))

    def from_first(self, started: NDArray[np.float64]) -> RunClock:
        """The same clock without the time before each session's first evaluation, and without sessions that had none.

        A start takes longer than a short run, and waiting in vain for a cluster even more.
        """
        kept = []
        for begin, end in zip(self.begins.tolist(), self.ends.tolist(), strict=True):
            mine = started[(started >= begin) & (started < end)]
            if len(mine):
                first = float(mine.min())
                kept.append((max(begin, first - 0.02 * (end - first)), end))
        if not kept:
            return self
        begins, ends = zip(*kept, strict=True)
        return RunClock(np.array(begins), np.array(ends))


def run_clock(data: RunData) -> RunClock | None:
    """The clock of a run; None if nothing is known about its times."""
    rows = data.attempts.rows
    known = rows[np.isfinite(rows["started"]) & np.isfinite(rows["ended"])]
    begins = [session.started for session in data.log.sessions]
    ends = [_end(session) for session in data.log.sessions]
    if not begins:
        if not len(known):
            return None
        begins, ends = [float(known["started"].min())], [float(known["ended"].max())]
    for s, begin in enumerate(begins):
        # The clocks of other hosts may be off a little, and a killed session did not record its end.
        after = begins[s + 1] if s + 1 < len(begins) else np.inf
        mine = known["ended"][(known["started"] >= begin) & (known["started"] < after)]
        if len(mine) and not (data.log.sessions and data.log.sessions[s].ended is not None):
            ends[s] = max(ends[s], min(float(mine.max()), after))
    keep = [s for s in range(len(begins)) if ends[s] > begins[s]]
    return RunClock(np.array([begins[s] for s in keep]), np.array([ends[s] for s in keep])) if keep else None


def _end(session: LoggedSession) -> float:
    return session.last if session.ended is None else session.ended
