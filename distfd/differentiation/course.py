"""Methods of several rounds, written as they go: a generator that asks for points and is sent their values."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, TypeAlias

from distfd.differentiation.method import Answer, Request, Wave

if TYPE_CHECKING:
    from collections.abc import Sequence

Course: TypeAlias = Generator[Request, Wave, Answer]


def follow(course: Course, waves: Sequence[Wave]) -> Request | Answer:
    """What a course says after these waves.

    It is run from its start each time: so it stays a pure function of the values, and nothing has to be kept.
    """
    try:
        step = next(course)
        for wave in waves:
            step = course.send(wave)
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer
    return step
