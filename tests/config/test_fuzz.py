"""Good configurations with random damage: each is good still, or refused with exit code 2 and a place."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bad_corpus import GOOD
from test_corpus import FILES

from distfd.config import load_config
from distfd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
BASES = [*(text.encode() for text in GOOD.values()), *(path.read_bytes() for path in (ROOT / "configs").glob("*.yaml"))]
TOKENS = [
    *(rb"{ } [ ] : , - ? & * ! | > ' % @ # ~ << --- ... null true on 010 .inf .nan -1 0 1e999 1e-999".split()),
    *(rb"9999999999999999999999 0x1F 0o17 1_000 2001-01-01 !!binary !!python/object/apply:os.system".split()),
    *(b'"', b"\\", b"\t", b"\r", b"\0", b"\xff", b"\xc3", b"\x85"),
    "\N{RIGHT-TO-LEFT OVERRIDE}é\N{LINE SEPARATOR}\N{BYTE ORDER MARK}".encode(),
    b"((((((((((a+)+)+)+)+)+)+)+)+)+$",
    b"a.__class__",
    b"'" + b"x" * 5000 + b"'",
    b"[" * 60,
]


def _token(text: bytes, at: random.Random) -> bytes:
    k = at.randrange(len(text) + 1)
    return text[:k] + at.choice(TOKENS) + text[k:]


def _cut(text: bytes, at: random.Random) -> bytes:
    a, b = sorted((at.randrange(len(text) + 1), at.randrange(len(text) + 1)))
    return text[:a] + text[min(b, a + 40) :]


def _byte(text: bytes, at: random.Random) -> bytes:
    k = at.randrange(len(text))
    return text[:k] + bytes([at.randrange(256)]) + text[k + 1 :]


def _lines(text: bytes, at: random.Random) -> bytes:
    rows = text.splitlines(keepends=True)
    row = rows.pop(at.randrange(len(rows)))
    rows.insert(at.randrange(len(rows) + 1), at.choice([row, b"  " + row, row.lstrip(), row + row]))
    return b"".join(rows)


def _value(text: bytes, at: random.Random) -> bytes:
    rows = text.splitlines(keepends=True)
    k = at.randrange(len(rows))
    rows[k] = rows[k].split(b":")[0] + b": " + at.choice(TOKENS) + b"\n"
    return b"".join(rows)


CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (_token, _cut, _byte, _lines, _value)


def damaged(seed: int) -> bytes:
    """A good configuration after one to three random changes."""
    at = random.Random(seed)
    text = at.choice(BASES)
    for _ in range(at.randint(1, 3)):
        text = at.choice(CHANGES)(text, at) or b"a"
    return text


def check(folder: Path, seed: int) -> bool:
    """Whether it is good still; anything but a clear refusal fails."""
    path = folder / "c.yaml"
    path.write_bytes(damaged(seed))
    before = sorted(folder.iterdir())
    told = refusal(path)
    assert sorted(folder.iterdir()) == before
    for line in told.split("\n") if told else ():
        assert re.match(rf"{re.escape(str(path))}:\d+:\d+: .|\.\.\. and \d+ more", line), (seed, line)
        assert line.isprintable(), (seed, line)
        assert len(line) < 2000, (seed, line)
    return not told


def refusal(path: Path) -> str:
    """What is said against a configuration; nothing of a good one."""
    try:
        load_config(path)
    except ConfigError as error:
        return str(error)
    return ""


def fuzz(folder: Path, seeds: range) -> None:
    for name, text in FILES.items():
        (folder / name).write_text(text)
    good = sum(check(folder, seed) for seed in seeds)
    assert 0 < good < len(seeds), "the damage is neither harmless nor always deadly"


def test_damaged_configurations(tmp_path: Path) -> None:
    fuzz(tmp_path, range(100))


@pytest.mark.slow
def test_many_damaged_configurations(tmp_path: Path) -> None:
    fuzz(tmp_path, range(100, 2100))
