"""What a stranger may hand us, at a fixed seed; scripts/fuzz_strangers.py goes on for as long as is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stranger_inputs import KINDS
from strangers import Stranger, sound_run

if TYPE_CHECKING:
    from pathlib import Path

CASES = {"json": 20, "yaml": 10, "things": 20, "store": 20, "spool": 15, "tar": 50, "expression": 250, "template": 8}
CASES |= {"init": 12, "fmu": 10, "page": 2, "fit": 10}


@pytest.mark.parametrize("kind", list(KINDS))
def test_nothing_outside_changes_and_nothing_hangs_or_breaks(tmp_path: Path, kind: str) -> None:
    stranger = Stranger(tmp_path, sound_run(tmp_path / "sound"), seed=20261127)
    for k in range(CASES[kind]):
        stranger.case(k, kind)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", list(KINDS))
def test_more_at_another_seed(tmp_path: Path, kind: str) -> None:
    stranger = Stranger(tmp_path, sound_run(tmp_path / "sound"), seed=7)
    for k in range(4 * CASES[kind]):
        stranger.case(k, kind)
