"""A program prints few digits: a derivative that hangs on the last of them is told, however few values there are."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.core.errors import DerivativeWarning

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """import json, math
p = json.load(open("parameters.json"))
print(f"J = {sum(math.sin(v) for v in p.values()):.%df}")
"""


def printing(tmp_path: Path, digits: int) -> distfd.CommandObjective:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM % digits)
    return distfd.CommandObjective(
        ["python3", "program.py"],
        copy=[str(script)],
        outputs={"J": {"file": "stdout", "regex": r"J = (\S+)"}},
    )


def differentiate(objective: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        return distfd.differentiate(objective, [1.0], names=["a"], executor="serial", **options)


def test_a_difference_of_a_few_last_digits(tmp_path: Path) -> None:
    result = differentiate(printing(tmp_path, 5), step=1e-4)
    assert any("rounding hides the derivative along coordinate 0 ('a')" in text for text in result.warnings)
    assert any("in units of 1e-05" in text for text in result.warnings)


@pytest.mark.parametrize("options", [{"step": 1e-2}, {"step": "auto"}])
def test_the_remedies(tmp_path: Path, options: dict[str, Any]) -> None:
    result = differentiate(printing(tmp_path, 5), **options)
    assert result.warnings == ()
    np.testing.assert_allclose(result.derivative, [np.cos(1)], rtol=0.02)


def test_all_digits_are_no_few(tmp_path: Path) -> None:
    result = differentiate(printing(tmp_path, 17))
    assert result.warnings == ()
    np.testing.assert_allclose(result.derivative, [np.cos(1)], rtol=1e-6)
