"""Where modules come from, without an import of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import distfd
from distfd.fingerprint.module_origins import local_file, origin, recorded_name, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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


@pytest.mark.parametrize("function", [distfd.minimize, distfd.least_squares], ids=["minimize", "least_squares"])
def test_a_function_that_has_moved_keeps_the_name_that_stored_values_know(function: Callable[..., object]) -> None:
    assert recorded_name(function.__module__) == "distfd.optimize"
