"""The journal of a long run: its iterates and its decisions, in a file that a run which was killed is replayed against.

Values come from the store, so a deterministic method makes the same iterates again, and the journal sees that it does.
It is a text file of one JSON object a line, each on the disk before the run goes on.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import StoreError
from distfd.core.files import open_ours, open_to_add, parse_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


class Diverged(Exception):  # noqa: N818  # the run goes on from elsewhere
    """A replay did not come to the iterate that is recorded.

    Attributes
    ----------
    iteration : int
        The first that differs.
    x : (d,) ndarray
        The best of the recorded iterates.
    """

    def __init__(self, iteration: int, x: Vector) -> None:
        super().__init__(f"iterate {iteration} differs from the one that is recorded")
        self.iteration = iteration
        self.x = x


class Journal:
    """Iterates and decisions of one optimisation.

    Parameters
    ----------
    path : Path, optional
        The file; without one the journal is in memory, and nothing is replayed.
    about : str
        What is optimised and how. A file that is about something else is begun anew.

    Raises
    ------
    StoreError
        If the file cannot be read or written.
    """

    def __init__(self, path: Path | None = None, about: str = "") -> None:
        self._path = path
        self._about = about
        self._start: Vector | None = None
        self._iterates: list[tuple[Vector, float]] = []
        self._decisions: dict[str, int] = {}
        self._done = 0
        if path is not None:
            self._read(path)

    @property
    def replaying(self) -> bool:
        """Whether there are recorded iterates that have not come again yet."""
        return self._done < len(self._iterates)

    @property
    def iterates(self) -> list[tuple[Vector, float]]:
        """Points and values since the last start, in order."""
        return self._iterates[: self._done]

    def start(self, x0: Vector) -> Vector:
        """Where to start: at x0, or where the recorded run did; what follows is compared with what is recorded."""
        if self._start is None or self._start.shape != np.shape(x0):
            self.restart(x0)
        self._done = 0
        assert self._start is not None, "just set"
        return self._start.copy()

    def restart(self, x0: Vector) -> None:
        """Begin at x0, and forget what was before."""
        self._start, self._iterates, self._decisions, self._done = np.array(x0, dtype=np.float64), [], {}, 0
        self._write({"about": self._about, "start": self._start.tolist()})

    def iterate(self, x: Vector, value: float) -> None:
        """The method has come to x.

        Raises
        ------
        Diverged
            If another x is recorded in this place.
        """
        k = self._done
        if k < len(self._iterates):
            if self._iterates[k][0].tobytes() != np.asarray(x, dtype=np.float64).tobytes():
                best, _ = min(self._iterates, key=lambda each: each[1])
                raise Diverged(k + 1, best)
        else:
            self._iterates.append((np.array(x, dtype=np.float64), float(value)))
            self._write({"iterate": k + 1, "value": _number(value), "x": self._iterates[k][0].tolist()})
        self._done += 1

    def decide(self, key: str, value: int) -> int:
        """The decision that is recorded under this key; where there is none, ``value`` is recorded and returned.

        For what depends on more than values: on slots, or on time. The key must be the decision's own.
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
                # The last line of a run that was killed may be cut short.
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
            self._iterates, self._decisions = [], {}
        elif self._start is None:
            return  # of another optimisation
        elif "iterate" in entry:
            value = np.nan if entry["value"] is None else entry["value"]
            x = np.array(entry["x"], dtype=np.float64)
            if x.shape != self._start.shape:
                raise ValueError(f"an iterate of the shape {x.shape}")
            self._iterates.append((x, float(value)))
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
