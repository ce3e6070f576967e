"""What watching costs: a gradient of 10,000 cheap evaluations, with and without progress, side by side in one run."""

from __future__ import annotations

import os
import statistics
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

import distfd

if TYPE_CHECKING:
    import io

D = 10_000
ROUNDS = 9


def busy(x: np.ndarray) -> float:
    """About 10 microseconds."""
    until = time.perf_counter() + 1e-5
    while time.perf_counter() < until:
        pass
    return float(x[0])


def seconds(style: str, terminal: io.TextIOBase) -> float:
    observers = [] if style == "no observer" else [distfd.Progress(terminal, style=style)]
    with distfd.Evaluator(busy, executor="serial", observers=observers) as evaluator:
        begin = time.perf_counter()
        evaluator.gradient(np.zeros(D))
        return time.perf_counter() - begin


def main() -> None:
    reader, writer = os.openpty()
    threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reader, 4096), b"")], daemon=True).start()
    terminal = os.fdopen(writer, "w")
    styles = ("no observer", "lines", "json", "live")
    times: dict[str, list[float]] = {style: [] for style in styles}
    for _ in range(ROUNDS):
        for style in styles:
            times[style].append(seconds(style, terminal))
    base = statistics.median(times["no observer"])
    print(f"{D} evaluations of 10 us, serial, medians of {ROUNDS}")
    for style in styles:
        median = statistics.median(times[style])
        print(f"{style:12} {1000 * median:7.1f} ms   {median / base:.3f} of no observer's")


if __name__ == "__main__":
    main()
