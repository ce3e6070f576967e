"""FMUs for tests: the tank of configs/tank_fmu, and archives that are like it but for what a test changes."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILD = Path(__file__).parents[1] / "configs" / "tank_fmu" / "build.py"


def load_builder() -> Any:
    """configs/tank_fmu/build.py as a module."""
    spec = importlib.util.spec_from_file_location("tank_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described(version: int = 2, **changed: str) -> str:
    """The tank's modelDescription.xml, with texts replaced by others."""
    text: str = load_builder().description(version)
    for old, new in changed.items():
        text = text.replace(old, new)
    return text


def packed(path: Path, xml: str | bytes, files: Mapping[str | zipfile.ZipInfo, bytes] | None = None) -> Path:
    """An FMU of a description and other files; by default something that stands in for its library."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("modelDescription.xml", xml)
        for name, data in ({"binaries/linux64/tank.so": b"no library"} if files is None else files).items():
            archive.writestr(name, data)
    return path
