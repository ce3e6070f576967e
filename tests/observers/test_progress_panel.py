"""The panel on a terminal: within its width, true, and never in the way."""

from __future__ import annotations

import io
import os
import pty

import numpy as np
import pytest
from batches import batch
from rich.console import Console

from distfd import events
from distfd.observers.progress_panel import LivePanel, _View, panel_lines
from distfd.observers.progress_state import ProgressState


def busy() -> ProgressState:
    standing = ProgressState()
    standing.take(events.WaveStarted("gradient", 1001, 7, 8))
    for slot in range(8):
        standing.take(events.SlotStarted(slot, "here", slot))
    standing.take(events.BatchFinished(batch(400, failed=3)))
    standing.take(events.BatchFinished(batch(12)))
    standing.take(events.Running(8, 8, "coordinate 3 ('depth'), x = 1.0", 12.0))
    standing.take(events.Iterated(7, np.zeros(3), 2.0187, 3.1e-5))
    return standing


@pytest.mark.parametrize("width", [40, 80, 200])
def test_all_facts_stand_within_the_width(width: int) -> None:
    head, *below = panel_lines(busy(), width)
    assert head.startswith("412/994")
    assert all(len(line) <= width for line in below)
    facts = " | ".join(below).split(" | ")
    for fact in (
        "iteration 7: J = 2.0187, |g| = 3.1e-05",
        "8 of 8 slots at work",
        "round 52 of 125",
        "7 reused",
        "3 failed",
        "longest: coordinate 3 ('depth'), 12 s",
    ):
        assert fact in facts, "whole, in one line"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_is_drawn_is_no_wider_than_the_terminal(width: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    panel = LivePanel(stream)
    panel._standing = busy()
    console.print(_View(panel))
    lines = stream.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert len(lines) <= 8
    assert "gradient" in lines[0]
    assert "412/994" in lines[0]


@pytest.mark.parametrize("held", [True, False])
def test_the_panel_goes_when_all_is_over(held: bool) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal, os.fdopen(leader, "rb", buffering=0):
        panel = LivePanel(terminal)
        if held:
            panel.hold("starting workers")
            assert panel._live is not None
        panel(events.WaveStarted("gradient", 3, 0, 2))
        panel._standing.began -= 1.0  # the wave has taken a second
        panel(events.BatchFinished(batch(1)))
        assert panel._live is not None
        panel(events.WaveEnded("gradient", 3, 0, 1.0, 1.0))
        assert (panel._live is not None) == held, "held, it stays between waves"
        panel(events.Stopped())
        assert panel._live is None
        panel.close()


def test_short_waves_put_no_panel_up() -> None:
    panel = LivePanel(io.StringIO())
    panel(events.WaveStarted("gradient", 3, 0, 2))
    panel(events.BatchFinished(batch(3)))
    assert panel._live is None
