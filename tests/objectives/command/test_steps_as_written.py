"""Steps as the program reads them: computed from the text of its input files, refused where a format swallows them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import distfd
from distfd.errors import InputError
from distfd.objectives.command import steps_as_written
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


def test_a_function_of_parameters_is_given_the_nominal_step_where_six_digits_of_its_change_are_written(
    tmp_path: Path,
) -> None:
    made = objective(tmp_path, '{{ (2 * a + b) | fmt(".8f") }}')
    assert offsets(made, [1.0, 1.0], 0, 1.0066) == 1.0066 - 1.0
    for form, digits in ((".2f", "1 digit"), (".6f", "5 digits")):
        coarse = objective(tmp_path, f'{{{{ (2 * a + b) | fmt("{form}") }}}}')
        with pytest.raises(InputError, match=rf"deck\.j2:1, .*which shows {digits} of the change.*write it in full"):
            offsets(coarse, [1.0, 1.0], 0, 1.0066)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ('{{ a | fmt("8.3f") }}', r'a \(coordinate 0\).*deck does not change: fmt\("8.3f"\) swallows it'),
        ('{{ x[0] | fmt("8.3f") }}', r"a \(coordinate 0\)"),
        ('{{ (a + b) | fmt("8.3f") }}', r'fmt\("8.3f"\) swallows'),
        ("{{ '%.3f' % a }}", "what is computed there swallows"),
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
    with pytest.raises(
        InputError, match=r"becomes 0.001 in deck \(fmt\(\".3f\"\)\) and 0.0014.* in deck \(in full\): write"
    ):
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


# ---- widths at every point


@pytest.mark.parametrize(
    ("text", "x", "value", "pattern"),
    [
        (
            'title\nGRID           1        {{ a | fmt("8.6f") }}     2.5     1.0',
            9.9999,
            10.0009,
            r"deck\.j2:2, .*fmt.*: '10.000900' differs in width from '9.999900'.*9 wide, or use 8.5 with fewer digits",
        ),
        ('{{ a | fmt("6.4f") }} 1', 0.0, -0.01, "'-0.0100' differs in width from '0.0000'"),
        ('{{ a | fmt("6.4f") }}', -0.01, 0.01, "'0.0100' differs in width from '-0.0100'"),
        ('{{ "%6.4f" | format(a) }} 1', 0.0, -0.01, "differs in width"),
        ('{{ "%6.4f" % a }} 1', 0.0, -0.01, "differs in width"),
        ("{{ '{:6.4f}'.format(a) }} 1", 0.0, -0.01, "differs in width"),
        ('{{ ("%.4f" % a).rjust(6) }} 1', 0.0, -0.01, "differs in width"),
        ('{% macro f(v) %}{{ v | fmt("6.4f") }},{% endmacro %}{{ f(a) }}{{ f(b) }}', 0.0, -0.01, "differs in width"),
        ('{{ a | fmt("6.4f") ~ "," }} 1', 0.0, -0.01, "differs in width"),
        ('{{ a | fmt(".5f") }}{{ b | fmt("8.5f") }}', 9.0, 9.5, None),
        ('{{ b | fmt("8.5f") }}{{ a | fmt("8.5f") }}', 9.0, 10.5, "'10.50000' would touch ' 5.00000' beside it"),
        ('5.0{{ a | fmt("8.5f") }}', 9.0, 10.5, "'10.50000' would touch the number beside it"),
        ('{{ a | fmt("<8.4f") }}{{ b }}', 9.0, 100.5, "'100.5000' would touch '5' beside it"),
        ("{{ a }}{{ b }}", 9.0, 10.0, "'9' touches '5' beside it"),
        ('{{ b | fmt("<8.5f") }}{{ a }}', 9.0, 10.0, None),
        ('{{ a | fmt("9.5f") }}{{ b | fmt("9.5f") }}', 9.0, 1.5, None),
        ('{{ a | fmt("9.3f") }}50.000', 1234.5, 1234.75, None),
        ('{{ a | fmt("9.3f") }}50.000', 12345.5, 12345.75, None),  # it has its columns, before and after
        ("{{ a }},{{ b }}", 9.0, 10.0, None),
        ("-{{ a }}", 0.5, -0.25, "a sign behind the template's own: --0.25, which many programs do not read"),
        ('1+{{ a | fmt(".4f") }}', -0.5, 0.25, "a sign behind the template's own: \\+-0.5000"),
        ("1e-{{ a }}", 1.0, -1.0, "a sign behind the template's own: --1"),
        ("-{{ a }} 1 - {{ a }}", 0.5, 0.25, None),
        ("3 - {{ a }}", 0.5, -0.25, None),
        ('{{ a | fmt(".4f") }} 1', 9.0, 10.0, None),
    ],
)
def test_fields_keep_their_width_and_their_distance(
    tmp_path: Path, text: str, x: float, value: float, pattern: str | None
) -> None:
    made = objective(tmp_path, text)
    if pattern is None:
        assert offsets(made, [x, 5.0], 0, value) == pytest.approx(value - x, rel=1e-9)
    else:
        with pytest.raises(InputError, match=rf"^step: a \(coordinate 0\) is moved from {x!r} by .*{pattern}"):
            offsets(made, [x, 5.0], 0, value)


def test_no_program_runs_where_a_field_outgrows_its_columns(tmp_path: Path) -> None:
    """The issue's case: 1.83e8 was found for 7.33e5, as the fields behind had moved."""
    text = 'GRID           1        {{ a | fmt("8.6f") }}     2.5     1.0\n'
    argv = ["sh", "-c", "touch ../ran; cut -c 33-40 deck"]
    made = objective(tmp_path, text, ("a",), argv=argv, work=tmp_path / "work")
    with pytest.raises(InputError, match="differs in width"):
        distfd.gradient(made, [9.9999], step=distfd.AbsoluteStep(1e-3), executor="serial")
    assert not (tmp_path / "work" / "ran").exists()


# ---- places that have one step differently


@pytest.mark.parametrize(
    "text",
    [
        '{{ a | fmt("7.4f") }} {{ a*100 }}',
        '{{ a | fmt("7.4f") }} {{ a**2 }}',
        '{{ a | fmt("7.4f") }} {{ a }}',
        '{{ "%7.4f" % a }}\n{{ "%8.5f" % a }}',
        "{{ (a | string)[:6] }} {{ a }}",
        '{{ (a * 1e4) | int / 1e4 }} {{ a | fmt("12.8f") }}',
        '{{ "%7.4f %g" % (a, a * 100) }}',
        "{{ a | fmt('8.4e') }} {{ a | fmt('8.4f') }} {{ a }}",
    ],
)
def test_places_with_different_digits_are_an_error(tmp_path: Path, text: str) -> None:
    made = objective(tmp_path, text)
    with pytest.raises(InputError, match=r"deck \(|known only if six digits"):
        offsets(made, [0.12345678, 5.0], 0, 0.12345678 + 1.44e-4)


def test_one_place_in_a_deck_and_one_in_an_argument(tmp_path: Path) -> None:
    made = objective(tmp_path, '{{ a | fmt("7.4f") }}', argv=["echo", "{{ a }}"])
    with pytest.raises(InputError, match=r"becomes 0.0001 in deck \(fmt.*and 0.000144 in argv\[1\] \(in full\)"):
        offsets(made, [0.12345678, 5.0], 0, 0.12345678 + 1.44e-4)


# ---- what is built differently


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("{% if a > 1 %}on {% endif %}{{ a }}", "at 1.1 deck is built differently: a condition"),
        ("{{ a }}{% for k in range((a * 10) | int) %} {{ k }}{% endfor %}", "at 1.1 deck is built differently"),
        ("{{ 'on' if a > 1 else 'off' }}", "'off' becomes 'on': more than a number changes"),
        ("{{ a }}{% if a > 1 %}{{ nothing }}{% endif %}", "with 1.1 its inputs cannot be written: .*'nothing'"),
        ("{% if a > 0 %}on{% endif %}", "deck does not change: what is computed there swallows it"),
        ("{{ (a * 3) | int / 3 }} {{ a }}", "swallows it|changes in jumps"),
        ("{{ (a * 300) | int / 3 }}", "changes in jumps"),
    ],
)
def test_a_deck_that_is_built_otherwise_at_x_plus_h(tmp_path: Path, text: str, pattern: str) -> None:
    with pytest.raises(InputError, match=rf"^step: a \(coordinate 0\) is moved from 1.0 by 0.1.*({pattern})"):
        offsets(objective(tmp_path, text), [1.0, 5.0], 0, 1.1)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("{% if a > 1 %}{{ a }}{% else %}{{ 1.1 * a }}{% endif %}", "at 1.1 deck is built differently: a condition"),
        ("{{ a if a > 1 else 2 * a }}", "changes in jumps.*take rounding, int and conditions out of the formula"),
        ("{{ 2 * a if a > 1 else a }}", "changes in jumps"),
        ("{{ 3 * a if a > 1 else a * a }}", "changes in jumps"),
        ("{{ [a, 1.0] | min }}", "deck does not change|shows 1 digit"),
        ("{{ a }} {{ a > 1 }}", "'False' becomes 'True': more than"),
        ("{{ a }} {{ a < 1 }}", "'False' becomes 'True': more than"),
        ("{{ [a, 1.0] | max }}", "deck does not change: what is computed there swallows it"),
    ],
)
@pytest.mark.parametrize("values", [(0.9, 1.1), (1.1, 0.9), (0.95, 1.1)])
def test_a_deck_that_is_built_otherwise_on_one_side_of_x(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, pattern: str, values: tuple[float, float]
) -> None:
    """The other side alone looks as it should: -6287 was found for 12, without a word."""
    for most in (steps_as_written._ONE_BY_ONE, 0):
        monkeypatch.setattr(steps_as_written, "_ONE_BY_ONE", most)
        made = objective(tmp_path, f"{text} {{{{ b }}}}")
        with pytest.raises(InputError, match=rf"^step: .*({pattern}|depends on too many parameters)"):
            made.written(np.array([1.0, 5.0]), np.array([0, 1]), np.array([values, (4.5, 5.5)]))


def test_a_smooth_formula_is_followed_on_both_sides(tmp_path: Path) -> None:
    made = objective(tmp_path, "{{ 2.0 ** a }} {{ b * b }} {% if a > 1 %}{{ a }}{% else %}{{ a }}{% endif %}")
    np.testing.assert_array_equal(offsets(made, [1.0, 5.0], 0, 0.75, 1.5), [-0.25, 0.5])
    np.testing.assert_array_equal(offsets(made, [1.0, 1.0], 0, 0.75, 1.5), [-0.25, 0.5])


def test_a_condition_that_holds_throughout_is_no_matter(tmp_path: Path) -> None:
    made = objective(tmp_path, "{% if a > 0.5 and b > 0 %}{{ a | fmt('9.4f') }} {{ b }}{% endif %}")
    assert offsets(made, [1.00004, 5.0], 0, 1.1) == pytest.approx(0.1, rel=1e-9)
    assert offsets(made, [1.00004, 5.0], 1, 5.1) == 5.1 - 5.0


def test_json_and_yaml_are_read_as_decks_are(tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text('{"w": 1.0, "v": 2.0}')
    inputs = {"case.json": {"edit": "case.json", "set": {"/w": 'a | fmt(".3f")', "/v": "100 * b"}}}
    made = objective(tmp_path, "", inputs=inputs)
    assert offsets(made, [1.2344, 5.0], 0, 1.2361) == pytest.approx(0.002, rel=1e-9)
    assert offsets(made, [1.2344, 5.0], 1, 5.001) == 5.001 - 5.0
    with pytest.raises(InputError, match=r"case\.json does not change: fmt\(\".3f\"\) swallows it"):
        offsets(made, [1.2344, 5.0], 0, 1.23441)


# ---- parameters in value


def test_a_parameter_in_value_is_there_in_full(tmp_path: Path) -> None:
    """A penalty on mass, which the program does not know of; its own deck is written in full, or the two disagree."""
    options: dict[str, Any] = {"argv": ["cat", "deck"], "value": "J + 10 * a ** 2"}
    found = distfd.gradient(
        objective(tmp_path, "{{ a }}", ("a",), **options), [3.0], executor="serial", scheme="central"
    )
    np.testing.assert_allclose(found, [61.0], rtol=1e-9)
    coarse = objective(tmp_path, '{{ a | fmt(".3f") }}', ("a", "b"), **options)
    with pytest.raises(InputError, match=r"becomes 0.001 in deck \(fmt.*and 0.0014 in value \(in full\)"):
        offsets(coarse, [1.0, 2.0], 0, 1.0014)
    assert offsets(coarse, [1.0, 2.0], 0, 1.002) == pytest.approx(0.002, rel=1e-9)


def test_an_output_goes_before_a_parameter_of_its_name(tmp_path: Path) -> None:
    options: dict[str, Any] = {"outputs": {"a": {"file": "stdout", "regex": "(.+)"}}, "value": "2 * a"}
    made = objective(tmp_path, "{{ 5 * a }}", ("a",), **options)
    assert made.in_value == frozenset()
    assert made.make().evaluate(np.array([3.0])) == 30.0


def test_jumps_are_seen_where_two_parameters_together_build_another_text(tmp_path: Path) -> None:
    """Parameters that change different numbers are looked at together, unless a condition depends on both."""
    both = "{% if a > 1.000001 and b > 2.000001 %}\nmore{% endif %}"
    jumps = "{{ (a * 300) | int / 3 }} {{ 100 * b }}"
    for template in (jumps, jumps + both):
        made = objective(tmp_path, template)
        with pytest.raises(InputError, match=r"a \(coordinate 0\).*changes in jumps"):
            made.written(np.array([1.0, 2.0]), np.array([0, 1]), np.array([[1.5], [2.5]]))
    smooth = objective(tmp_path, "{{ 100 * a }} {{ 100 * b }}" + both)
    found = smooth.written(np.array([1.0, 2.0]), np.array([0, 1]), np.array([[1.5], [2.5]]))
    np.testing.assert_array_equal(found, [[0.5], [0.5]])


@pytest.mark.parametrize("text", ["-{{ a }}", '+{{ a | fmt(".4f") }}', "x = 1-{{ a }}"])
def test_a_sign_behind_the_templates_own_at_every_point_is_told(tmp_path: Path, text: str) -> None:
    """The program takes ``--2`` for 0 at all points alike: nothing but 0 derivatives was said."""
    made = objective(tmp_path, text)
    with pytest.warns(UserWarning, match=r"deck\.j2:1, \{\{ a.*behind the template's own sign: [-+]-2.*\{\{ -a \}\}"):
        offsets(made, [-2.0, 5.0], 0, -1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        offsets(made, [-2.0, 5.0], 0, -1.25)  # once is enough
        offsets(objective(tmp_path, text), [2.0, 5.0], 0, 1.25)


@pytest.mark.parametrize("text", ["{{ a }}/4", "x = 1 / {{ a }}", "{{ a }}/{{ b }}", "2*({{ a }} / 4)"])
def test_a_quotient_of_whole_numbers_at_x_alone_is_told(tmp_path: Path, text: str) -> None:
    """In gnuplot 3/4 is 0 and 3.0001/4 is not: 2500.25 was found for 0.25 in silence."""
    with pytest.warns(UserWarning, match=r"deck\.j2:1, \{\{ a \}\}: [13] ?/ ?[345] is a quotient of whole numbers"):
        offsets(objective(tmp_path, text), [3.0, 5.0], 0, 3.5)


@pytest.mark.parametrize(
    "text",
    [
        '{{ a | fmt("") }}/4',
        "{{ a }}/4.0",
        "{{ a }}/b",
        "out/{{ a }}/4/",
        "1/{{ a }}/2026",
        "&run a = {{ a }} /",
        "{{ a }}/4e3",
        "{{ a + 0.5 }}/4",
    ],
)
def test_other_quotients_are_not(tmp_path: Path, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        offsets(objective(tmp_path, text), [3.0, 5.0], 0, 3.5)


@pytest.mark.parametrize("mark", ['{{ a | string | replace(".", ",") }}', "{{ (a | string).replace('.', ',') }}"])
def test_decimal_commas_are_read(tmp_path: Path, mark: str) -> None:
    """They were refused as two numbers, the second of which moves in jumps."""
    made = objective(tmp_path, f"{mark}; {{{{ b }}}}")
    np.testing.assert_array_equal(offsets(made, [3.0, 5.0], 0, 2.5, 3.75), [-0.5, 0.75])
    made = objective(tmp_path, '{{ a | fmt(".3f") | replace(".", ",") }}')
    np.testing.assert_allclose(offsets(made, [1.2344, 5.0], 0, 1.2361), [0.002], rtol=1e-9)


@pytest.mark.parametrize("text", ["GRID         2.5{{ a }}\n", "{{ a }}3.5\n", "1.0{{ 0 - a }}\n", "{{ a }}.5\n"])
def test_a_number_of_the_template_right_beside_a_mark_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"it stands right beside a number of the template, \S+, and .*fit\(8\)"):
        offsets(objective(tmp_path, text), [2.0, 1.0], 0, 2.125)


@pytest.mark.parametrize("text", ["1{{ a }}\n", "{{ a }}e3\n", "x{{ a }}mm\n", '2.5{{ a | fmt("8.3f") }}3.5\n'])
def test_digits_that_make_one_number_with_a_mark_are_not(tmp_path: Path, text: str) -> None:
    assert offsets(objective(tmp_path, text), [2.0, 1.0], 0, 2.125) == 0.125


@pytest.mark.parametrize(
    ("text", "x", "told"),
    [
        ("{{ a }}^2", -2.0, True),
        ("{{ a }} ** (2)", -2.0, True),
        ("{{ a }}^b", 0.0, True),
        ("({{ a }})^2", -2.0, False),
        ("{{ a }}^2", 2.0, False),
        ("{{ a }} ^", -2.0, False),
        ("{{ a }} * 2", -2.0, False),
    ],
)
def test_a_power_of_a_negative_number_is_told(tmp_path: Path, text: str, x: float, *, told: bool) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        offsets(objective(tmp_path, text), [x, 1.0], 0, x + 0.125, x - 0.125)
    assert [str(one.message) for one in heard if "take the sign last" in str(one.message)] != [] or not told
    assert len(heard) == told
