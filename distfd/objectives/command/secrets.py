"""Values of the program's environment kept out of what is told: messages, logs and stores name the variable instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHORTEST_SHIPPED, _SHORTEST_SET = 4, 8
"""Characters. Shorter values are words like 1 or true, which would be replaced where they mean something else."""


def secrets(shipped: Mapping[str, str], env: Mapping[str, str | float | None]) -> dict[str, str]:
    """What to hide: values by the ``$NAME`` that stands for them, the longest first.

    Parameters
    ----------
    shipped, env : mapping
        Those of ``pass_env``, and those that the configuration sets.
    """
    found = {value: f"${name}" for name, value in env.items() if isinstance(value, str) and len(value) >= _SHORTEST_SET}
    found.update({value: f"${name}" for name, value in shipped.items() if len(value) >= _SHORTEST_SHIPPED})
    # One value may be the beginning of another.
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))


def hidden(text: str, values: Mapping[str, str]) -> str:
    """The text with each of the values replaced by its name."""
    for value, name in values.items():
        text = text.replace(value, name)
    return text
