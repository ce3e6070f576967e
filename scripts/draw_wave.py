"""Draw docs/wave.svg: when each slot evaluated what, in three gradients that this script runs.

    python scripts/draw_wave.py

J sleeps and writes down when it began and ended, so all three are drawn from the same kind of record: SciPy's
approx_derivative over a Pool, distfd, and distfd with one worker killed in the middle of an evaluation.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize._numdiff import approx_derivative

import distfd

SECONDS, D, SLOTS = 2.0, 13, 8
TARGET = Path(__file__).parent.parent / "docs" / "wave.svg"


class Sleeper:
    """J: takes its time, and appends (process, coordinate, begin, end, fate) to a file."""

    def __init__(self, log: str, victim: int | None = None) -> None:
        self.log, self.victim = log, victim

    def __call__(self, x: Any) -> float:
        began = time.time()
        moved = np.flatnonzero(x != np.round(x))
        k = int(moved[0]) if len(moved) else -1
        dies = k == self.victim and not Path(self.log + ".dead").exists()
        time.sleep(0.6 * SECONDS if dies else SECONDS)
        line = json.dumps([os.getpid(), k, began, time.time(), "crash" if dies else "ok"])
        with Path(self.log).open("a") as file:
            file.write(line + "\n")
        if dies:
            Path(self.log + ".dead").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(x @ x)


def scipy_run(log: str) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(SLOTS) as pool:
        pool.map(abs, range(100 * SLOTS))  # the processes are up
        began = time.time()
        approx_derivative(Sleeper(log), np.arange(1.0, D + 1), method="2-point", workers=pool.map)
        return began, time.time()


def distfd_run(log: str, victim: int | None = None) -> tuple[float, float]:
    executor = distfd.RayExecutor(address="local", num_cpus=SLOTS)
    with distfd.Evaluator(Sleeper(log, victim), executor=executor) as ev:
        ev.gradient(np.arange(101.0, D + 101))  # the processes are up, as SciPy's are
        Path(log).unlink()
        Path(log + ".dead").unlink(missing_ok=True)
        began = time.time()
        ev.gradient(np.arange(1.0, D + 1))
        return began, time.time()


# Drawing: plain SVG. Colours are variables, so that a page in light or dark can set them.
ROW, WIDE, LEFT, TOP = 15, 720, 16, 46
STYLE = """
.wave{--fg:#1f2328;--dim:#6e7781;--line:#d0d7de;--base:#c2410c;--point:#2b6cb0;--bad:#c92a2a;--again:#237a36;
font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
@media (prefers-color-scheme:dark){.wave{--fg:#e6edf3;--dim:#9198a1;--line:#3d444d;--base:#cc4a06;--point:#3374b5;
--bad:#d62828;--again:#258339}}
.wave text{fill:var(--fg)}.wave .dim{fill:var(--dim)}.wave .on{fill:#fff;font-size:10px;text-anchor:middle}
.wave .bar{fill:var(--point)}.wave .base{fill:var(--base)}.wave .crash{fill:var(--bad)}.wave .again{fill:var(--again)}
.wave .grid{stroke:var(--line)}.wave .end{stroke:var(--fg);stroke-width:1.5}
"""


def panel(title: str, log: str, span: tuple[float, float], top: int, unit: float) -> tuple[str, int]:
    """One gradient: a row a process, a bar an evaluation."""
    rows = [json.loads(line) for line in Path(log).read_text().splitlines()]
    order = {pid: n for n, pid in enumerate(dict.fromkeys(row[0] for row in sorted(rows, key=lambda r: r[2])))}
    failed = {k for _, k, _, _, fate in rows if fate == "crash"}
    bottom = top + 22 + ROW * len(order)
    rounds = (span[1] - span[0]) / statistics.median(end - begin for _, _, begin, end, fate in rows if fate == "ok")
    parts = [
        f'<text x="{LEFT}" y="{top + 10}" font-weight="600">{title}</text>',
        f'<text x="{LEFT + WIDE}" y="{top + 10}" text-anchor="end" font-weight="600">{rounds:.2f} rounds</text>',
    ]
    for n in range(4):
        x = LEFT + n * SECONDS * unit
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 18}" y2="{bottom}"/>')
    for pid, k, begin, end, fate in rows:
        x, width = LEFT + (begin - span[0]) * unit, (end - begin) * unit - 1.5
        y = top + 22 + ROW * order[pid]
        kind = "base" if k < 0 else "crash" if fate == "crash" else "again" if k in failed else "bar"
        label = "J(x)" if k < 0 else f"J(x + h e{k + 1})" + (" killed" if fate == "crash" else "")
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 3}" rx="2.5"/>')
        parts.append(f'<text class="on" x="{x + width / 2:.1f}" y="{y + 9.5}">{label}</text>')
    x = LEFT + (span[1] - span[0]) * unit
    parts.append(f'<line class="end" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 16}" y2="{bottom}"/>')
    return "\n".join(parts), bottom + 18


def main() -> None:
    folder = tempfile.mkdtemp()
    runs = [
        ("SciPy approx_derivative, a Pool: J(x) is evaluated first", f"{folder}/scipy", scipy_run(f"{folder}/scipy")),
        ("distfd: J(x) is evaluated with the other points", f"{folder}/distfd", distfd_run(f"{folder}/distfd")),
        ("distfd, when a worker is killed", f"{folder}/killed", distfd_run(f"{folder}/killed", victim=3)),
    ]
    unit = WIDE / max(*(end - begin for _, _, (begin, end) in runs), 3 * SECONDS)
    parts, top = [], TOP
    for title, log, span in runs:
        drawn, top = panel(title, log, span, top, unit)
        parts.append(drawn)
    words = f"A gradient with {D} parameters, measured on {SLOTS} slots. A bar is one evaluation, a row is one process."
    TARGET.write_text(
        f'<svg class="wave" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE + 2 * LEFT} {top}" role="img" '
        f'aria-label="{words}">\n<style>{STYLE}</style>\n<text class="dim" x="{LEFT}" y="22">{words}</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n",
        encoding="utf-8",
    )
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
