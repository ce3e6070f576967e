"""Default steps that are larger than the parameter itself are told before J is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from distfd.config.load import load_config
from distfd.jobs.build import steps_beyond_x
from distfd.jobs.preview import preview

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """objective: {{python: "math:fsum"}}
parameters:
  - {{name: cl, value: 6.0e-9{more}}}
  - {{name: r, value: 100.0}}
  - {{name: offset, value: 0.0}}
derivative: {{scheme: {scheme}{step}}}
"""


def note(folder: Path, scheme: str = "central", more: str = "", step: str = "") -> str:
    (folder / "c.yaml").write_text(TEXT.format(scheme=scheme, more=more, step=step))
    loaded = load_config(folder / "c.yaml")
    return steps_beyond_x(loaded.config, loaded.config.problem())


def test_the_parameter_and_a_line_to_paste(tmp_path: Path) -> None:
    text = note(tmp_path)
    assert text.startswith("the default step of cl is 6.1e-06, and cl itself is 6e-09: ")
    assert text.endswith("{name: cl, value: 6e-09, scale: 6.0e-09}")
    assert text in preview(load_config(tmp_path / "c.yaml"), no_import=True)
    assert note(tmp_path, "forward")


@pytest.mark.parametrize(
    "given",
    [
        {"more": ", scale: 6.0e-9"},
        {"more": ", step: 1.0e-3"},
        {"more": ", fixed: true"},
        {"step": ", step: 1.0e-3"},
        {"step": ", step: auto"},
        {"scheme": "complex-step"},
    ],
)
def test_nothing_where_a_step_or_scale_is_given(tmp_path: Path, given: dict[str, str]) -> None:
    assert note(tmp_path, **given) == ""
