"""Steps as the program reads them: computed from the text of its input files, refused where a format swallows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import distfd
from distfd.errors import InputError
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from pathlib import Path

OUTPUTS = {"J": {"file": "stdout", "regex": "(.+)"}}


def objective(
    folder: Path, template: str, names: tuple[str, ...] | None = ("a", "b"), **options: Any
) -> CommandObjective:
    (folder / "deck.j2").write_text(template)
    options = {"inputs": {"deck": "deck.j2"}, "outputs": OUTPUTS, "names": names, "base": folder, **options}
    return CommandObjective(options.pop("argv", ["cat", "deck"]), **options)


def offsets(objective: CommandObjective, x: list[float], k: int, *values: float) -> Any:
    return objective.written(np.array(x), np.array([k]), np.array([values]))[0]


def test_in_full_it_is_what_floating_point_holds(tmp_path: Path) -> None:
    made = objective(tmp_path, "{{ a }} {{ 2 * b }}")
    x = [1 / 3, 0.7]
    for k in range(2):
        assert offsets(made, x, k, x[k] + 1e-9) == (x[k] + 1e-9) - x[k]


@pytest.mark.parametrize(
    "text",
    [
        '{{ a | fmt("8.3f") }}',
        '{{ x[0] | fmt("8.3f") }}',
        '{% for v in x %}{{ v | fmt(".3f") }} {% endfor %}',
        "{{ '{:.3f}'.format(a) }}",
        "{{ a | round(3) }}",
    ],
)
def test_a_format_rounds_the_step(tmp_path: Path, text: str) -> None:
    found = offsets(objective(tmp_path, text), [1.2344, 5.0], 0, 1.2344 + 0.0017, 1.2344 - 0.0011)
    np.testing.assert_allclose(found, [1.236 - 1.234, 1.233 - 1.234], rtol=1e-9)


@given(x=st.floats(-1e3, 1e3).filter(lambda v: abs(v) > 1e-3), step=st.floats(1e-2, 1.0), digits=st.integers(4, 9))
def test_what_is_read_back_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, x: float, step: float, digits: int
) -> None:
    spec = f"{digits + 8}.{digits}e"
    made = objective(tmp_path_factory.mktemp("deck"), '{{ a | fmt("' + spec + '") }}')
    value = x * (1 + step)
    expected = float(format(value, spec)) - float(format(x, spec))
    assert offsets(made, [x, 0.0], 0, value) == expected


def test_an_expression_of_parameters_is_followed_too(tmp_path: Path) -> None:
    made = objective(tmp_path, '{{ (2 * a + b) | fmt(".2f") }}')
    # 2 a + b moves from 3.00 to 3.0132, and is written as 3.01: 0.01 of the 0.0132 arrive.
    np.testing.assert_allclose(offsets(made, [1.0, 1.0], 0, 1.0066), [0.0066 * 0.01 / 0.0132], rtol=1e-9)
    np.testing.assert_allclose(offsets(made, [1.0, 1.0], 1, 1.0132), [0.01], rtol=1e-9)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ('{{ a | fmt("8.3f") }}', r'a \(coordinate 0\).*deck does not change: fmt\("8.3f"\) swallows it'),
        ('{{ x[0] | fmt("8.3f") }}', r"a \(coordinate 0\)"),
        ('{{ (a + b) | fmt("8.3f") }}', r'fmt\("8.3f"\) swallows'),
        ("{{ '%.3f' % a }}", "what it does with it swallows"),
        ("{{ a | int }}", "swallows"),
        ("{{ a | round(3) }}", r"round\(3\) swallows"),
        ('{{ a }} {{ a | fmt("8.3f") }}', "though not everywhere"),
    ],
)
def test_a_swallowed_step_is_an_error(tmp_path: Path, text: str, pattern: str) -> None:
    made = objective(tmp_path, text)
    with pytest.raises(InputError, match=pattern):
        offsets(made, [1.0, 2.0], 0, 1.0 + 1e-8)


def test_two_formats_that_disagree_are_an_error(tmp_path: Path) -> None:
    made = objective(tmp_path, '{{ a }} {{ a | fmt(".3f") }}')
    with pytest.raises(InputError, match=r"becomes 0.001 in deck \(fmt\(\".3f\"\)\) and 0.0014.* in deck \(in full\)"):
        offsets(made, [1.0, 2.0], 0, 1.0014)
    assert offsets(made, [1.0, 2.0], 0, 1.001) == pytest.approx(0.001, rel=1e-2)


def test_what_is_not_written_is_as_it_is(tmp_path: Path) -> None:
    """It may be read from parameters.json, which has all digits."""
    made = objective(tmp_path, '{{ a | fmt(".3f") }}')
    assert offsets(made, [1.0, 2.0], 1, 2.0 + 1e-8) == (2.0 + 1e-8) - 2.0


def test_complex_steps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no complex numbers"):
        objective(tmp_path, "{{ a }}").written(np.ones(2), np.array([0]), np.array([[1 + 1e-20j]]))


def test_a_list_without_names(tmp_path: Path) -> None:
    made = objective(tmp_path, "{{ x[0] | int }}{% if x[1] > 0 %}on{% endif %}{{ x[2] }}", names=None)
    x = [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(InputError, match=r"x\[0\] \(coordinate 0\) .* swallows"):
        offsets(made, x, 0, 1.5)
    for k in (1, 2, 3):  # the last is for parameters.json, which has all digits
        assert offsets(made, x, k, x[k] + 0.25) == 0.25


def test_the_gradient_of_a_coarse_deck_is_right(tmp_path: Path) -> None:
    """J = a^2 of a number with three digits: by the nominal step it would be 2.86."""
    argv = ["awk", '{printf "%.17g\\n", $1 * $1}', "deck"]
    made = objective(tmp_path, '{{ a | fmt(".3f") }}', ("a",), argv=argv)
    with distfd.Evaluator(made, executor="serial", scheme="central", step=distfd.AbsoluteStep(0.0014)) as ev:
        found = ev.differentiate([2.0])
    np.testing.assert_allclose(found.derivative, [4.0], rtol=1e-9)
    np.testing.assert_allclose(found.step, [0.001], rtol=1e-9)
    with (
        distfd.Evaluator(made, executor="serial", names=["a"]) as ev,
        pytest.raises(InputError, match=r"a \(coordinate 0\) .*swallows"),
    ):
        ev.gradient([2.0])


def test_many_parameters_in_full_cost_one_look(tmp_path: Path) -> None:
    d = 2000
    made = (
        CommandObjective(["cat", "deck"], inputs={"deck": "deck.j2"}, outputs=OUTPUTS, base=tmp_path)
        if ((tmp_path / "deck.j2").write_text("{% for v in x %}{{ v }}\n{% endfor %}{{ x | sum }}"))
        else None
    )
    assert made is not None
    x = np.linspace(1, 2, d)
    np.testing.assert_array_equal(made.written(x, np.arange(d), x[:, None] + 1e-6), (x[:, None] + 1e-6) - x[:, None])


@pytest.mark.parametrize("step", ["auto", distfd.NoiseStep("shi"), distfd.NoiseStep("gill")])
def test_steps_from_noise_divide_by_what_was_written(tmp_path: Path, step: Any) -> None:
    argv = ["awk", '{printf "%.17g\\n", $1 * $1 + $1}', "deck"]
    made = objective(tmp_path, '{{ a | fmt(".4f") }}', ("a",), argv=argv)
    found = distfd.differentiate(made, [2.0], step=step, scale=[0.7123456], executor="serial")  # steps not of 4 digits
    assert found.error is not None
    assert np.abs(found.derivative[0] - 5.0) <= found.error[0]
    # Of a parabola a central difference by the true steps is exact, whatever the format makes of them.
    if step == "auto":
        np.testing.assert_allclose(found.derivative, [5.0], rtol=1e-9)
