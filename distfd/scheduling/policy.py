"""What is tried again, when an evaluation has run too long, and whether it may be duplicated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distfd.core.records import Status
    from distfd.workers.job_walltime import TimeLimit


@dataclass(frozen=True)
class Policy:
    """How the evaluations of a session are treated."""

    retries: Mapping[Status, int]
    """Further tries after the first, by the status that ended it."""
    timeout: float | None = None
    """Seconds from the start of J."""
    limits_itself: bool = False
    """Whether the model ends itself at the timeout; the slot is then ended only a little later."""
    backups: bool = False
    """Whether an idle slot may try what another is late with: J gives the same value again, and a duplicate is free."""
    setup_limit: float | None = None
    """Seconds that J's constructor and setup() may take in a process."""
    limit: TimeLimit | None = None
    """When the job's time is up: nothing is begun that cannot be done by then."""
    keeps_partial: bool = False
    """Whether a baseline that lacks some of J's outputs is good for the others."""
