"""What happens in a run, as small frozen records that observers are given."""

from distfd.results.events import (
    AttemptFailed,
    BatchFinished,
    Differentiated,
    Event,
    Improved,
    Iterated,
    Running,
    SlotStarted,
    Stopped,
    Waiting,
    WaveEnded,
    WaveStarted,
)

__all__ = [
    "AttemptFailed",
    "BatchFinished",
    "Differentiated",
    "Event",
    "Improved",
    "Iterated",
    "Running",
    "SlotStarted",
    "Stopped",
    "Waiting",
    "WaveEnded",
    "WaveStarted",
]
