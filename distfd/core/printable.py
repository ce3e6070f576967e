"""Makes text safe for terminals: it cannot move the cursor, change the title, or reverse the direction of reading."""

from __future__ import annotations

import re

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, such as ESC, except tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction in which text is read
    "\u2028\u2029\ufff9-\ufffb\U000e0000-\U000e007f"  # other line ends, and invisible notes and tags
    "\ud800-\udfff]"  # lone surrogates, which cannot be encoded
)


def printable(text: str) -> str:
    """The text with U+FFFD in place of each character that a terminal would act on; tabs and newlines are kept.

    Call this once, where text is written to a terminal, or to a pipe or file instead.
    """
    return _STEERING.sub("\ufffd", text)
