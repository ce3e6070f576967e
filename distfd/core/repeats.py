"""Points that a request asks for more than once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from distfd.core.records import Batch


def find_repeats(keys: NDArray[np.uint64]) -> dict[int, NDArray[np.int64]]:
    """Points that are the same as an earlier one, by the number of the first: they are evaluated once."""
    if len(np.unique(keys[:, 0])) == len(keys):
        return {}
    # Twice the same: rare, so the slower way round may tell which.
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    first_of = first[which.reshape(-1)]
    again = np.flatnonzero(first_of != np.arange(len(keys)))
    return {int(k): again[first_of[again] == k] for k in np.unique(first_of[again])}


def repeated(final: Batch, repeats: dict[int, NDArray[np.int64]]) -> Iterator[Batch]:
    """The same outcome for points that are the same."""
    for r in [r for r, k in enumerate(final.index.tolist()) if k in repeats] if repeats else ():
        k = int(final.index[r])
        same = final.take(np.full(len(repeats[k]), r))
        failures = dict.fromkeys(repeats[k].tolist(), final.failures[k]) if k in final.failures else {}
        yield replace(same, index=repeats[k], failures=failures, reused=True)
