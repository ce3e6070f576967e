"""The folder of a node into which files of the driver are put: nobody else may write to it, as code is run from it."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from distfd.errors import InputError
from distfd.executors.ray.code_shipping import Shipment, ShippedFile, unpack

if TYPE_CHECKING:
    from pathlib import Path

CODE = b"def f(x):\n    return 1.0\n"
SHIPMENT = Shipment("/no/such/folder", (ShippedFile("model.py", hashlib.sha256(CODE).hexdigest(), 0o644),))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"distfd-shipped-{os.getuid()}"


def test_files_are_put_where_nobody_else_comes_in(place: Path) -> None:
    made = unpack(SHIPMENT, lambda _: CODE)
    assert (made / "model.py").read_bytes() == CODE
    assert made.parent == place
    assert place.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["open", "link"])
def test_a_folder_that_others_can_write_to_takes_no_code(tmp_path: Path, place: Path, kind: str) -> None:
    if kind == "open":
        place.mkdir()
        place.chmod(0o777)
    else:
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to("elsewhere")
    with pytest.raises(InputError, match="is not a folder that you alone can write to"):
        unpack(SHIPMENT, lambda _: CODE)
    assert not list(place.iterdir())


def test_what_differs_from_what_was_sent_is_refused(place: Path) -> None:
    with pytest.raises(InputError, match=r"model\.py: the copy on this node differs from the file sent"):
        unpack(SHIPMENT, lambda _: CODE + b"evil()\n")
    assert not list(place.rglob("model.py"))
