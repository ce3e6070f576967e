"""Break things on purpose, many times, and count what must not happen.

    python scripts/chaos.py                      # everything, full counts: an hour
    python scripts/chaos.py --only driver-serial damage
    python scripts/chaos.py --scale 0.1          # a tenth of every count
    python scripts/chaos.py --list

Prints a table as a page of Markdown has it; the exit code is 1 if anything was broken. A new kind of fault is a
function in a file scripts/chaos_*.py, entered with ``chaos_frame.section``; it is given how often, and yields rows.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from chaos_frame import SECTIONS

HERE = Path(__file__).resolve().parent


def load() -> None:
    """Have every scripts/chaos_*.py enter its sections."""
    for path in sorted(HERE.glob("chaos_*.py")):
        importlib.import_module(path.stem)


def main() -> int:
    """Run sections, print rows as they come."""
    load()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION")
    parser.add_argument("--scale", type=float, default=1.0, help="times every count, at least 1")
    parser.add_argument("--list", action="store_true", help="print the sections and their counts")
    given = parser.parse_args()
    if given.list:
        for entry in SECTIONS.values():
            print(f"{entry.name:16} {entry.times}")
        return 0
    broken = 0
    print("| section | fault | times | broken | seen | minutes |\n|---|---|---|---|---|---|", flush=True)
    for name in given.only or SECTIONS:
        entry = SECTIONS[name]
        begin = time.monotonic()
        for row in entry.run(max(1, round(entry.times * given.scale))):
            minutes = (time.monotonic() - begin) / 60
            print(f"| {name} | {row.fault} | {row.times} | {row.broken} | {row.seen} | {minutes:.1f} |", flush=True)
            broken += row.broken
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
