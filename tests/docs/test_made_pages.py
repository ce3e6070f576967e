"""The tables of keys and commands in the documentation are those of the code as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from module_files import load_module

from distfd.cli.commands import app
from distfd.config.schema import Config

ROOT = Path(__file__).parents[2]
PAGES = ["configuration.md", "command-line.md"]


@pytest.fixture(scope="module")
def hooks() -> object:
    return load_module(ROOT / "scripts" / "docs_hooks.py")


@pytest.mark.parametrize("page", PAGES)
def test_made_tables_are_current(page: str, hooks: object) -> None:
    text = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    filled = hooks.filled(text)  # type: ignore[attr-defined]  # a script
    assert filled == text, "run python scripts/docs_hooks.py"


def test_every_key_and_command_is_there() -> None:
    keys, commands = ((ROOT / "docs" / "reference" / page).read_text(encoding="utf-8") for page in PAGES)
    for key in Config.model_json_schema()["properties"]:
        assert f"| `{key}` |" in keys
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback is not None else "")
        assert f"## `distfd {name.replace('_', '-')}`" in commands


def test_a_table_that_is_out_of_date_is_seen(hooks: object) -> None:
    old = "before\n<!-- made: configuration -->\n| `no.such.key` |\n<!-- made: end -->\nafter"
    new = hooks.filled(old)  # type: ignore[attr-defined]  # a script
    assert "no.such.key" not in new
    assert new.startswith("before\n")
    assert new.endswith("after")
    assert "| `x0` |" in new


def test_no_command_is_told_in_a_half_sentence() -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    listed = page.split("**Commands**:")[1].split("## ")[0].strip().splitlines()
    assert len(listed) == len(app.registered_commands)
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []
