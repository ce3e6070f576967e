"""Regular expressions end, in this process or in one of their own, with what ``re`` finds."""

from __future__ import annotations

import random
import re
import time

import pytest

from distfd.workers import bounded_regex
from distfd.workers.bounded_regex import RegexTimeoutError, is_tame, lines_with, spans

TEXT = "mass = 1.5\nx=1 y\n\nx=22 y=3\r\nmass = -2e-3 é\n" * 3
PATTERNS = [
    r"mass = (\S+)",
    r"x=(\d+)",
    r"^(x)=",
    r"(y)$",
    r"(?:x=)?(\d+)",
    r"(a+)+b",
    r"([xy])=(?=2)",
    r"(.)\1",
    r"(?i)(MASS)",
    r"(\w+) = \S+ (?:é)?",
    r"(x|y|m)*",
    r"()",
    r"(z)?x",
]


def groups(pattern: str, text: str, seconds: float | None) -> list[str | None]:
    """The text in the group of each match."""
    found = spans(pattern, text, seconds)
    return [text[span.group_first : span.group_last] if span.group_first >= 0 else None for span in found]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("here", [True, False])
def test_what_is_found_is_what_re_finds(pattern: str, here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_regex, "_SHORT", 10**9 if here else -1)
    assert groups(pattern, TEXT, None) == [match.group(1) for match in re.finditer(pattern, TEXT, re.MULTILINE)]
    places = [(span.first, span.last) for span in spans(pattern, TEXT, None, 12)]
    assert places == [match.span() for match in re.compile(pattern, re.MULTILINE).finditer(TEXT, 12)]
    expected = [k for k, line in enumerate(TEXT.split("\n")) if re.search(pattern, line)]
    assert lines_with(pattern, TEXT, None) == expected


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|aa)+$", r"(.*)*x", r"(a*)*b", r"((a+)?)+c"])
def test_a_pattern_without_end_is_ended(pattern: str) -> None:
    assert not is_tame(pattern)
    with pytest.raises(RegexTimeoutError):
        groups(pattern, "a" * 39 + "!", 0.2)
    assert groups(r"(\d+)x+y*", "12xx", 60.0) == ["12"], "the next one is searched for by another process"


@pytest.mark.parametrize("pattern", [r"J=(.+)", r"(\d+)", r"^mass = (\S+)$", r"x{3}([ab]+)"])
def test_patterns_as_users_write_them_need_no_process(pattern: str) -> None:
    assert is_tame(pattern)


def test_large_texts_go_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    text = "\n".join(f"x = {rng.random()}" for _ in range(200_000))
    assert groups(r"x = (\S+)", text, None) == [line[4:] for line in text.split("\n")]


def test_a_process_that_was_killed_is_replaced() -> None:
    assert groups(r"(a+)(b*)", "aab", None) == ["aa"]
    process = bounded_regex._helper._process
    assert process is not None
    process.kill()
    process.wait()
    assert groups(r"(a+)(b*)", "aab", None) == ["aa"]
    bounded_regex._helper.end()
    assert bounded_regex._helper._process is None


def test_no_time_is_no_search() -> None:
    begin = time.monotonic()
    with pytest.raises(RegexTimeoutError):
        groups(r"(a+)+$", "a" * 50 + "!", -1.0)
    assert time.monotonic() >= begin
