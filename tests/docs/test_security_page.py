"""docs/security.md: the modes and limits that it names are the code's."""

from __future__ import annotations

import re
from pathlib import Path

from distfd.config import yaml_source, yaml_tree
from distfd.objectives.command import secrets, values
from distfd.objectives.command import template_sandbox as sandbox

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")


def test_limits_are_those_of_the_code() -> None:
    words = " ".join(PAGE.split())
    assert f"{sandbox.MOST_TURNS:,} turns" in words
    assert f"{sandbox.MOST_TEXT // 2**20} MiB of text" in words
    assert f"at most {yaml_source.MOST_BYTES // 10**6} MB and {yaml_tree.MOST_DEPTH} levels" in words
    assert f"beyond {values.LARGEST // 2**20} MiB are refused" in words
    assert f"at least {secrets._SHORTEST_SHIPPED} characters" in words
    assert f"from {secrets._SHORTEST_SET} characters on" in words


def test_every_mode_has_its_test() -> None:
    attacks = (Path(__file__).parents[1] / "faults" / "test_security.py").read_text(encoding="utf-8")
    for what in re.findall(r"`([\w.~/]+\.\w+)`", PAGE.split("## What is written")[1].split("\n\n")[1]):
        assert Path(what).name in attacks, what
    for octal in set(re.findall(r"\| (0\d{3}) \|", PAGE)):
        assert f"0o{octal[1:]}" in attacks
