"""docs/security.md: the modes and limits that it names are the code's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from distfd.config import yaml_source, yaml_tree
from distfd.objectives.command import bounded_templates, secrets, values
from distfd.objectives.command import template_sandbox as sandbox
from distfd.objectives.fmu import archive
from distfd.run_directory import directory
from distfd.ui import pages, server

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")


def test_limits_are_those_of_the_code() -> None:
    words = " ".join(PAGE.split())
    assert f"{sandbox.MOST_TURNS:,} turns" in words
    assert f"{sandbox.MOST_TEXT // 2**20} MiB of text" in words
    assert f"at most {yaml_source.MOST_BYTES // 10**6} MB and {yaml_tree.MOST_DEPTH} levels" in words
    assert f"beyond {values.LARGEST // 2**20} MiB are refused" in words
    assert f"at least {secrets._SHORTEST_SHIPPED} characters" in words
    assert f"Of a value of {secrets.SHORTEST_SET} characters or more" in words
    times, least = archive._BOMB
    assert f"more than {least // 2**20} MiB and {times} times its size" in words
    assert f"more than {archive.LARGEST // 2**30} GiB" in words
    assert f"{bounded_templates.SECONDS:g} seconds of a processor a deck" in words
    assert f"{server._CONNECTIONS} connections and {server._STREAMS} live pages" in words
    assert len(pages.SERVED) == 7
    assert "of a run's files seven are shown" in words


def test_every_mode_has_its_test() -> None:
    attacks = (Path(__file__).parents[1] / "faults" / "test_security.py").read_text(encoding="utf-8")
    for what in re.findall(r"`([\w.~/]+\.\w+)`", PAGE.split("## What is written")[1].split("\n\n")[1]):
        assert Path(what).name in attacks, what
    for octal in set(re.findall(r"\| (0\d{3}) \|", PAGE)):
        assert f"0o{octal[1:]}" in attacks


DOCS = Path(__file__).parents[2] / "docs"
ROOT = DOCS.parent


def held_by(page: str) -> list[tuple[str, list[str]]]:
    """(claim, tests) of the rows of a page's table of claims."""
    rows = [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if "::" in line]
    return [(row.split("|")[1].strip(), re.findall(r"`(tests/[\w/]+\.py::\w+)`", row)) for row in rows]


@pytest.mark.parametrize("page", ["security.md", "reliability.md"])
def test_each_claim_has_a_test_that_is_there(page: str) -> None:
    claims = held_by(page)
    assert len(claims) >= 15
    for claim, tests in claims:
        assert tests, claim
        for test in tests:
            file, _, name = test.partition("::")
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_each_promise_of_reliability_has_a_test() -> None:
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| promise ")]
    assert len(rows) == len(held_by("reliability.md"))


def test_the_page_of_the_disk_has_all_files_of_a_run() -> None:
    text = (DOCS / "disk.md").read_text(encoding="utf-8")
    for name in (*directory._REPLACED, *directory._CHANGED):
        assert f"`{name}`" in text, name
