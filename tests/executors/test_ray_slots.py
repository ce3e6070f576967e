"""Whether a worker that was idle is there before a point is handed to it alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from distfd.core.points import dense_points
from distfd.executors.ray.nodes import _runs
from distfd.executors.ray.slots import Slots
from distfd.workers.messages import Chunk, EvaluationChunk


def chunk(points: int) -> Chunk:
    return EvaluationChunk(7, np.arange(points), dense_points([np.arange(3.0)] * points), False, None, 1.0)


@pytest.mark.parametrize(("points", "seen", "asked"), [(1, True, False), (1, False, True), (3, False, False)])
def test_only_a_lone_point_waits_for_a_word_of_a_worker_that_cannot_be_seen(
    points: int, seen: bool, asked: bool
) -> None:
    worker, nodes = Mock(), Mock()
    nodes.sees.return_value = seen
    slots = Slots(Mock(return_value=worker), nodes)
    slots._actors[0] = worker
    slots.submit(0, chunk(points))
    assert (worker.here.remote.call_count, worker.run.remote.call_count) == (int(asked), int(not asked))


@pytest.mark.skipif(not Path("/proc").exists(), reason="elsewhere none is seen, and all are asked")
def test_a_process_is_seen_until_it_ends_though_nobody_has_waited_for_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert _runs(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie
        assert Path(f"/proc/{child.pid}").exists()
        assert not _runs(child.pid)
    assert not _runs(child.pid)
