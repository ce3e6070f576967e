"""docs/decisions: every record is whole and in the index; files that these pages name are there."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from pages import PAGES, ROOT, page_id

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("0*.md"))
INDEX = (FOLDER / "index.md").read_text(encoding="utf-8")
PARTS = ["Context", "Decision", "Figures", "Consequences"]


def test_numbers_have_no_gaps() -> None:
    assert [path.name[:4] for path in RECORDS] == [f"{k:04}" for k in range(1, len(RECORDS) + 1)]


@pytest.mark.parametrize("path", RECORDS, ids=page_id)
def test_a_record_is_whole_and_in_the_index(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    number, title = path.name[:4], text.splitlines()[0].removeprefix(f"# {path.name[:4]}. ")
    assert f"| {number} | [{title}]({path.name}) |" in INDEX
    assert re.search(r"^Date: \d{4}-\d\d-\d\d", text, re.MULTILINE)
    assert re.search(r"\bStatus: (accepted|replaced by \d{4})\.$", text, re.MULTILINE)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == PARTS
    assert re.search(r"^Code: `", text, re.MULTILINE)


@pytest.mark.parametrize("path", [ROOT / "CONTRIBUTING.md", *PAGES], ids=page_id)
def test_files_of_the_code_that_a_page_names_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:distfd|tests)/\w[\w./]*)`", text))
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def test_files_of_the_package_that_the_architecture_names_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", text))
    assert "evaluation/event_loop.py" in named
    assert not [name for name in sorted(named) if not (ROOT / "distfd" / name.removeprefix("distfd/")).exists()]


def test_the_architecture_has_every_package_in_the_order_of_the_layers() -> None:
    table = (
        (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## The packages")[1].split("\n## ")[0]
    )
    listed = re.findall(r"`([a-z_]+)/?`", " ".join(re.findall(r"^\| (`[^|]*)\|", table, re.MULTILINE)))
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert listed == [name.strip() for layer in layers for name in layer.split("|")]
