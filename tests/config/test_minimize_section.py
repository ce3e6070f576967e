"""The section ``minimize``: methods by task, constraints, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from distfd.config.load import load_config
from distfd.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = "objective: {python: 'm:f'}\nx0: [1.0, 2.0]\n"
PROGRAM = "objective: {command: {argv: [sh], outputs: {a: {file: stdout}, b: {file: stdout}}, value: a}}\nx0: [1.0]\n"

READS = "objective: {command: {argv: [sh], outputs: {a: {file: stdout, json: /a}}}}\nx0: [1.0]\n"


def load(folder: Path, text: str) -> object:
    file = folder / "job.yaml"
    file.write_text(text)
    return load_config(file).config.minimize


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("task: minimize\n", "L-BFGS-B"),
        ("task: least_squares\n", "trf"),
        ("task: least_squares\nminimize: {max_wall_time: 8h}\n", "trf"),
        ("task: least_squares\nminimize: {method: lm}\n", "lm"),
        ("task: minimize\nminimize: {method: trust-exact}\n", "trust-exact"),
    ],
)
def test_methods(tmp_path: Path, text: str, method: str) -> None:
    assert load(tmp_path, PYTHON + text).method == method  # type: ignore[attr-defined]  # a Minimize, imported late


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (PYTHON + "task: minimize\nminimize: {method: trf}\n", "4:20: minimize.method: belongs to task least_squares"),
        (PYTHON + "task: least_squares\nminimize: {method: BFGS}\n", "minimize.method: must be one of trf, dogbox, lm"),
        (PYTHON + "task: minimize\nminimize: {constraints: [{lower: 0}]}\n", "L-BFGS-B"),
        (
            PYTHON + "task: minimize\nminimize: {method: SLSQP, constraints: [{value: a, lower: 0}]}\n",
            "minimize.constraints.0.value: is for programs",
        ),
        (
            PYTHON + "task: minimize\nminimize: {method: SLSQP, constraints: [{}]}\n",
            "needs lower, upper or both",
        ),
        (
            PYTHON + "task: minimize\nminimize: {method: SLSQP, constraints: [{lower: 2, upper: 1}]}\n",
            "is above upper, which is 1.0",
        ),
        (PYTHON + "task: minimize\nminimize: {sigma: 0.1}\n", "minimize.sigma: is for task least_squares"),
        (PYTHON + "task: minimize\nminimize: {prior: {x0: {value: 1, sigma: 1}}}\n", "prior: is for task least_squ"),
        (PYTHON + "task: least_squares\nminimize: {sigma: 0}\n", "minimize.sigma: must be"),
        (PYTHON + "task: least_squares\nminimize: {sigma: wide}\n", "minimize.sigma"),
        (
            PYTHON + "task: least_squares\nminimize: {prior: {x2: {value: 1, sigma: 1}}}\n",
            "minimize.prior.x2: is no parameter",
        ),
        (PYTHON + "task: least_squares\nminimize: {prior: {x0: {value: 1}}}\n", "minimize.prior.x0.sigma"),
        (READS + "task: least_squares\nminimize: {sigma: 1}\n", "minimize.sigma: belongs beside a program's data"),
        (
            PYTHON + "bounds: {lower: 0}\ntask: least_squares\nminimize: {method: lm}\n",
            "does not keep to bounds, and there are some; use trf or dogbox",
        ),
    ],
)
def test_mistakes(tmp_path: Path, text: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert mistake in str(caught.value) or (mistake == "L-BFGS-B" and "takes no constraints" in str(caught.value))
