"""How long the page of a run of 100,000 evaluations and a list of 1,000 runs take; wants playwright and a chromium.

python scripts/bench_page.py            # a minute

Each line for the page is a new `distfd ui`, opened in a browser that is running: seconds until J and |g| can be read,
and until the timeline is drawn.
"""

from __future__ import annotations

import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

EVALUATIONS, RUNS, TIMES = 100_000, 1000, 5
DISTFD = [sys.executable, "-m", "distfd"]
CONFIG = """task: gradient
objective: {{python: "model:J"}}
x0: x0.npy
derivative: {{check: false}}
resources: {{num_cpus: {cpus}}}
cluster: {{max_slots: {slots}}}
output: {output}
"""


def make_run(folder: Path, output: str, d: int, slots: int) -> Path:
    """A run whose J costs next to nothing."""
    (folder / "model.py").write_text("def J(x):\n    return float(x @ x)\n")
    code = f"import numpy as np; np.save('x0.npy', np.linspace(0.5, 1.5, {d}))"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    (folder / "run.yaml").write_text(CONFIG.format(cpus=1 / slots, slots=slots, output=output))
    subprocess.run([*DISTFD, "run", "run.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / output


def page_seconds(browser: object, run: Path) -> tuple[float, float]:
    """Until the headline is there, and until the timeline is drawn."""
    server = subprocess.Popen([*DISTFD, "ui", str(run), "--no-open"], stdout=subprocess.PIPE, text=True)
    try:
        found = re.search(r"http\S+", server.stdout.readline())
        while found is None:
            found = re.search(r"http\S+", server.stdout.readline())
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        begin = time.perf_counter()
        page.goto(found.group(), wait_until="commit")
        page.wait_for_selector("#part-headline")
        headline = time.perf_counter() - begin
        page.wait_for_selector("[id*=timeline] canvas, [id*=timeline] svg")
        drawn = time.perf_counter() - begin
        page.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
    return headline, drawn


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run = make_run(folder, "large", EVALUATIONS - 1, 16)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            warm = browser.new_page()
            warm.goto("data:text/html,<p>warm")
            for _ in range(TIMES):
                headline, drawn = page_seconds(browser, run)
                print(
                    f"page of {EVALUATIONS} evaluations: headline {headline:.2f} s, timeline {drawn:.2f} s", flush=True
                )
            browser.close()
        small = make_run(folder, "small", 3, 1)
        for k in range(RUNS):
            shutil.copytree(small, folder / "runs" / f"study{k // 50}" / f"run{k}")
        walls = []
        for _ in range(TIMES):
            begin = time.perf_counter()
            subprocess.run([*DISTFD, "ls", str(folder / "runs")], check=True, stdout=subprocess.DEVNULL)
            walls.append(time.perf_counter() - begin)
        print(f"distfd ls of {RUNS} runs: {statistics.median(walls):.2f} s (median of {TIMES})")


if __name__ == "__main__":
    main()
