"""Text as it may go to a terminal: nothing in it moves the cursor, changes the title, or reverses what is read."""

from __future__ import annotations

import re

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but the tab and the end of a line; ESC is one of them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction in which text is read
    "\u2028\u2029\ufff9-\ufffb\U000e0000-\U000e007f"  # other ends of lines, notes and tags that are not seen
    "\ud800-\udfff]"  # halves of characters, which no terminal can be sent
)


def printable(text: str) -> str:
    """The text with U+FFFD for each character that a terminal would act on; tabs and ends of lines stay.

    Called once, where text is written to a terminal, a pipe or a file in its place.
    """
    return _STEERING.sub("\ufffd", text)
