"""How often a fit's 95 % intervals hold the truth: a small, seeded part of scripts/check_coverage.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_files import load_module

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_coverage.py"


@pytest.fixture(scope="module", name="script")
def the_script() -> Any:
    return load_module(SCRIPT, "check_coverage", register=True)  # its dataclasses look for themselves there


@pytest.mark.parametrize("known", [False, True])
def test_intervals_hold_the_truth_of_five_models(script: Any, known: bool) -> None:
    found = script.coverage(8, seed=2, known=known, absolute_sigma=known)
    assert {name: held.shape[1] for name, held in found.items()} == {
        "exponential decay and offset": 3,
        "Hill curve": 3,
        "logistic growth": 3,
        "damped cosine": 4,
        "peak on a line": 5,
    }
    whole = np.concatenate([held.ravel() for held in found.values()])
    assert len(whole) == 8 * 18
    assert 0.9 <= whole.mean() < 1.0, "95 %, of 144 intervals that are not independent"


def test_the_script_prints_a_line_for_each_model(
    script: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["check_coverage.py", "--sets", "1", "--method", "lm"])
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[-1].startswith("all")
    assert lines[-1].endswith("of 18 intervals")
