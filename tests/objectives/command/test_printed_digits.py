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


UNEVEN = """import json
p = json.load(open("parameters.json"))
print(f"J = {-10.84730 + 2.4641 * (p['nu'] - 0.3) + 4.0577 * (p['t'] - 8):.6E}")
"""


def test_a_component_of_few_units_is_named_beside_larger_ones(tmp_path: Path) -> None:
    """As ccx prints: 2 units of the last of seven digits, where another coordinate moves J by 90; 700 are none."""
    script = tmp_path / "program.py"
    script.write_text(UNEVEN)
    objective = distfd.CommandObjective(
        ["python3", "program.py"],
        copy=[str(script)],
        outputs={"J": {"file": "stdout", "regex": r"J = (\S+)"}},
    )
    for step, named in ((1.4e-5, True), (5e-3, False)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DerivativeWarning)
            result = distfd.differentiate(
                objective, [0.3, 8.0], names=["nu", "t"], scheme="central", step=step, executor="serial", check=False
            )
        found = [text for text in result.warnings if "rounding hides the derivative along coordinate 0 ('nu')" in text]
        assert bool(found) == named, (step, result.warnings)
        assert not any("'t'" in text for text in result.warnings) or step == 1.4e-5
