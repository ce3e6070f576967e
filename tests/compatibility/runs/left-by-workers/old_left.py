"""J of a run whose driver was killed, known by the version that its configuration gives."""

# ruff: noqa: PTH110, PTH123  # J names `os` alone: a path of pathlib in it would be another J

from __future__ import annotations

import os
import time
from typing import Any


def banana(x: Any) -> float:
    place = os.environ["OLD_RUNS"]
    with open(f"{place}/calls", "a") as calls:
        calls.write(x.tobytes().hex() + "\n")
    while os.path.exists(f"{place}/hold"):
        time.sleep(0.02)
    time.sleep(float(os.environ.get("OLD_RUNS_SECONDS", "0")))
    total = 0.0
    for k in range(len(x) - 1):
        a, b = float(x[k]), float(x[k + 1])
        total += 20.0 * (b - a * a) * (b - a * a) + (1.0 - a) * (1.0 - a)
    return total
