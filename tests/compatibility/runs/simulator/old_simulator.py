"""A simulator of a run that is finished."""

# ruff: noqa: PTH123  # J names `os` alone: a path of pathlib in it would be another J

from __future__ import annotations

import os
from typing import Any


class Beam:
    def __init__(self, load: float) -> None:
        self.load = load
        self.bent = 0.0

    def reset(self) -> None:
        self.bent = 0.0

    def evaluate(self, x: Any) -> list[float]:
        with open(os.environ["OLD_RUNS"] + "/calls", "a") as calls:
            calls.write(x.tobytes().hex() + "\n")
        for each in x.tolist():
            self.bent += self.load / (each * each * each)
        return [self.bent, float(x[0]) * float(x[1])]
