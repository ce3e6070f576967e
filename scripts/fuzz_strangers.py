"""Hands distfd what a stranger might, made at random, for as long as is wanted.

usage: python scripts/fuzz_strangers.py [SECONDS [SEED]]

A case that hangs for 20 s or computes for 5, changes a file outside of its folder, or ends in a traceback or "bug in
distfd" is printed, with the seed that makes it again.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from stranger_inputs import main  # noqa: E402  # found by the line above

if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    sys.exit(main(seconds, int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**31)))
