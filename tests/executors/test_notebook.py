"""A notebook that defines J anew in every cell: each gradient is that of the J which stands there."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
CELLS = 50
PROGRAM = """
import sys
import nbformat
from nbclient import NotebookClient

cells = ["import distfd"]
for k in range(int(sys.argv[1])):
    cells.append(
        f"offset = {k}.0\\n"
        f"def weight():\\n    return {k} + 1\\n"
        "def J(x):\\n    return weight() * float(x @ x) + offset * x[0]\\n"
        "print(*distfd.gradient(J, [1.0, 2.0, 3.0], scheme='central'))"
    )
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
NotebookClient(book, timeout=300, kernel_name="python3").execute()
for cell in book.cells[1:]:
    print("".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout").strip())
"""


@pytest.mark.slow
def test_j_is_redefined_in_every_cell(ray_address: str, tmp_path: Path) -> None:
    for needed in ("nbclient", "ipykernel"):
        if find_spec(needed) is None:
            pytest.skip(f"NOT tested: {needed} is missing")
    # A kernel of this interpreter, whatever others the machine has.
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    (spec / "kernel.json").write_text(f'{{"argv": {argv}, "display_name": "python3", "language": "python"}}')
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(CELLS)],
        cwd=tmp_path,
        env={
            **os.environ,
            "RAY_ADDRESS": ray_address,
            "JUPYTER_PATH": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        },
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    rows = [[float(word) for word in line.split()] for line in ran.stdout.splitlines()]
    expected = [[2 * (k + 1) * 1.0 + k, 2 * (k + 1) * 2.0, 2 * (k + 1) * 3.0] for k in range(CELLS)]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
