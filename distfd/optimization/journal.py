"""The journal of a long run: a file of iterates and decisions, with which a killed run is replayed.

On a replay, values come from the store, so a deterministic method makes the same iterates again; the journal checks
that. The file has one JSON object a line, each written to the disk before the run goes on.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import StoreError
from distfd.core.files import open_ours, open_to_add, parse_json
from distfd.optimization.seen_point import rank_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


class Diverged(Exception):  # noqa: N818  # the run goes on from elsewhere
    """A replay came to another iterate than the recorded one.

    Attributes
    ----------
    iteration : int
        The first iteration that differs.
    x : (d,) ndarray
        The best of the recorded iterates, a feasible one if there is any.
    rank : (float, float)
        Violation of constraints at x (0 if feasible), and its value: points are ordered by these.
    """

    def __init__(self, iteration: int, x: Vector, rank: tuple[float, float] = (0.0, np.inf)) -> None:
        super().__init__(f"iterate {iteration} differs from the one that is recorded")
        self.iteration = iteration
        self.x = x
        self.rank = rank


class Journal:
    """Iterates and decisions of one optimisation.

    Parameters
    ----------
    path : Path, optional
        The file; without it, the journal is kept in memory and nothing is replayed.
    about : str
        What is optimised and how. A file with another text is started anew.

    Raises
    ------
    StoreError
        If the file cannot be read or written.
    """

    def __init__(self, path: Path | None = None, about: str = "") -> None:
        self._path = path
        self._about = about
        self._start: Vector | None = None
        self.value0: float | None = None
        """J at x0, where this run starts at another point because an earlier replay diverged there."""
        self._iterates: list[tuple[Vector, float]] = []
        self._violations: list[float] = []
        self._decisions: dict[str, int] = {}
        self._done = 0
        if path is not None:
            self._read(path)

    @property
    def iterates(self) -> list[tuple[Vector, float]]:
        """Points and values since the last start, in order."""
        return self._iterates[: self._done]

    def start(self, x0: Vector) -> Vector:
        """The start: x0, or where the recorded run started. Later iterates are compared with the recorded ones."""
        if self._start is None or self._start.shape != np.shape(x0):
            self.restart(x0)
        self._done = 0
        assert self._start is not None, "just set"
        return self._start.copy()

    def restart(self, x0: Vector, value0: float | None = None) -> None:
        """Starts at x0 and drops earlier records; ``value0`` is J at the first run's start, if that is elsewhere."""
        self._start, self._iterates, self._decisions, self._done = np.array(x0, dtype=np.float64), [], {}, 0
        self._violations, self.value0 = [], value0
        elsewhere = {} if value0 is None else {"value0": _number(value0)}
        self._write({"about": self._about, "start": self._start.tolist(), **elsewhere})

    def iterate(self, x: Vector, value: float, violation: float = 0.0) -> None:
        """Records the iterate x, its value and its violation of constraints, or compares it on a replay.

        Raises
        ------
        Diverged
            If the recorded iterate at this place is another x.
        """
        k = self._done
        if k < len(self._iterates):
            if self._iterates[k][0].tobytes() != np.asarray(x, dtype=np.float64).tobytes():
                ranks = [
                    rank_of(each, beyond) for (_, each), beyond in zip(self._iterates, self._violations, strict=True)
                ]
                best = min(range(len(ranks)), key=ranks.__getitem__)
                raise Diverged(k + 1, self._iterates[best][0], ranks[best])
        else:
            self._iterates.append((np.array(x, dtype=np.float64), float(value)))
            self._violations.append(float(violation))
            beyond = {"violation": _number(violation)} if violation else {}
            self._write({"iterate": k + 1, "value": _number(value), **beyond, "x": self._iterates[k][0].tolist()})
        self._done += 1

    def decide(self, key: str, value: int) -> int:
        """The decision recorded under this key; if there is none, ``value`` is recorded and returned.

        This is for decisions that depend on more than values, such as on slots or time. Each decision needs its own
        key.
        """
        if key not in self._decisions:
            self._decisions[key] = int(value)
            self._write({"decide": key, "value": int(value)})
        return self._decisions[key]

    def _read(self, path: Path) -> None:
        try:
            with open(open_ours(path, os.O_RDWR), "rb+") as file:  # noqa: PTH123
                lines = file.read().splitlines(keepends=True)
                whole = [line for line in lines if line.endswith(b"\n")]
                # If the run was killed, its last line may be incomplete.
                file.truncate(sum(map(len, whole)))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        try:
            for line in whole:
                self._take(parse_json(line))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise StoreError(f"{path} is damaged ({error}); move it away to begin the optimisation anew") from error

    def _take(self, entry: dict[str, Any]) -> None:
        if "start" in entry:
            self._start = np.array(entry["start"], dtype=np.float64) if entry["about"] == self._about else None
            self._iterates, self._decisions, self._violations = [], {}, []
            self.value0 = None if entry.get("value0") is None else float(entry["value0"])
        elif self._start is None:
            return  # the file belongs to another optimisation
        elif "iterate" in entry:
            value = np.nan if entry["value"] is None else entry["value"]
            violation = entry.get("violation", 0.0)
            x = np.array(entry["x"], dtype=np.float64)
            if x.shape != self._start.shape:
                raise ValueError(f"an iterate of the shape {x.shape}")
            before = self._iterates[-1][0] if self._iterates else self._start
            if before.tobytes() == x.tobytes():
                return  # earlier versions also recorded rejected steps, as the point where the method stayed
            self._iterates.append((x, float(value)))
            self._violations.append(np.inf if violation is None else float(violation))
        else:
            self._decisions[entry["decide"]] = int(entry["value"])

    def _write(self, entry: dict[str, Any]) -> None:
        if self._path is None:
            return
        try:
            with open(open_to_add(self._path), "ab") as file:  # noqa: PTH123
                file.write(json.dumps(entry, allow_nan=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(
                f"{self._path} cannot be written: {error.strerror}; the evaluations are kept, make room and run again"
            ) from error


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
