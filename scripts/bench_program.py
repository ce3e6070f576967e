"""What an external evaluation costs beyond the program itself, against a bare subprocess.run of the same program.

usage: python scripts/bench_program.py [REPEATS]      prints medians and ratios, all taken in one run

The program reads a namelist-like deck and writes one line; beside it a sleep of 0.1 s, to see what waiting costs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distfd import CommandObjective, Evaluator

if TYPE_CHECKING:
    from collections.abc import Callable

DECK = "".join(f"p{k} = {{{{ x[{k}] }}}}\n" for k in range(50))
PROGRAMS = {
    "sh, a few ms": ["sh", "-c", "read line < deck; echo J = 1"],
    "sh, 0.1 s": ["sh", "-c", "read line < deck; sleep 0.1; echo J = 1"],
}


def seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main(repeats: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "deck.j2").write_text(DECK)
        (folder / "deck").write_text("p0 = 1\n")
        for title, argv in PROGRAMS.items():
            objective = CommandObjective(
                argv,
                inputs={"deck": "deck.j2"},
                outputs={"J": {"file": "stdout", "regex": r"^J = (\S+)$"}},
                base=folder,
                work=folder / "work",
            )
            model, x = objective.make(), np.linspace(1, 2, 50)
            bare, ours = [], []
            for k in range(-3, repeats):  # the first ones warm up
                # Taken in turn, so that what else the machine does is the same for both.
                pair = (
                    seconds(lambda argv=argv: subprocess.run(argv, cwd=folder, capture_output=True, check=True)),
                    seconds(lambda model=model: model.evaluate(x + k, timeout=60)),  # noqa: B023  # called at once
                )
                if k >= 0:
                    bare.append(pair[0])
                    ours.append(pair[1])
            with Evaluator(objective, executor="serial") as evaluator:
                points = [x + k for k in range(repeats)]
                loop = seconds(lambda evaluator=evaluator, points=points: evaluator.map(points)) / repeats
            plain, whole = statistics.median(bare), statistics.median(ours)
            print(
                f"{title:>13}: subprocess.run {plain * 1e3:6.2f} ms, evaluation {whole * 1e3:6.2f} ms "
                f"(+{(whole - plain) * 1e3:.2f} ms, {whole / plain:.2f} x), in a serial wave {loop * 1e3:6.2f} ms each "
                f"(+{(loop - plain) * 1e3:.2f} ms, {loop / plain:.2f} x)"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
