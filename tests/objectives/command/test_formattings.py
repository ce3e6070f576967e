"""One number in many formattings: what J's derivative divides by is what the program reads, or the step is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import distfd
from distfd.errors import InputError
from distfd.objectives.command.objective import CommandObjective
from distfd.objectives.command.templates import Deck, Template

if TYPE_CHECKING:
    from pathlib import Path

# What is printed with few digits is told of as well; here that is the point.
pytestmark = pytest.mark.filterwarnings("ignore:rounding hides the derivative")

FORMATTINGS = (
    "{{ a }}",
    '{{ a | fmt("14.6e") }}',
    '{{ a | fmt("12.4f") }}',
    '{{ a | fmt(".5g") }}',
    '{{ "%9.4f" | format(a) }}',
    '{{ "%.5e" % a }}',
    "{{ '{:11.3f}'.format(a) }}",
    "{{ (a | string)[:7] }}",
    "{{ (a * 10000) | int / 10000 }}",
    "{{ a | round(4) }}",
    "{{ a | round(2, 'floor') }}",
    '{{ ("%.5e" % a) | replace("e", "D") }}',
    "{{ a | fit(9) }}",
    "{{ a | nastran(8) }}",
    '{{ a | fortran("D16.8") }}',
    "{{ a | int }}",
    '{{ ("%.3f" % a).rjust(14) }}',
    "-{{ a | fmt('.5f') }}",
    "{{ -a | fmt('10.5f') }}",
    '{% set s = a | fmt("10.3f") %}{{ s }}',
    '{% macro put(v) %}{{ v | fmt("10.3f") }};{% endmacro %}{{ put(a) }}',
    '{% filter replace("e", "E") %}{{ a | fmt(".5e") }}{% endfilter %}',
    "{% for v in x %}{{ v | fmt('13.5e') }}{% endfor %}",
)
"""Of the number itself."""

FUNCTIONS = (
    "{{ 100 * a }}",
    '{{ (100 * a) | fmt("9.3f") }}',
    '{{ (100 * a) | fmt("18.12e") }}',
    "{{ (a * 3) | int / 3 }}",
    "{{ (a / 0.05) | round * 0.05 }}",
    "{{ a * 1e-3 + 1 }}",
    "{{ a * 2.54 }}",
)
"""Linear functions of it, and staircases, by their slopes: J is what stands there over that."""

SLOPES = (100.0, 100.0, 100.0, 1.0, 1.0, 1e-3, 2.54)


def read(text: str) -> float:
    """As a program reads a field: Fortran's and Nastran's exponents too."""
    text = text.strip().rstrip(";").replace("--", "")
    number = re.sub(r"(?<=[0-9.])([-+][0-9]+)$", r"e\1", text.replace("D", "e").replace("E", "e"))
    return float(number.replace("ee", "e"))


def written(text: str, a: float) -> str:
    return Deck(Template("deck.j2", text, 0o644)).render({"a": a, "x": (a,)})


def derivative(folder: Path, text: str, a: float, step: float, scheme: str) -> float:
    """Of J = 3 (what stands in the deck), evaluated as the program would, in this process; over 3."""
    (folder / "deck.j2").write_text(text)
    made = CommandObjective(
        ["cat", "deck"],
        inputs={"deck": "deck.j2"},
        outputs={"J": {"file": "stdout", "regex": "(.+)"}},
        names=("a",),
        base=folder,
    )
    offsets = [step] if scheme == "forward" else [-step, step]
    values = np.array([[a + offset for offset in offsets]])
    found = made.written(np.array([a]), np.array([0]), values)[0]
    numbers = [read(written(text, value)) * 3 for value in values[0].tolist()]
    if scheme == "forward":
        return float((numbers[0] - read(written(text, a)) * 3) / found[0] / 3)
    return float((numbers[1] - numbers[0]) / (found[1] - found[0]) / 3)


def derivative_or_none(folder: Path, text: str, a: float, step: float, scheme: str) -> float | None:
    """None where the step is refused, by a message that names coordinate and step."""
    try:
        return derivative(folder, text, a, step, scheme)
    except InputError as error:
        if not str(error).startswith("step: a (coordinate 0) is moved from"):
            raise
        return None


@pytest.mark.filterwarnings("ignore:.* stands behind the template's own sign")  # it is read here
@pytest.mark.parametrize("text", FORMATTINGS)
@settings(max_examples=15, deadline=None)
@given(
    a=st.floats(-2e3, 2e3).filter(lambda v: abs(v) > 1e-3),
    step=st.floats(1e-7, 0.5),
    scheme=st.sampled_from(["forward", "central"]),
)
def test_a_linear_j_has_its_slope_or_the_step_is_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, a: float, step: float, scheme: str
) -> None:
    slope = -1.0 if text.startswith("-") or "{{ -a" in text else 1.0
    found = derivative_or_none(tmp_path_factory.mktemp("deck"), text, a, step * max(1.0, abs(a)), scheme)
    assert found is None or found == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("text_and_slope", list(zip(FUNCTIONS, SLOPES, strict=True)), ids=FUNCTIONS)
@settings(max_examples=30, deadline=None)
@given(a=st.floats(0.1, 2e3), step=st.floats(1e-7, 0.5), scheme=st.sampled_from(["forward", "central"]))
def test_a_function_of_the_number_has_its_slope_or_the_step_is_refused(
    tmp_path_factory: pytest.TempPathFactory, text_and_slope: tuple[str, float], a: float, step: float, scheme: str
) -> None:
    found = derivative_or_none(tmp_path_factory.mktemp("deck"), text_and_slope[0], a, step * max(1.0, a), scheme)
    assert found is None or found == pytest.approx(text_and_slope[1], rel=1e-4)


@pytest.mark.parametrize("text", FORMATTINGS)
def test_none_is_always_refused(tmp_path: Path, text: str) -> None:
    """With steps that all of these hold."""
    slope = -1.0 if text.startswith("-") or "{{ -a" in text else 1.0
    assert derivative(tmp_path, text, 31.25, 4.0, "forward") == pytest.approx(slope, rel=1e-9)
    assert derivative(tmp_path, text, 1234.5678, 33.333, "central") == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "x", "value"),
    [
        ('{{ "%7.4f" | format(a) }}', 1.23456, 1.23506),
        ('{{ "%7.4f" % a }}', 1.23456, 1.23506),
        ("{{ (a | string)[:6] }}", 1.23456, 1.23506),
        ("{{ (a * 10000) | int / 10000 }}", 1.23456, 1.23506),
    ],
)
def test_a_program_gets_the_derivative_right(tmp_path: Path, text: str, x: float, value: float) -> None:
    """J = a, which these made 0.8333 or 1.0417 of: the nominal step is 0.0006 or 0.00048."""
    (tmp_path / "deck.j2").write_text(text + "\n")
    made = CommandObjective(
        ["cat", "deck"],
        inputs={"deck": "deck.j2"},
        outputs={"J": {"file": "stdout", "regex": "(.+)"}},
        names=("a",),
        base=tmp_path,
    )
    for h in (0.0006, 0.00048, 0.00052):
        found = distfd.gradient(made, [x], step=distfd.AbsoluteStep(h), executor="serial")
        np.testing.assert_allclose(found, [1.0], rtol=1e-9)


def both(folder: Path, text: str, d: int, limit: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """Offsets of d coordinates, or why they are refused, looked at one by one or in groups."""
    from distfd.objectives.command import steps_as_written

    (folder / "deck.j2").write_text(text)
    made = CommandObjective(
        ["cat", "deck"],
        inputs={"deck": "deck.j2"},
        outputs={"J": {"file": "stdout", "regex": "(.+)"}},
        base=folder,
        **options,
    )
    monkeypatch.setattr(steps_as_written, "_ONE_BY_ONE", limit)
    x = np.random.default_rng(d).uniform(0.5, 3.0, d)
    steps = x[:, None] * np.array([1.23456e-3, -1.23456e-3])
    try:
        return made.written(x, np.arange(d), x[:, None] + steps)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("d", [2, 5, 16, 37])
@pytest.mark.parametrize(
    "text",
    [
        "{% for v in x %}{{ v | fmt('10.6f') }}\n{% endfor %}",
        "{% for v in x %}{{ v }} {{ v | fmt('12.9e') }}\n{% endfor %}",
        "{% for v in x %}{{ '%.7f %.7f' % (v, 1) }}\n{% endfor %}",
        "{{ x | join(' ') }}",
        "{% for v in x %}{{ (v * 100) }} {{ -v }}\n{% endfor %}{{ x | sum }} {{ x[0] * x[1] }}",
        "{{ x[1] | fmt('.5f') }}",
        "{{ x[0] }} {{ x[1] | fmt('.5f') }}{% for v in x %} {{ v }}{% endfor %}",
        "{% for v in x %}{{ v | fmt('.2f') }}\n{% endfor %}",
        "{% for v in x %}{{ v | fmt('8.6f') }}{{ loop.index }}\n{% endfor %}",
        "{% for v in x %}{{ 'big' if v > 1.5 else 'small' }} {{ v | fmt('9.6f') }}\n{% endfor %}",
        "{% for v in x %}{{ (v * 100) | fmt('.3f') }}\n{% endfor %}",
    ],
)
def test_many_together_are_told_as_one_by_one(
    tmp_path: Path, text: str, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = both(tmp_path, text, d, 10**9, monkeypatch)
    together = both(tmp_path, text, d, 0, monkeypatch)
    if isinstance(alone, str):
        assert isinstance(together, str)
        assert alone.split(":")[0] == together.split(":")[0] == "step"
    else:
        np.testing.assert_array_equal(together, alone)


def test_in_a_crowd_the_one_that_is_swallowed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "{% for v in x %}{% if loop.index0 == 23 %}{{ v | fmt('.1f') }}{% else %}{{ v }}{% endif %}\n{% endfor %}"
    told = both(tmp_path, text, 40, 0, monkeypatch)
    assert re.search(r"x\[23\] \(coordinate 23\) .*deck does not change: fmt\('.1f'\) swallows it", told)


def test_numbers_of_many_parameters_at_once_are_to_be_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = both(tmp_path, "{{ x | sum | fmt('.6f') }}", 40, 0, monkeypatch)
    assert re.search(r"deck\.j2:1, .*depends on too many parameters.*write it without a format", told)
