"""What a terminal would act on does not reach it."""

from __future__ import annotations

import pytest

from distfd.core.printable import printable


@pytest.mark.parametrize(
    "bad", ["\x1b", "\x07", "\r", "\x08", "\x7f", "\x9b", "\x00", "\u202e", "\u2066", "\u2028", "\U000e0041", "\udcff"]
)
def test_steering_characters_are_replaced(bad: str) -> None:
    assert printable(f"a{bad}[31mb") == "a\ufffd[31mb"


def test_other_text_stays() -> None:
    text = "ligne\tÉtat 90 °C\n日本語 🙂 |g| = 1e-9\n"
    assert printable(text) == text
