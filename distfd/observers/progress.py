"""`Progress`: what shows how far a run is, in whatever way fits where it runs."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from distfd.core.errors import InputError
from distfd.observers.progress_json import JsonLines
from distfd.observers.progress_lines import ProgressLines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distfd.results.events import Event

STYLES = ("auto", "live", "lines", "json", "notebook", "none")


class _Display(Protocol):
    def __call__(self, event: Event) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


class Progress:
    """An observer that shows how far things are: ``distfd.gradient(fun, x, observers=[distfd.Progress()])``.

    On a terminal a small live panel, in a notebook a bar, elsewhere a line every few seconds. Whatever goes wrong in
    showing (a closed pipe, a terminal that is gone) ends the showing, and never an evaluation.

    Parameters
    ----------
    stream : text file, optional
        Where to; standard error by default, so that standard output holds results alone.
    style : str
        "auto", "live", "lines", "json" (one object a line), "notebook" or "none".

    Raises
    ------
    InputError
        If there is no such style.
    """

    def __init__(self, stream: TextIO | None = None, *, style: str = "auto") -> None:
        if style not in STYLES:
            raise InputError(f"style: must be one of {', '.join(STYLES)} (was {style!r})")
        self._stream, self._style = stream, style
        self._display: _Display | None = None

    def __call__(self, event: Event) -> None:
        """Take one event."""
        with self._showing() as display:
            display(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def say(self, text: str) -> None:
        """A remark, among the rest."""
        with self._showing() as display:
            display.say(text)

    def hold(self, title: str) -> None:
        """Keep a live panel up between waves, until `close`; the title stands there until the first begins."""
        with self._showing() as display:
            hold = getattr(display, "hold", None)
            if hold is not None:
                hold(title)

    def close(self) -> None:
        """Take a live panel away."""
        if self._display is not None:
            with contextlib.suppress(Exception):
                self._display.close()

    @contextlib.contextmanager
    def _showing(self) -> Iterator[_Display]:
        try:
            if self._display is None:
                self._display = _make(self._style, self._stream)
            yield self._display
        except Exception:
            self.close()
            self._display = _Nothing()


class _Nothing:
    def __call__(self, event: Event) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


def _make(style: str, stream: TextIO | None) -> _Display:
    if style == "none":
        return _Nothing()
    if style == "auto":
        style = _fitting(stream)
    if style == "live":
        from distfd.observers.progress_panel import LivePanel

        return LivePanel(stream)
    if style == "notebook":
        from IPython.display import display  # only where IPython asks for it

        from distfd.observers.progress_notebook import NotebookBar

        return NotebookBar(display)
    return JsonLines(stream) if style == "json" else ProgressLines(stream)


def _fitting(stream: TextIO | None) -> str:
    """The style that suits where this runs."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    if stream is None and type(shell).__name__ == "ZMQInteractiveShell":
        return "notebook"
    terminal = (stream or sys.stderr).isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return "live" if terminal else "lines"
