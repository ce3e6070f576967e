"""Progress as one line of HTML below a notebook's cell; no widgets, so it needs no extension and saves as it is."""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING, Any

from distfd.observers.progress_panel import panel_lines
from distfd.observers.progress_state import ProgressState
from distfd.results import events

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY = 0.5
"""Seconds between two drawings: each is a message to the browser."""
_WIDTH = 200


class NotebookBar:
    """A bar that is drawn anew as evaluations finish; failures stay below it.

    Parameters
    ----------
    display : callable
        IPython's ``display``, or what can be called like it.
    clock : callable
        Seconds.
    """

    def __init__(self, display: Callable[..., Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._display = display
        self._clock = clock
        self._standing = ProgressState(clock)
        self._handle: Any = None
        self._said: list[str] = []
        self._last = float("-inf")

    def __call__(self, event: events.Event) -> None:
        """Take one event."""
        said = self._standing.take(event)
        if said and not isinstance(event, events.Iterated):
            self._said.append(said)
        if isinstance(event, (events.WaveEnded, events.Stopped)) or self._clock() - self._last >= _EVERY:
            self._draw()
        if isinstance(event, events.Stopped):
            # That Evaluator is done with: its bar stays as it is, and what comes next gets another.
            self._handle, self._said, self._standing = None, [], ProgressState(self._clock)

    def say(self, text: str) -> None:
        """A remark below the bar."""
        self._said.append(text)
        self._draw()

    def close(self) -> None:
        """Draw how it ended; the next call of a cell has a bar of its own."""
        if self._handle is not None:
            self._draw()

    def _draw(self) -> None:
        self._last = self._clock()
        page = _Html(bar_html(self._standing, self._said))
        if self._handle is None:
            if self._standing.waves:
                self._handle = self._display(page, display_id=True)
        else:
            self._handle.update(page)


class _Html:
    """What IPython asks for HTML, and shows as it is; plain text where there is no browser."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


def bar_html(standing: ProgressState, said: list[str]) -> str:
    """A progress element, what stands beside it, and what was said; foreign text is escaped."""
    head, *below = panel_lines(standing, _WIDTH)
    bar = f'<progress max="{max(1, standing.total)}" value="{standing.done}"></progress>'
    rows = [f"<div><b>{html.escape(standing.task)}</b> {bar} {html.escape(head)}</div>"]
    rows += [f'<div style="opacity: 0.7">{html.escape(line)}</div>' for line in (*below, *said)]
    return "".join(rows)
