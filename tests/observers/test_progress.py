"""`distfd.Progress`: the style that fits, JSON, notebooks, and evaluations that outlive their display."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from batches import batch

import distfd
from distfd import events
from distfd.core.records import Failure, Status
from distfd.observers.progress import _fitting
from distfd.observers.progress_json import JsonLines
from distfd.observers.progress_lines import progress_text
from distfd.observers.progress_notebook import NotebookBar
from distfd.observers.progress_panel import _facts
from distfd.observers.progress_state import ProgressState


def total(x: np.ndarray) -> float:
    return float(x @ x)


def test_an_observer_of_a_gradient() -> None:
    stream = io.StringIO()
    distfd.gradient(total, [1.0, 2.0], executor="serial", observers=[distfd.Progress(stream)])
    assert "gradient: 3 evaluations to begin with on 1 slot" in stream.getvalue()


class Broken(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("style", ["auto", "lines", "json", "live"])
def test_a_broken_display_breaks_no_evaluation(style: str) -> None:
    progress = distfd.Progress(Broken(), style=style)
    progress.say("a remark")
    progress.hold("starting")
    with progress:
        found = distfd.gradient(total, [1.0, 2.0], executor="serial", observers=[progress])
    np.testing.assert_allclose(found, [2.0, 4.0], rtol=1e-6)


def test_styles() -> None:
    with pytest.raises(distfd.InputError, match="style: must be one of"):
        distfd.Progress(style="pretty")
    silent = io.StringIO()
    distfd.gradient(total, [1.0], executor="serial", observers=[distfd.Progress(silent, style="none")])
    assert silent.getvalue() == ""


def test_a_terminal_has_the_panel_unless_it_is_dumb(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert _fitting(Terminal()) == "live"
    assert _fitting(io.StringIO()) == "lines"
    monkeypatch.setenv("TERM", "dumb")
    assert _fitting(Terminal()) == "lines"


def test_json_is_one_object_a_line_and_null_where_not_finite() -> None:
    stream, now = io.StringIO(), [0.0]
    lines = JsonLines(stream, clock=lambda: now[0])
    lines(events.WaveStarted("gradient", 201, 1, 2))
    for second in range(1, 101):
        now[0] = second / 10
        lines(events.BatchFinished(batch(2, failed=second == 1)))
    lines(events.AttemptFailed("coordinate 1", 1, Failure(Status.CRASH, "died"), again=True, host="h", pid=1))
    lines(events.Iterated(1, np.zeros(2), float("nan"), float("inf")))
    lines(events.WaveEnded("gradient", 200, 1, 10.0, 9.0))
    lines.say("a remark")
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    kinds = [line["event"] for line in found]
    assert kinds == ["wave_started", *["progress"] * 10, "failed", "iterated", "wave_ended", "remark"]
    progress = found[5]
    assert progress["finished"] == 100
    assert progress["total"] == 200
    assert progress["failed"] == 1
    assert progress["rate"] == pytest.approx(20, rel=0.05)
    assert (found[12]["value"], found[12]["gradient_norm"]) == (None, None)
    assert all("time" in line for line in found)


class Cell:
    """What IPython's display does with ids, as far as it is used."""

    def __init__(self) -> None:
        self.shown: list[list[str]] = []

    def display(self, page: Any, *, display_id: bool) -> Any:
        assert display_id
        self.shown.append([page._repr_html_()])
        cell, mine = self, len(self.shown) - 1

        class Handle:
            def update(self, page: Any) -> None:
                cell.shown[mine].append(page._repr_html_())

        return Handle()


def test_a_notebook_has_a_bar_for_each_evaluator_and_foreign_text_is_escaped() -> None:
    cell, now = Cell(), [0.0]
    bar = NotebookBar(cell.display, clock=lambda: now[0])
    for _ in range(2):
        bar(events.WaveStarted("gradient", 100, 0, 2))
        failure = Failure(Status.ERROR, "<script>alert(1)</script>")
        bar(events.AttemptFailed("coordinate 1", 1, failure, again=False, host="h", pid=1))
        for tick in range(100):
            now[0] += 0.01
            bar(events.BatchFinished(batch(1, failed=tick == 0)))
        bar(events.WaveEnded("gradient", 100, 1, 1.0, 1.0))
        bar(events.Stopped())
    assert len(cell.shown) == 2
    for drawn in cell.shown:
        assert len(drawn) <= 6, "a message to the browser twice a second, not for each evaluation"
        assert 'value="100"' in drawn[-1]
        assert "<script>" not in drawn[-1]
        assert "&lt;script&gt;" in drawn[-1]


def test_a_closed_notebook_bar_shows_its_end() -> None:
    cell = Cell()
    bar = NotebookBar(cell.display)
    bar(events.WaveStarted("gradient", 2, 0, 2))
    bar(events.BatchFinished(batch(2)))
    bar.close()
    assert 'value="2"' in cell.shown[0][-1]


@pytest.mark.parametrize(("n", "words"), [(0, "0 slots"), (1, "1 slot"), (2, "2 slots")])
def test_one_slot_is_singular(n: int, words: str) -> None:
    standing = ProgressState()
    standing.up = set(range(n))
    assert words in progress_text(standing).split(", ")
    assert words in _facts(standing)
    standing.running = 1
    assert f"1 of {words} at work" in _facts(standing)
