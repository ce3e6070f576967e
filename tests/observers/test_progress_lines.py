"""Progress lines: few, and true."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field

import numpy as np
from batches import batch

from distfd import events
from distfd.core.records import Failure, Status
from distfd.observers.progress_lines import ProgressLines


@dataclass
class Screen:
    now: float = 0.0
    stream: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.lines = ProgressLines(self.stream, clock=lambda: self.now)

    @property
    def text(self) -> list[str]:
        printed = self.stream.getvalue().splitlines()
        assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in printed)
        return [line[9:] for line in printed]


def test_a_long_wave_is_told_every_few_seconds() -> None:
    screen = Screen()
    screen.lines(events.WaveStarted("gradient", 101, 1, 2))
    for slot in range(2):
        screen.lines(events.SlotStarted(slot, "here", 7))
    for second in range(1, 21):
        screen.now = float(second)
        screen.lines(events.BatchFinished(batch(5, failed=1 if second == 1 else 0)))
    screen.lines(events.WaveEnded("gradient", 100, 1, 20.0, 19.0))
    assert screen.text == [
        "gradient: 100 evaluations to begin with on 2 slots, 1 more are known",
        "25/100 evaluations, 1 failed, 2 slots, about 15 s left",
        "50/100 evaluations, 1 failed, 2 slots, about 10 s left",
        "75/100 evaluations, 1 failed, 2 slots, about 5 s left",
        "gradient: 100 evaluations, 1 failed in 20 s",
    ]


def test_an_optimizer_has_a_line_an_iteration() -> None:
    screen = Screen()
    for iteration in range(1, 4):
        screen.lines(events.WaveStarted("gradient", 5, 0, 2))
        screen.lines(events.BatchFinished(batch(5)))
        screen.lines(events.WaveEnded("gradient", 5, 0, 0.1, 0.1))
        screen.lines(events.Iterated(iteration, np.zeros(4), 1.0 / iteration))
    assert screen.text[0].startswith("gradient: 5 evaluations")
    assert screen.text[1:] == ["iteration 1: J = 1", "iteration 2: J = 0.5", "iteration 3: J = 0.33333333"]


def test_failures_and_waiting_are_told() -> None:
    screen = Screen()
    failure = Failure(Status.CRASH, "the worker process died")
    screen.lines(events.AttemptFailed("coordinate 3", 1, failure, again=True, host="here", pid=1))
    screen.lines(events.AttemptFailed("coordinate 3", 2, failure, again=False, host="here", pid=1))
    screen.lines(events.Waiting(31.0, "no slot is up"))
    assert screen.text == [
        "failed: coordinate 3: the worker process died (attempt 1; trying again)",
        "failed: coordinate 3: the worker process died (attempt 2)",
        "waiting for 31 s: no slot is up",
    ]


def test_only_the_first_failures_are_told_one_by_one() -> None:
    screen = Screen()
    for k in range(1000):
        failure = Failure(Status.ERROR, "no")
        screen.lines(events.AttemptFailed(f"coordinate {k}", 1, failure, again=False, host="here", pid=1))
    assert len(screen.text) == 6
    assert screen.text[-1] == "further failures are counted, and not told one by one"


def test_what_takes_long_is_named_and_lines_become_fewer() -> None:
    screen = Screen()
    screen.lines(events.WaveStarted("gradient", 3, 0, 2))
    for second in range(1, 3601):
        screen.now = float(second)
        screen.lines(events.Running(1, 1, "coordinate 2 ('width'), x = 3.1 (baseline 3.0)", float(second)))
    assert len(screen.text) < 60, "an hour of one evaluation"
    assert screen.text[-1].startswith("0/3 evaluations")
    assert re.search(r"longest at work: coordinate 2 \('width'\), \d+ min", screen.text[-1])


def test_a_fast_optimizer_does_not_flood() -> None:
    screen = Screen()
    for iteration in range(1, 1001):
        screen.now = 0.1 * iteration
        screen.lines(events.Iterated(iteration, np.zeros(4), 1.0 / iteration, 0.5))
    assert len(screen.text) <= 10 + 100 / 5
    assert screen.text[0] == "iteration 1: J = 1, |g| = 0.5"
