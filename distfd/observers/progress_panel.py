"""Progress as a small panel at the bottom of a terminal, drawn anew a few times a second."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

from distfd.core.printable import printable
from distfd.observers.progress_state import ProgressState, duration
from distfd.results import events

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_TIMES_A_SECOND = 4
_WORTH_SHOWING = 0.3
"""Seconds that a wave takes before the panel is put up, where it is not held."""
_WORTH_TELLING = 1.0
"""Seconds that a wave takes before it is told of after its end."""


class LivePanel:
    """What runs, how fast, and how long it may take; failures stay above it.

    An event only changes numbers; a thread of rich's draws them, so that evaluations never wait for the terminal.

    Parameters
    ----------
    stream : text file
        Default: standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console

        self._file = stream or sys.stderr
        self._console = Console(file=cast("TextIO", _Lasting(self._file)), highlight=False)
        self._standing = ProgressState()
        self._live: Any = None
        self._held = ""

    def __call__(self, event: events.Event) -> None:
        """Take one event."""
        said = self._standing.take(event)
        if self._live is None and (self._held or self._standing.elapsed > _WORTH_SHOWING):
            self._show(event)
        if isinstance(event, events.Stopped) or (isinstance(event, events.WaveEnded) and not self._held):
            self._hide()
        if isinstance(event, events.WaveEnded) and not self._held and event.wall_seconds > _WORTH_TELLING:
            failed = f", {event.n_failed} failed" if event.n_failed else ""
            self.say(f"{event.task}: {event.n_evaluations} evaluations{failed} in {duration(event.wall_seconds)}")
        if said and not isinstance(event, events.Iterated):
            self.say(said)

    def say(self, text: str) -> None:
        """Print a line above the panel, where it stays."""
        self._console.print(printable(text), markup=False, soft_wrap=True)

    def hold(self, title: str) -> None:
        """Keep the panel up between waves, from now until `close`; the title stands there until the first begins."""
        self._held = title
        self._start()

    def close(self) -> None:
        """Take the panel away."""
        self._held = ""
        self._hide()

    def _show(self, event: events.Event) -> None:
        """Put the panel up for a wave, once it has taken a while: to start it takes some ten milliseconds."""
        if isinstance(event, (events.WaveStarted, events.BatchFinished, events.Running)):
            self._start()

    def _start(self) -> None:
        from rich.live import Live

        # What else is printed here, such as by J in the caller's process, goes above the panel.
        ours = self._file is sys.stderr
        self._live = Live(
            _View(self),
            console=self._console,
            refresh_per_second=_TIMES_A_SECOND,
            transient=True,
            redirect_stdout=ours and sys.stdout.isatty(),
            redirect_stderr=ours,
        )
        self._live.start()

    def _hide(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()


class _Lasting:
    """A terminal that may go: rich would end the whole program where it cannot write."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _View:
    """The panel as rich draws it."""

    def __init__(self, panel: LivePanel) -> None:
        self._panel = panel

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        standing, width = self._panel._standing, options.max_width  # noqa: SLF001  # its other half
        if not standing.waves:
            yield Text(printable(f"{self._panel._held}, {duration(standing.elapsed)}"), style="dim")  # noqa: SLF001  # as above
            return
        head, *below = map(printable, panel_lines(standing, width))
        bar = ProgressBar(total=max(1, standing.total), completed=standing.done)
        grid = Table.grid(padding=(0, 1, 0, 0))
        if width < _NARROW:
            yield Text(f"{standing.task} {head}", no_wrap=True, overflow="ellipsis", style="bold")
            grid.add_column(width=width)
            grid.add_row(bar)
        else:
            grid.add_column(no_wrap=True, style="bold")
            grid.add_column(width=min(_BAR, width - len(standing.task) - len(head) - 3))
            grid.add_column(no_wrap=True)
            grid.add_row(Text(standing.task), bar, Text(head))
        yield grid
        for line in below:
            yield Text(line, no_wrap=True, overflow="ellipsis", style="dim")


_BAR = 50
"""Columns of the bar at most."""
_NARROW = 60
"""Columns below which the bar has a line of its own."""


def panel_lines(standing: ProgressState, width: int) -> list[str]:
    """The panel's texts: what stands beside the bar, and the lines below, each within the width where it can be."""
    percent = 100 * standing.done // standing.total if standing.total else 100
    head = f"{standing.done}/{standing.total} {percent:3d} %"
    if standing.left is not None and standing.done < standing.total:
        head += f", {duration(standing.left)} left"
    return [head, *_folded(_facts(standing), width)]


def _facts(standing: ProgressState) -> list[str]:
    facts = []
    if standing.iteration is not None:
        facts.append(f"iteration {standing.iteration}: {standing.iterate}")
    done, of = standing.rounds
    slots = len(standing.up) or standing.slots
    counted = f"{slots} slot{'s' if slots != 1 else ''}"
    facts.append(f"{standing.running} of {counted} at work" if standing.running else counted)
    if of > 1:
        facts.append(f"round {min(done + 1, of)} of {of}")
    rate = standing.rate
    if rate is not None:
        facts.append(f"{rate:.3g}/s" if rate >= 0.1 else f"{60 * rate:.2g}/min")
    if standing.reused:
        facts.append(f"{standing.reused} reused")
    if standing.all_failed:
        facts.append(f"{standing.all_failed} failed")
    facts.append(f"{duration(standing.elapsed)} so far")
    longest = standing.longest
    if longest is not None:
        facts.append(f"longest: {longest[0]}, {duration(longest[1])}")
    return facts


def _folded(facts: list[str], width: int) -> list[str]:
    """Facts in lines, none of them cut in two."""
    lines: list[str] = []
    for fact in facts:
        if lines and len(lines[-1]) + 3 + len(fact) <= width:
            lines[-1] += f" | {fact}"
        else:
            lines.append(fact)
    return lines
