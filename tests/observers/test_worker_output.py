"""What J printed, gathered."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from distfd import events
from distfd.observers.worker_output import WorkerOutputs

if TYPE_CHECKING:
    from pathlib import Path


def test_what_workers_of_this_host_printed_is_gathered(tmp_path: Path) -> None:
    here = socket.gethostname()
    (tmp_path / "worker-1.out").write_text(":job_id:01\n:actor_name:RayWorker\nhello\n")
    (tmp_path / "worker-1.err").write_text("careful\n")
    (tmp_path / "worker-2.out").write_text(":job_id:01\n")
    outputs, gathered = WorkerOutputs(), tmp_path / "output.log"
    outputs(events.SlotStarted(0, here, 11, str(tmp_path / "worker-1.out")))
    outputs(events.SlotStarted(1, here, 12, str(tmp_path / "worker-2.out")))
    outputs(events.SlotStarted(2, here, 13, str(tmp_path / "gone.out")))
    outputs(events.SlotStarted(3, "elsewhere", 14, str(tmp_path / "worker-1.out")))
    outputs(events.SlotStarted(4, here, 15))
    outputs.gather(gathered)
    assert gathered.read_text() == "--- slot 0, process 11\nhello\n--- slot 0, process 11, stderr\ncareful\n"


def test_nothing_printed_is_no_file(tmp_path: Path) -> None:
    outputs = WorkerOutputs()
    outputs.gather(tmp_path / "output.log")
    assert not (tmp_path / "output.log").exists()


def test_of_a_flood_the_end_is_kept(tmp_path: Path) -> None:
    (tmp_path / "w.out").write_text("".join(f"line {k}\n" for k in range(200_000)))
    outputs = WorkerOutputs()
    outputs(events.SlotStarted(0, socket.gethostname(), 1, str(tmp_path / "w.out")))
    outputs.gather(tmp_path / "output.log")
    assert (tmp_path / "output.log").stat().st_size < 1_001_000
    assert (tmp_path / "output.log").read_text().endswith("line 199999\n")
