"""``distfd ui``, and the page beside ``distfd run --ui``."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distfd.cli.inspection_commands import say
from distfd.cli.options import Debug, examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def add_ui(app: typer.Typer) -> None:
    """Give the app this command."""
    app.command(
        epilog=examples("distfd ui", "distfd ui runs/quickstart", "distfd ui runs --no-open --port 8700"),
        short_help="Look at runs in the browser, live while they go on.",
    )(ui)


def ui(
    runs: Annotated[str, typer.Argument(metavar="RUNS", help="A run's directory, or a folder that holds runs.")] = ".",
    *,
    port: Annotated[int, typer.Option("--port", help="Where to listen on 127.0.0.1; 0: a port that is free.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address, and open no browser.")] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Look at runs in the browser, live while they go on; it reads and never writes. Ctrl-C ends it."""
    from distfd.core.errors import InputError
    from distfd.ui.server import PageServer

    root = Path(runs).absolute()
    if not root.is_dir():
        raise InputError(f"{runs}: there is no such folder; give a run's directory, or a folder of runs")
    with PageServer(root, port=port) as server:
        say(server.address)
        if not no_open:
            _open(server.address)
        with contextlib.suppress(KeyboardInterrupt):  # which is how it ends
            threading.Event().wait()


@contextlib.contextmanager
def page_beside(run: Path, tell: Callable[[str], None], *, browser: bool) -> Iterator[None]:
    """A context in which threads of this process serve a run's page; if the page fails, the run goes on without it.

    Parameters
    ----------
    run : Path
        The run's directory.
    tell : callable
        Called with the page's address, for the user.
    browser : bool
        Whether it is opened.
    """
    from distfd.core.errors import InputError
    from distfd.ui.server import PageServer

    try:
        server = PageServer(run)
    except InputError as error:
        tell(f"no page: {error}")
        yield
        return
    with server:
        tell(f"page: {server.address}")
        if browser:
            _open(server.address)
        yield


_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER")
"""If none of these variables is set, a browser has no window to open, and might take over the terminal."""


def _open(address: str) -> None:
    """Opens the browser in a thread, as some browsers block the caller; without one, the printed address must do."""
    if sys.platform.startswith("linux") and not any(map(os.environ.get, _DISPLAYS)):
        return
    threading.Thread(target=_opened, args=(address,), daemon=True).start()


def _opened(address: str) -> None:
    with contextlib.suppress(Exception):
        webbrowser.open(address)
