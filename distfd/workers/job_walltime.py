"""When the time of the job that this process is part of is up."""

from __future__ import annotations

import os
import subprocess
import time
import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from distfd.core.awake_clock import now, seconds_lost
from distfd.core.errors import InputError
from distfd.core.validation import is_number

if TYPE_CHECKING:
    from collections.abc import Mapping

_ASKING = 10.0
"""Seconds that scontrol may take."""


@dataclass(frozen=True)
class TimeLimit:
    """Nothing is begun that cannot be done by then, and nothing runs any more."""

    until: float
    """On the clock of `distfd.core.awake_clock.now`; where ``real``, on that of `time.monotonic`."""
    why: str
    real: bool = False
    """Whether time goes on while this process is stopped, as it does for the end of a Slurm job."""

    @property
    def end(self) -> float:
        """When it is, on the clock of `distfd.core.awake_clock.now`."""
        return self.until - seconds_lost() if self.real else self.until


def find_time_limit(
    stop_before: float | None, max_wall_time: float | None, environ: Mapping[str, str] = os.environ
) -> TimeLimit | None:
    """The moment by which all must be done; None if there is none.

    Parameters
    ----------
    stop_before : float, optional
        Seconds to be left when the job's time is up. The end is that of the Slurm job, or that of ``max_wall_time``,
        whichever comes first. Without it, Slurm is not asked.
    max_wall_time : float, optional
        Seconds from now in which this process is not stopped.

    Raises
    ------
    InputError
        If one of them is not > 0, or the first leaves nothing of the second.
    """
    for name, seconds in (("stop_before", stop_before), ("max_wall_time", max_wall_time)):
        if seconds is not None and not (is_number(seconds) and seconds > 0):
            raise InputError(f"cluster.{name}: must be > 0 seconds (was {seconds!r})")
    margin = stop_before or 0.0
    if max_wall_time is not None and margin >= max_wall_time:
        raise InputError(f"cluster.stop_before: {margin:g} s leave nothing of max_wall_time, {max_wall_time:g} s")
    limits = []
    if max_wall_time is not None:
        limits.append(TimeLimit(now() + max_wall_time - margin, f"max_wall_time is {max_wall_time:g} s"))
    end = _slurm_end(environ) if stop_before is not None else None
    if end is not None:
        at = datetime.fromtimestamp(end).astimezone().isoformat(timespec="seconds")
        left = end - time.time() - margin
        limits.append(TimeLimit(time.monotonic() + left, f"Slurm ends the job at {at}", real=True))
    if stop_before is not None and not limits:
        warnings.warn(
            "cluster.stop_before has no effect: there is no Slurm job with a known end, and cluster.max_wall_time is "
            "not given",
            RuntimeWarning,
            stacklevel=3,
        )
    return min(limits, key=lambda limit: limit.end, default=None)


def _slurm_end(environ: Mapping[str, str]) -> float | None:
    """When Slurm ends this job, in seconds since the epoch; None where there is none, or no limit is set."""
    job, told = environ.get("SLURM_JOB_ID"), environ.get("SLURM_JOB_END_TIME", "")
    if told.isdigit():  # since Slurm 22.05
        return float(told)
    return None if job is None else _asked(job)


def _asked(job: str) -> float | None:
    try:
        asked = subprocess.run(  # noqa: S603  # the job's own number, and no shell
            ["scontrol", "show", "job", "-o", job],  # noqa: S607  # where it is, PATH knows
            capture_output=True,
            text=True,
            timeout=_ASKING,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    fields = dict(word.split("=", 1) for word in asked.stdout.split() if "=" in word)
    try:  # local time, or Unknown
        return datetime.fromisoformat(fields.get("EndTime", "")).timestamp()
    except ValueError:
        return None
