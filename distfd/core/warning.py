"""Warnings that point at the line of the user's that called distfd."""

from __future__ import annotations

import sys
import warnings

_INSIDE = ("distfd", "scipy", "contextlib")
"""Packages of the frames between the user's line and a warning: an optimiser of SciPy's may stand there too."""


def warn(warning: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Warn whoever called distfd, in their own line of code.

    Parameters
    ----------
    warning : str or Warning
        A text, or a warning as it is.
    category : type
        Of a text.
    """
    level, frame = 2, sys._getframe(1)  # noqa: SLF001  # warnings.warn has skip_file_prefixes from Python 3.12 on
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(warning, category, stacklevel=level)
