"""The table of schemes in docs/numerics.md is the code's."""

from __future__ import annotations

import re
from pathlib import Path

from distfd.differentiation.stencils import COMPLEX_STEP, RICHARDSON, SCHEMES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "numerics.md").read_text(encoding="utf-8")


def test_its_table_has_every_scheme_with_its_nodes_and_step() -> None:
    rows = {line.split("|")[1].strip(): line for line in PAGE.splitlines() if re.match(r"\| `[a-z]", line)}
    every = " ".join(rows)
    for stencil in (*SCHEMES.values(), RICHARDSON, COMPLEX_STEP):
        assert f"`{stencil.name}`" in every
        (row,) = [line for names, line in rows.items() if f"`{stencil.name}`" in names and "NoiseStep" not in names]
        if not stencil.imaginary:
            assert ", ".join(f"{node:g}" for node in stencil.nodes) in row
        power = 2 if stencil.imaginary else stencil.order + 1
        assert f"eps^(1/{power})" in row
        for size in re.findall(r"= (\d\.\de-\d)", row):
            assert f"{stencil.relative_step:.1e}".replace("e-0", "e-") == size
