"""The table of a result: within the terminal, whatever the names and the number of coordinates."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from distfd.cli import terminal
from distfd.cli.result_table import result_table, show_result
from distfd.run_directory.directory import RunDirectory
from distfd.run_directory.result_fields import summary

if TYPE_CHECKING:
    from pathlib import Path


def result(d: int, **changes: Any) -> dict[str, Any]:
    return {
        "task": "gradient",
        "status": "done",
        "names": [f"width_{k}" for k in range(d)],
        "x": [1.23456789012e-5 * (k + 1) for k in range(d)],
        "value": 17.25,
        "derivative": [-1234.56789012 * (k + 1) for k in range(d)],
        "error": [None if k == 1 else 1.5e-7 for k in range(d)],
        "step": [1.4901161193847656e-8] * d,
        "missing": [],
        "message": "",
        "n_evaluations": d + 1,
        "n_reused": 0,
        "n_failed": 0,
        "wall_seconds": 1.5,
        "slots": 2,
        "efficiency": 0.5,
        **changes,
    }


def drawn(found: dict[str, Any], width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(result_table(found, width))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 50, 80, 200])
def test_no_number_is_cut(width: int) -> None:
    lines = drawn(result(3), width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    first = lines[2].split()
    assert first[0] == "width_0"
    expected = [1.2346e-5, -1234.6, 1.5e-7, 1.49e-8] if width > 50 else [1.2346e-5, -1234.6, 1.5e-7][: width // 16]
    assert [float(number) for number in first[1:]] == pytest.approx(expected, rel=1e-2)
    if width > 40:
        assert lines[3].split()[3] == "-", "no bar is known there"


def test_many_coordinates_are_told_by_their_ends() -> None:
    lines = drawn(result(1000), 80)
    assert len(lines) == 2 + 40 + 1
    assert any("960 more" in line for line in lines)
    assert lines[-1].startswith("width_999")


def test_names_are_no_markup() -> None:
    lines = drawn(result(2, names=["[red]a", "b[/]"]), 80)
    assert lines[2].startswith("[red]a")
    assert lines[3].startswith("b[/]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_all_that_is_said_is_there(stream: type[io.StringIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = stream()
    monkeypatch.setattr(terminal._state, "answers", out)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    directory = RunDirectory(tmp_path)
    directory.report.write_text("<html>")
    show_result(result(3, status="failed", message="the cluster was lost"), directory)
    text = out.getvalue()
    for part in ("width_2", "J = 17.25", "the cluster was lost", "4 evaluations", "result.json, report.html"):
        assert part in text
    show_result(result(3, task="noise", derivative=None, noise=None), directory)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_columns_that_are_left_out_are_told_of(
    stream: type[io.StringIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(n: int) -> str:
        out = stream()
        monkeypatch.setattr(terminal._state, "answers", out)
        monkeypatch.setenv("COLUMNS", "200")
        show_result(result(3, task="jacobian", derivative=[[1.0] * 3] * n), RunDirectory(tmp_path))
        return out.getvalue()

    assert "6 of 60 columns; result.json has all" in told(60)
    assert " of 6 columns" not in told(6)


def test_one_iteration_is_one() -> None:
    ended = {"task": "minimize", "value0": 2.0, "converged": True, "message": ""}
    assert "converged after 1 iteration: " in summary(result(3, **ended, x0=[0.0] * 3, iterations=1))
    assert "converged after 2 iterations: " in summary(result(3, **ended, x0=[0.0] * 3, iterations=2))
