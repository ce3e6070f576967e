"""Elements of NumPy's own files."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.objectives.command.values import LARGEST, OutputError, read_bytes, short

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class NpyElement:
    """``npy: 3`` or ``npy: [0, 2]``: an element of a NumPy array, from 0; ``npy: []`` or "all" is the whole array.

    ``npy: {array: pressure, index: 3}`` is one of an .npz archive; without ``index`` the whole of it.
    """

    index: Any
    array: str | None = None

    def __post_init__(self) -> None:
        index = () if self.index == "all" else self.index
        index = tuple(index) if isinstance(index, (list, tuple)) else (index,)
        if not all(isinstance(k, int) and not isinstance(k, bool) for k in index):
            raise InputError(f"npy: an index is a whole number from 0 or a list of them (given {self.index!r})")
        object.__setattr__(self, "index", index)

    def read(self, path: Path) -> Any:
        """The element."""
        content = io.BytesIO(read_bytes(path))
        try:
            loaded = np.load(content, allow_pickle=False)
            array = loaded if isinstance(loaded, np.ndarray) else self._member(loaded)
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            if isinstance(error, OutputError):
                raise
            kind = "npy" if self.array is None else "npz"
            raise OutputError(f"it is no .{kind} file, or was cut: {error}") from error
        if self.array is not None and array is loaded:
            raise OutputError(f"it is one array, not an .npz archive with {self.array!r}; write npy: index")
        if array.ndim == 0 and self.index == (0,):
            return array[()]
        try:
            return array[self.index]
        except IndexError as error:
            raise OutputError(f"its array has the shape {array.shape}: {error}") from error

    def _member(self, archive: Any) -> Any:
        names = ", ".join(archive.files)
        if self.array is None:
            raise OutputError(f"it is an .npz archive, not one array; write npy: {{array: one of {short(names)}}}")
        if self.array not in archive.files:
            raise OutputError(f"it has no array {self.array!r}; it has: {short(names)}")
        # Compressed zeros grow a thousandfold.
        entries = (self.array, f"{self.array}.npy")
        size = max(entry.file_size for entry in archive.zip.infolist() if entry.filename in entries)
        if size > LARGEST:
            raise OutputError(f"its array is too large: {size / 2**20:.0f} MiB, the limit is {LARGEST // 2**20} MiB")
        return archive[self.array]
