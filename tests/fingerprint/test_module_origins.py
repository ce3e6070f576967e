"""Where modules come from, without an import of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from distfd.fingerprint.module_origins import local_file, origin, resolve

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_folders_without_an_init_in_a_package_that_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "wing_package" / "shapes" / "thin"
    inner.mkdir(parents=True)
    (tmp_path / "wing_package" / "__init__.py").write_text("")
    (inner / "plate.py").write_text("AREA = 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = resolve("wing_package", 0, ["shapes", "nothing"], "")
    assert found == ["wing_package", "wing_package.shapes"]
    assert resolve("wing_package.shapes", 0, ["thin"], "")[1:] == ["wing_package.shapes.thin"]
    assert local_file("wing_package.shapes.thin.plate", []) == inner / "plate.py"
    place = origin("wing_package.shapes")
    assert place is not None
    assert place.version is None
    assert "wing_package" not in sys.modules
