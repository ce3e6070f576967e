"""Waits for what other processes do, and tells whether a process runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def running(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has reaped yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def await_that(what: str, condition: Callable[[], T], seconds: float = 120.0) -> T:
    """Waits until the condition holds, and returns what it gave; fails with ``what`` after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)
    return found
