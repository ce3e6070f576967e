"""The driver's side of the spool: takes in evaluations that workers left in folders of this and earlier sessions."""

from __future__ import annotations

import contextlib
import re
import uuid
from typing import TYPE_CHECKING

from distfd.core.files import check_own_folder, make_folders
from distfd.core.warning import warn
from distfd.workers.spool import SUFFIX, DamagedSpoolError, file_of, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from distfd.core.records import Batch


_SESSION = re.compile("session-[0-9a-f]{32}")
_OURS = re.compile("[0-9a-f]{32}" + re.escape(SUFFIX))
"""Names of files that workers leave: the point's key ..."""
_UNFINISHED = re.compile(rf"\.{_OURS.pattern}\.[0-9a-f]{{16}}\.part|[0-9a-f]{{32}}\.part-\d+")
"""... and names of files that they were killed while writing; the second form is that of earlier versions."""


class SpoolIntake:
    """Evaluations that workers left in files below ``root``; each session has a folder of its own there.

    A folder's name is used only once. So a worker on another host that finds the folder knows that it sees this file
    system, and the workers of a killed driver write where the next driver looks.

    Parameters
    ----------
    root : Path
        Made when a session needs it, and removed together with the last session's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._own: Path | None = None
        self._before: list[Path] = []
        if check_own_folder(root):
            with contextlib.suppress(OSError):
                # Do not follow a link of such a name: files of another place would be taken in, and removed.
                found = (path for path in root.iterdir() if _SESSION.fullmatch(path.name))
                self._before = [path for path in found if path.is_dir() and not path.is_symlink()]

    @property
    def of_earlier_sessions(self) -> bool:
        """Whether an earlier session ended irregularly, so that its workers may still write."""
        return bool(self._before)

    def place(self) -> str | None:
        """The folder of this session, made if needed; None where it cannot be made."""
        if self._own is None:
            own = self._root / f"session-{uuid.uuid4().hex}"
            try:
                make_folders(self._root)
                own.mkdir(mode=0o700)
            except OSError:  # if the disk is full, the next commit reports it
                return None
            self._own = own
        return str(self._own)

    def found(self, *, own: bool = False) -> Iterator[tuple[Path, NDArray[np.uint64], Batch]]:
        """(file, key, evaluation) left by earlier sessions, and by this one if ``own``; damaged files are renamed."""
        for folder in (*self._before, *([self._own] if own and self._own is not None else [])):
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                try:
                    yield path, *read(path)
                except DamagedSpoolError as error:
                    self._put_aside(path, str(error))
                except FileNotFoundError:
                    continue

    def forget(self, keys: Iterable[str]) -> None:
        """Removes the files of committed evaluations, given their keys in hexadecimal."""
        if self._own is not None:
            for key in keys:
                with contextlib.suppress(OSError):
                    file_of(self._own, key).unlink(missing_ok=True)

    def close(self) -> None:
        """Removes the folders after their evaluations have been taken in, with half-written files of workers.

        Files that no worker has written are kept, together with their folder.
        """
        for folder in (*self._before, *([self._own] if self._own is not None else [])):
            with contextlib.suppress(OSError):
                for path in folder.iterdir():
                    if _OURS.fullmatch(path.name) or _UNFINISHED.fullmatch(path.name):
                        with contextlib.suppress(OSError):
                            path.unlink()
                folder.rmdir()
        self._before, self._own = [], None
        with contextlib.suppress(OSError):
            self._root.rmdir()

    def _put_aside(self, path: Path, reason: str) -> None:
        aside = self._root / f"damaged-{uuid.uuid4().hex}-{path.name}"
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
        warn(
            f"{path} was left by a worker and is damaged ({reason}); it was renamed to {aside.name}, and that point is "
            "evaluated again",
            RuntimeWarning,
        )
