"""The modes of files that distfd makes for itself: for their owner's eyes alone, whatever the umask."""

from __future__ import annotations

import os


def owner_only(path: str, flags: int) -> int:
    """For ``open(..., opener=owner_only)``: a file that this makes has the mode 0600 from its first moment."""
    return os.open(path, flags, 0o600)
