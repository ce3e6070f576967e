"""What becomes of runs while one looks: server-sent events, made from the runs' own files.

A run is watched by the sizes and times of its files and by its lock, so it may be on another machine's disk, and does
not know that it is watched. Each page has a thread that looks once a second, and draws anew when something has changed,
but spends no more than a small part of its time on that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from distfd.core.errors import DistfdError
from distfd.reporting.formatting import page_json
from distfd.reporting.run_data import read_run
from distfd.run_directory.directory import RunDirectory
from distfd.run_directory.status import run_status
from distfd.ui.pages import run_parts, runs_body
from distfd.ui.run_reader import run_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from threading import Event

    from distfd.reporting.run_data import RunData
    from distfd.run_directory.listing import RunList

LOOK = 1.0
"""Seconds between two looks at a run's files,"""
LIST_LOOK = 2.0
"""and at a folder of runs."""
_REST = 10
"""Drawing is followed by so many times its own length without it: a page takes a tenth of a core at most."""
_SILENCE = 15.0
"""Seconds after which a line is sent that says nothing, by which a browser that is gone is noticed."""


def event(kind: str, data: Any) -> bytes:
    """One server-sent event; https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    return f"event: {kind}\ndata: {page_json(data)}\n\n".encode()


def run_events(
    path: Path,
    stop: Event,
    *,
    read: Callable[[Path], RunData] = read_run,
    look: float = LOOK,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """Events of one run until ``stop`` is set: ``status``, ``page`` with the parts that changed, ``trouble``, ``end``.

    The first events tell everything. When ``stop`` is set what has changed since is sent before the end.
    """
    status_of: object = None
    page_of: object = None
    sent: dict[str, str] = {}
    may_draw = told = -1e9
    while True:
        last = stop.is_set()
        signature = run_signature(path)
        if signature != status_of or signature.writer is not None:
            yield _status(path)
            status_of, told = signature, clock()
        if signature != page_of and (last or clock() >= may_draw):
            begin = clock()
            parts = run_parts(path, read)
            may_draw = clock() + _REST * (clock() - begin)
            page_of, told = signature, clock()
            yield event("page", {"order": list(parts), "parts": {k: v for k, v in parts.items() if sent.get(k) != v}})
            sent = parts
        if clock() - told >= _SILENCE:
            yield b": nothing new\n\n"
            told = clock()
        if last:
            yield event("end", {})
            return
        stop.wait(look)


def list_events(
    runs: Callable[[], RunList], stop: Event, *, look: float = LIST_LOOK, clock: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """Events of a folder of runs until ``stop`` is set: ``runs`` when rows change, ``trouble``, ``end``."""
    sent, told = "", clock()
    while True:
        last = stop.is_set()
        begin = clock()
        try:
            body = str(runs_body(runs()))
        except DistfdError as error:
            yield event("trouble", {"message": str(error)})
            body = sent
        if body != sent:
            yield event("runs", {"html": body})
            sent, told = body, clock()
        if clock() - told >= _SILENCE:
            yield b": nothing new\n\n"
            told = clock()
        if last:
            yield event("end", {})
            return
        stop.wait(max(look, _REST * (clock() - begin)))


def _status(path: Path) -> bytes:
    try:
        status = run_status(path)
    except DistfdError as error:
        found = RunDirectory(path).result()
        if found is not None:  # the store is gone, and the result is there
            return event("status", {"state": str(found.get("status")), "text": ""})
        return event("trouble", {"message": str(error)})
    return event("status", {**status.fields, "text": "" if status.ended else str(status)})
