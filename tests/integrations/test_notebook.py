"""A notebook that redefines J in every cell: the right numbers, from workers that stay."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CELLS = 50
jupyter = pytest.mark.skipif(
    find_spec("nbclient") is None or find_spec("ipykernel") is None,
    reason="NOT tested: nbclient or ipykernel is missing",
)

FIRST = """
import distfd

executor = distfd.RayExecutor(num_cpus=2)
slots = distfd.differentiate(lambda x: x[0], [1.0, 2.0, 3.0], executor=executor, check=False).slots
"""

CELL = """
factor = {k}.0

def J(x):
    print("this is J of cell {k}.")
    return factor * x[0] ** 2 + {k} * x[1] + x[2]

found = distfd.differentiate(J, [1.0, 2.0, 3.0], executor=executor, check=False)
told = [found.derivative.tolist(), sorted(set(found.evaluations["pid"].tolist())), found.n_evaluations]
print(f"found {{told}} end", end="")  # in one piece, as Ray prints what J does from a thread
"""

RUN = """
import sys
import nbformat
from nbclient import NotebookClient

book = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(book, timeout=300, kernel_name="here").execute()
nbformat.write(book, sys.argv[1])
"""
"""In a process of its own: what Jupyter warns of is no matter of distfd's."""


def executed(folder: Path, sources: list[str], name: str = "stdout") -> list[str]:
    """What each cell has printed, or, for "stderr", has been warned of."""
    kernel = folder / "data" / "kernels" / "here"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "here", "language": "python"}))
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"c{k}", "metadata": {}, "source": text, "outputs": [], "execution_count": None}
        for k, text in enumerate(sources)
    ]
    book = folder / "book.ipynb"
    book.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    ran = subprocess.run(
        [sys.executable, "-c", RUN, str(book)],
        check=False,
        cwd=folder,
        env={
            **os.environ,
            **own,
            "IPYTHONDIR": str(folder / "ipython"),
            "RAY_ADDRESS": "local",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    made = json.loads(book.read_text())["cells"]
    streams = [[out for out in cell["outputs"] if out["output_type"] == "stream"] for cell in made]
    return ["".join("".join(out["text"]) for out in outputs if out["name"] == name) for outputs in streams]


@pytest.mark.slow
@jupyter
def test_fifty_cells_that_redefine_j_have_the_right_numbers_from_the_same_workers(tmp_path: Path) -> None:
    texts = executed(tmp_path, [FIRST, *(CELL.format(k=k) for k in range(1, CELLS + 1)), "print(slots)"])
    assert int(texts[-1].splitlines()[0]) == 2
    workers = set()
    for k, text in enumerate(texts[1:-1], start=1):
        (told,) = re.findall(r"found (.*) end", text)
        derivative, pids, evaluations = json.loads(told)
        assert derivative == pytest.approx([2.0 * k, k, 1.0], rel=1e-5)
        assert evaluations == 4  # none is taken from the J of another cell
        workers |= set(pids)
    assert len(workers) == 2  # each J came to the workers of the one before


@pytest.mark.slow
@jupyter
def test_what_j_prints_is_in_the_cell_that_runs_it(tmp_path: Path) -> None:
    wait = "\nimport time\ntime.sleep(1)"
    texts = executed(tmp_path, [FIRST, *(CELL.format(k=k) + wait for k in range(1, 4))])
    for k, text in enumerate(texts[1:], start=1):
        assert text.count("this is J of cell ") == text.count(f"this is J of cell {k}.") == 4


@pytest.mark.slow
@jupyter
@pytest.mark.skipif(find_spec("ipywidgets") is not None, reason="NOT tested: Ray does not miss ipywidgets here")
def test_the_first_cell_is_not_full_of_what_ray_lacks(tmp_path: Path) -> None:
    (told,) = executed(tmp_path, [FIRST], "stderr")
    assert "distfd keeps 2 idle workers for the next call" in told
    assert "ipywidgets" not in told
    assert "IProgress" not in told
