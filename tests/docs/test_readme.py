"""README's promises beyond what every page's tests hold (test_pages.py)."""

from __future__ import annotations

import os

from pages import ROOT, blocks, commands

README = ROOT / "README.md"


def test_it_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 200


def test_the_two_commands_are_there_and_ci_runs_them() -> None:
    shown = {line for block in blocks(README, "console") for line, _ in commands(block)}
    for name in ("scripts/quickstart", "scripts/test"):
        assert name in shown
        assert os.access(ROOT / name, os.X_OK)
        assert name in (ROOT / ".ci" / "run").read_text()
