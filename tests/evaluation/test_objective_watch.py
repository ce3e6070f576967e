"""Looks at what J sees of its process: they find what matters, and do not read all of it each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distfd.evaluation.objective_watch import ObjectiveWatch
from distfd.objectives.adapt import as_objective
from distfd.workers import surroundings

if TYPE_CHECKING:
    import pytest


def fun(x: Any) -> float:
    return float(x.sum())


def test_the_environment_is_read_once_after_a_change_that_is_of_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each evaluation in this process sets numbers of threads, and every look after the first read all variables."""
    watch = ObjectiveWatch(as_objective(fun))
    read: list[Any] = []
    real = surroundings.changed_environ

    def counted(*args: Any) -> Any:
        read.append(args)
        return real(*args)

    monkeypatch.setattr(surroundings, "changed_environ", counted)
    for threads in ("3", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        for _ in range(4):
            assert not watch.changed
            assert not watch.restless
    assert len(read) == 2
    monkeypatch.setenv("MY_MODEL", "coarse")
    assert watch.changed
    assert watch.restless
    watch.note()
    assert not watch.changed
    monkeypatch.delenv("MY_MODEL")
    assert watch.changed
