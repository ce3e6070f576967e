"""Vectors in .npy files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.core.files import open_plain

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_vector(path: str) -> NDArray[np.float64]:
    """A (d,) array of real numbers, infinite ones included, from an .npy file.

    Raises
    ------
    ValueError
        If the file is not there, or holds anything else. Pickles are never read.
    """
    try:
        open_plain(path, follow=True).close()
        # Mapped, a header that promises more than the file holds is refused instead of allocated.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as an .npy file: {reason}") from None
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{path} is an archive, not an .npy file")  # noqa: TRY004 - the value is wrong, not its type
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "fiu":
        raise ValueError(f"{path} must hold a (d,) array of real numbers, and holds {found.dtype} {found.shape}")
    vector = np.array(found, dtype=np.float64)
    nan = np.flatnonzero(np.isnan(vector))
    if nan.size:
        raise ValueError(f"{path} holds NaN at index {nan[0]}")
    return vector


def first_not_finite(vector: NDArray[np.float64]) -> int | None:
    """The index of the first number that is infinite or NaN."""
    bad = np.flatnonzero(~np.isfinite(vector))
    return int(bad[0]) if bad.size else None
