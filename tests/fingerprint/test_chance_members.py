"""Members that are others in each process: data that were drawn by chance, and what belongs to a process."""

from __future__ import annotations

import os
import random
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from distfd.fingerprint.chance_members import drawn_by_chance, outline

if TYPE_CHECKING:
    from collections.abc import Callable


class Net:
    def __init__(self, noise: Any = None) -> None:
        self.kind = "tanh"
        self.weights = np.random.default_rng().normal(size=3)
        self.noise = noise


class Process:
    def __init__(self) -> None:
        self.started = random.random()
        self.folder = tempfile.mktemp()


def _object_array() -> Any:
    return np.array([random.random(), "a"], dtype=object)


DATA: list[Callable[[], Any]] = [
    random.random,
    lambda: random.randrange(1_000_000),
    lambda: random.getrandbits(128),
    lambda: np.float64(random.random()),
    lambda: np.random.default_rng().normal(size=(2, 3)),
    lambda: [random.random(), "name"],
    lambda: {"a": (random.random(), None), "b": {"c": [np.random.default_rng().random(2)]}},
    lambda: {1: random.random()},
    _object_array,
    Net,
    lambda: [Net(), Net()],
    lambda: Net(np.random.default_rng()),
]
OWN: list[Callable[[], Any]] = [
    os.getpid,
    lambda: [os.getpid(), 1.0],
    lambda: id(object()),
    tempfile.mktemp,
    lambda: {"at": tempfile.mktemp(), "seed": random.random()},
    np.random.default_rng,
    np.random.RandomState,
    random.Random,
    lambda: [random.Random()],
    threading.Lock,
    Process,
]


@pytest.mark.parametrize("number", range(len(DATA)))
def test_data_that_were_drawn_by_chance(number: int) -> None:
    here, one, other = (outline(DATA[number]()) for _ in range(3))
    assert drawn_by_chance(here, [one, other])
    assert not drawn_by_chance(here, [one, None])
    assert not drawn_by_chance(here, [here, here])


@pytest.mark.parametrize("number", range(len(OWN)))
def test_what_belongs_to_a_process(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for pid in (11, 22, 33):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        found.append(outline(OWN[number]()))
    assert not drawn_by_chance(found[0], found[1:])
