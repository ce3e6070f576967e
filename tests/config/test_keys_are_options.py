"""YAML's keys are Python's options: the same names, and the same defaults."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

import pytest

import distfd
from distfd.config import sections
from distfd.evaluation.options import DEFAULT_RETRIES
from distfd.executors.ray.resources import Resources
from distfd.optimization.limits import Limits
from distfd.workers.recycle import Recycle

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHON: dict[type[Any], tuple[Callable[..., Any], ...]] = {
    sections.Derivative: (distfd.Evaluator,),
    sections.Evaluation: (distfd.Evaluator,),
    sections.Recycle: (Recycle,),
    sections.Resources: (Resources,),
    sections.Cluster: (distfd.RayExecutor,),
    sections.Minimize: (distfd.minimize, distfd.least_squares, Limits),
}
PROGRAMS_ALONE = {"retry_if", "retry_delay"}
"""Options of evaluation: that a program has and a Python function has not: CommandObjective takes them."""
EMPTY: tuple[Any, ...] = (None, {}, ())
"""Nothing given, as YAML and as Python have it."""


def _defaults(taker: Callable[..., Any]) -> dict[str, Any]:
    if dataclasses.is_dataclass(taker):
        return vars(taker())
    return {name: given.default for name, given in inspect.signature(taker).parameters.items()}


KEYS = [(section, name) for section in PYTHON for name in section.model_fields]


@pytest.mark.parametrize(("section", "name"), KEYS, ids=[f"{section.__name__}.{name}" for section, name in KEYS])
def test_a_key_is_an_option_of_the_same_default(section: type[Any], name: str) -> None:
    takers = [defaults for defaults in map(_defaults, PYTHON[section]) if name in defaults]
    if name in PROGRAMS_ALONE:
        assert not takers
        return
    assert takers
    given = section.model_fields[name].get_default(call_default_factory=True)
    for defaults in takers:
        if name == "retries":
            assert given.model_dump() == DEFAULT_RETRIES
        elif name == "recycle":
            assert not any(given.model_dump().values())
            assert defaults[name] is None
        elif given in EMPTY:
            assert defaults[name] in EMPTY
        elif name != "method":  # of the task
            assert defaults[name] == given
