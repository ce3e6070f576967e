"""The directory of one run: what is in it, and how it is written."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError, StoreError
from distfd.core.files import owner_only
from distfd.stores.summary import read_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class RunDirectory:
    """Where a run keeps what it is and what it found."""

    path: Path

    @property
    def store(self) -> Path:
        """Every evaluation."""
        return self.path / "evaluations.sqlite"

    @property
    def iterates(self) -> Path:
        """The journal of an optimisation."""
        return self.path / "iterates.jsonl"

    @property
    def log(self) -> Path:
        """Events, one JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def spool(self) -> Path:
        """Long evaluations on their way from a worker to the store (`distfd.workers.spool`)."""
        return self.path / "spool"

    @property
    def noise(self) -> Path:
        """What Ray and other libraries wrote to standard error."""
        return self.path / "ray.log"

    @property
    def printed(self) -> Path:
        """What J printed in its workers, those of this host."""
        return self.path / "output.log"

    @property
    def report(self) -> Path:
        """The page for people, where one was written."""
        return self.path / "report.html"

    @property
    def work(self) -> Path:
        """Work directories of external programs."""
        return self.path / "work"

    @property
    def _check(self) -> Path:
        return self.path / "check.json"

    @property
    def archives(self) -> Path:
        """Packed ones (``keep: archive``)."""
        return self.path / "archive"

    @property
    def _config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def _result(self) -> Path:
        return self.path / "result.json"

    def make(self) -> None:
        """Make it, for its owner's eyes alone.

        Raises
        ------
        InputError
            If something else is in its place.
        StoreError
            If it cannot be made.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"output: {self.path} is a file; give a directory")
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"output: {self.path} cannot be made: {error.strerror}") from error

    def archive(self) -> Path | None:
        """Put an earlier run aside, beside where it was; its new path, or None where there was none."""
        if not self.path.exists():
            return None
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        aside = self.path.with_name(f"{self.path.name}.{stamp}")
        with _named(self.path):
            self.path.rename(aside)
        return aside

    def is_worthless(self, fingerprint: str | None, names: Sequence[str]) -> bool:
        """Whether an earlier run is there, of another J than this, that has found no value: nothing is lost without it.

        A first try or two fail nearly always, and what is mended then (a template, a regex) makes another J.
        """
        if not self.store.exists():
            return False
        try:
            found = read_summary(self.store)
        except StoreError:
            return False  # opening it says more
        other = None not in (fingerprint, found.fingerprint) and fingerprint != found.fingerprint
        other = other or (found.names is not None and tuple(names) != found.names)
        return other and not found.n_values and found.writer is None

    def config_text(self) -> str | None:
        """The resolved configuration of the last session."""
        return self._config.read_text(encoding="utf-8") if self._config.is_file() else None

    def result(self) -> dict[str, Any] | None:
        """What result.json holds; None where there is none that can be read."""
        return _read(self._result)

    def write_config(self, text: str) -> None:
        """Replace config.yaml."""
        self._replace(self._config, lambda file: file.write(text.encode()))

    def forget_result(self) -> None:
        """Take away the result of an earlier session, which is no longer this run's."""
        for path in (self._result, self.path / "derivative.npz"):
            with _named(path):
                path.unlink(missing_ok=True)

    def check(self) -> dict[str, Any] | None:
        """What check.json holds; None where there is none that can be read."""
        return _read(self._check)

    def write_check(self, found: Mapping[str, Any]) -> None:
        """Replace check.json; what is not finite is null in it."""
        text = json.dumps(plain(found), indent=1, allow_nan=False) + "\n"
        self._replace(self._check, lambda file: file.write(text.encode()))

    def write_report(self, page: str) -> None:
        """Replace report.html."""
        self._replace(self.report, lambda file: file.write(page.encode(errors="replace")))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Replace result.json; what is not finite is null in it."""
        text = json.dumps(plain(result), indent=1, allow_nan=False) + "\n"
        self._replace(self._result, lambda file: file.write(text.encode()))

    def write_arrays(self, **arrays: Any) -> None:
        """Replace derivative.npz."""
        known = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
        self._replace(self.path / "derivative.npz", lambda file: np.savez(file, allow_pickle=False, **known))

    def _replace(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
        """Write a file whole or not at all: what was there before stays until the new one is on the disk."""
        part = path.with_name(path.name + ".part")
        with _named(path):
            try:
                with open(part, "wb", opener=owner_only) as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            except OSError:
                # On a disk that is full it would take the room that the evaluations need.
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)
                raise


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():  # a device in its place may have no end
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class _named:  # noqa: N801  # used like a function
    """Turns an OSError into a StoreError that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise StoreError(
                f"{self._path} cannot be written: {error.strerror or error}; the evaluations are kept, make room and "
                "run again"
            ) from error


def plain(value: Any) -> Any:
    """JSON's own types, with null for what is not finite."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (np.floating, np.integer)):
        return plain(value.item())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
