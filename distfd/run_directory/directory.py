"""The directory of one run: what is in it, and how it is written."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError, StoreError
from distfd.core.files import (
    check_ours,
    check_own_folder,
    make_folders,
    parse_json,
    put_aside,
    read_plain,
    remove_unfinished,
    replace_file,
)
from distfd.run_directory.result_check import cannot_be_shown, trouble_with, trouble_with_check
from distfd.stores.summary import read_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


_REPLACED = (
    "config.yaml",
    "result.json",
    "derivative.npz",
    "check.json",
    "report.html",
    "derivative.csv",
    "evaluations.csv",
    "residuals.csv",
)
"""Files that are written anew as a whole,"""
_CHANGED = ("evaluations.sqlite", "evaluations.sqlite.lock", "iterates.jsonl", "log.jsonl", "output.log", "ray.log")
"""and files that are added to."""
_LARGEST = 2**30
"""Bytes of a file of JSON beyond which it is not read."""
_LARGEST_CONFIG = 10_000_000
"""The same of config.yaml, as of any configuration."""


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
            make_folders(self.path)
        except OSError as error:
            raise StoreError(f"output: {self.path} cannot be made: {error.strerror}") from error
        self.check_files()
        remove_unfinished(self.path, (*_REPLACED, self.store.name))

    def check_files(self) -> None:
        """See that nothing in the directory would lead a write to another place, before anything is written.

        Raises
        ------
        ForeignFileError
            If something else than distfd's own stands under one of its names, such as a link: it is named.
        """
        for name in _REPLACED:
            check_ours(self.path / name)
        for name in _CHANGED:
            check_ours(self.path / name, names=1)
        for folder in (self.work, self.archives, self.spool):
            check_own_folder(folder)

    def archive(self) -> Path | None:
        """Put an earlier run aside, beside where it was; its new path, or None where there was none."""
        if not self.path.exists():
            return None
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        with _named(self.path):
            return put_aside(self.path, f"{self.path.name}.{stamp}")

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
        """The resolved configuration of the last session; None where there is none that can be read."""
        try:
            return read_plain(self._config, _LARGEST_CONFIG).decode("utf-8", "replace")
        except OSError:
            return None

    def result(self) -> dict[str, Any] | None:
        """What result.json holds; None where there is none that can be read, or it is not what distfd writes."""
        found = _read(self._result)
        return None if found is None or trouble_with(found) else found

    def listed_result(self, most: int) -> dict[str, Any] | None:
        """As `result`, for a list of many runs; None where there is no file.

        Parameters
        ----------
        most : int
            Bytes up to which it is read.

        Raises
        ------
        StoreError
            If what is there is none of distfd's, or is larger; in few words, as it is for one line of many.
        """
        if not os.path.lexists(self._result):
            return None
        try:
            found = parse_json(read_plain(self._result, most))
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"result.json cannot be read: {getattr(error, 'strerror', None) or error}") from error
        trouble = trouble_with(found) if isinstance(found, dict) else "it is no JSON object"
        if trouble:
            raise StoreError(f"result.json is not what distfd writes: {trouble}")
        return found  # type: ignore[no-any-return]  # a dict, as was seen

    def shown_result(self) -> dict[str, Any] | None:
        """As `result`, of what can be shown as a table; None where there is none.

        Raises
        ------
        StoreError
            If there is a result.json that is none of distfd's.
        """
        found = _read(self._result)
        if found is None and not os.path.lexists(self._result):
            return None
        trouble = "it is no plain file with a JSON object" if found is None else trouble_with(found)
        if found is not None:
            trouble = trouble or cannot_be_shown(found)
        if trouble:
            raise StoreError(f"{self._result} is not what distfd writes: {trouble}; run again to have it written anew")
        return found

    def write_config(self, text: str) -> None:
        """Replace config.yaml."""
        self._replace(self._config, lambda file: file.write(text.encode()))

    def forget_result(self) -> None:
        """Take away the result of an earlier session, which is no longer this run's."""
        for path in (self._result, self.path / "derivative.npz"):
            with _named(path):
                if check_ours(path):
                    path.unlink(missing_ok=True)

    def check(self) -> dict[str, Any] | None:
        """What check.json holds; None where there is none that can be read, or it is not what distfd writes."""
        found = _read(self._check)
        return None if found is None or trouble_with_check(found) else found

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
        with _named(path):
            replace_file(path, write)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = parse_json(read_plain(path, _LARGEST))
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
