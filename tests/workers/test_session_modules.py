"""Modules are imported by the text that they had when a session began."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import traceback
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING

import pytest

from distfd.workers.session_modules import ModuleText, importing_texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("shipped_package", "unedited"))]:
        del sys.modules[name]


def test_an_edited_file_and_one_that_is_gone_are_imported_as_they_were(folder: Path) -> None:
    package = folder / "shipped_package"
    package.mkdir()
    texts = {
        "shipped_package": (package / "__init__.py", b"from shipped_package.part import K\n"),
        "shipped_package.part": (package / "part.py", b"from . import other\nK = other.K + 1\n"),
        "shipped_package.other": (package / "other.py", b"K = 2\ndef f():\n    raise ValueError('here')\n"),
    }
    for file, text in texts.values():
        file.write_bytes(text)
    known = {name: (str(file), text) for name, (file, text) in texts.items()}
    (package / "other.py").write_text("# another\n" * 5 + "K = 200\n")
    (package / "part.py").unlink()
    with importing_texts(known):
        found = importlib.import_module("shipped_package")
    assert found.K == 3
    other = sys.modules["shipped_package.other"]
    assert other.__file__ == str(package / "other.py")
    with pytest.raises(ValueError, match="here") as raised:
        other.f()
    shown = "".join(traceback.format_exception(raised.value))
    assert f'File "{package / "other.py"}", line 3, in f\n    raise ValueError' in shown


def test_a_file_that_is_as_it_was_is_imported_as_always(folder: Path) -> None:
    file = folder / "unedited.py"
    file.write_text("K = 2\n")
    with importing_texts({"unedited": (str(file), b"K = 2\n")}):
        found = importlib.import_module("unedited")
    assert found.__spec__ is not None
    assert isinstance(found.__spec__.loader, SourceFileLoader)


def test_compiled_code_of_the_text_before_is_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python compares whole seconds and sizes, and takes a file that was edited twice in a second for the same."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = folder / "unedited.py"
    for value in (2, 3, 4):
        file.write_text(f"K = {value}\n")
        os.utime(file, ns=(10**18, 10**18))
        sys.modules.pop("unedited", None)
        with importing_texts({"unedited": (str(file), file.read_bytes())}):
            found = importlib.import_module("unedited")
        assert vars(found)["K"] == value
        sys.modules.pop("unedited")
        importlib.import_module("unedited")  # writes what it compiles, or takes what is there
    assert list(folder.glob("__pycache__/unedited*.pyc"))


def test_which_files_are_packages() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    assert ModuleText("/a/b/__init__.py", digest).is_package
    assert not ModuleText("/a/b/init.py", digest).is_package
