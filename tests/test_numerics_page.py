"""What docs/numerics.md shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from distfd.numerics.stencils import COMPLEX_STEP, RICHARDSON, SCHEMES

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "numerics.md").read_text(encoding="utf-8")


def test_its_python_runs() -> None:
    program = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert ran.returncode == 0, ran.stderr
    assert "right within" in ran.stdout
    assert "the gradient is WRONG in 1 of 2 components: coordinate 1" in ran.stdout


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


def test_its_commands_and_links_are_real() -> None:
    for config in re.findall(r"configs/\S+\.yaml", PAGE):
        assert (ROOT / config).exists()
    for script in re.findall(r"scripts/\w+\.py", PAGE):
        assert (ROOT / script).exists()
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists()
    assert "(docs/numerics.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
