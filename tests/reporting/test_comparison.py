"""Runs side by side: what is computed of two, and what the command prints."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from strangers import distfd, sound_run

from distfd.errors import InputError, StoreError
from distfd.reporting.comparison import compare_runs, config_differences
from distfd.ui.pages import comparison_page

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.reporting.comparison import Component


def made(path: Path, **fields: Any) -> Path:
    run = sound_run(path)
    found = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**found, **fields}))
    return run


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    first = made(tmp_path / "a", derivative=[1.0, -2.5, None], error=[0.3, 0.1, None])
    second = made(tmp_path / "b", derivative=[1.5, -2.5, 3.0], error=[0.4, None, 0.1], step=[1e-5, 1e-8, 1e-8])
    return first, second


def components(*runs: Path) -> dict[str, Component]:
    return {
        each.name if each.output is None else f"{each.name} {each.output}": each
        for each in compare_runs(runs).components
    }


def test_a_difference_is_told_in_units_of_its_bar(two: tuple[Path, Path]) -> None:
    found = components(*two)
    assert found["a"].difference == (None, 0.5)
    assert list(found["a"].bars) == [None, pytest.approx(1.0)]  # 0.5 over the root of 0.3**2 + 0.4**2
    assert (found["b"].difference, found["b"].bars) == ((None, 0.0), (None, None)), "a bar is not known"
    assert (found["c"].derivative, found["c"].difference) == ((None, 3.0), (None, None))


def test_bars_of_no_width_say_nothing(tmp_path: Path) -> None:
    runs = [made(tmp_path / name, derivative=[value] * 3, error=[0.0] * 3) for name, value in (("a", 1.0), ("b", 2.0))]
    assert components(*runs)["a"].bars == (None, None)


def test_names_that_one_run_lacks_and_another_order(tmp_path: Path) -> None:
    first = made(tmp_path / "a", derivative=[1.0, 2.0, 3.0], error=[0.1] * 3)
    second = made(tmp_path / "b", names=["c", "d", "a"], derivative=[3.5, 9.0, 1.0], error=[0.1] * 3, x=[3.0, 4.0, 1.0])
    found = components(first, second)
    assert list(found) == ["a", "b", "c", "d"]
    assert found["a"].difference == (None, 0.0)
    assert found["c"].derivative == (3.0, 3.5)
    assert found["b"].derivative == (2.0, None)
    assert found["d"].derivative == (None, 9.0)
    assert [each.x for each in compare_runs([first, second]).parameters][-1] == (None, 4.0)


def test_a_jacobian_has_a_component_for_each_output(tmp_path: Path) -> None:
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    first = made(tmp_path / "a", task="jacobian", value=[0.0, 0.0], derivative=rows, error=[[0.1] * 3] * 2)
    second = made(tmp_path / "b", task="jacobian", value=[0.0], derivative=rows[1:], error=[[0.1] * 3])
    found = components(first, second)
    assert list(found) == ["a 0", "b 0", "c 0", "a 1", "b 1", "c 1"]
    assert found["c 0"].difference == (None, 3.0)
    assert list(found["c 0"].bars) == [None, pytest.approx(3 / math.hypot(0.1, 0.1))]
    assert found["c 1"].derivative == (6.0, None)


def test_outputs_with_names_go_by_them_in_any_order(tmp_path: Path) -> None:
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    bars = [[0.1] * 3, [0.2] * 3]
    common = {"task": "jacobian", "value": [0.0, 0.0]}
    first = made(tmp_path / "a", outputs=["cl", "cd"], derivative=rows, error=bars, **common)
    second = made(tmp_path / "b", outputs=["cd", "cl"], derivative=rows[::-1], error=bars[::-1], **common)
    found = compare_runs([first, second]).components
    assert [(each.output_name, each.name) for each in found[::3]] == [("cl", "a"), ("cd", "a")]
    assert [each.derivative for each in found] == [(v, v) for v in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    assert [each.error for each in found[::3]] == [(0.1, 0.1), (0.2, 0.2)]
    code, text = distfd("compare", str(first), str(second))
    assert code == 0
    assert "d cl / d a" in text
    assert "d cd / d c" in text
    fields = json.loads(distfd("compare", str(first), str(second), "--json")[1])["components"]
    assert [(one["output"], one["output_name"]) for one in fields[::3]] == [(0, "cl"), (1, "cd")]
    page = str(comparison_page(compare_runs([first, second]), ["a", "b"], [None, None], ""))
    assert "d cd / d c" in page


def test_an_older_run_without_names_of_outputs_goes_by_numbers(tmp_path: Path) -> None:
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    common: dict[str, Any] = {"task": "jacobian", "value": [0.0, 0.0], "derivative": rows, "error": [[0.1] * 3] * 2}
    first = made(tmp_path / "a", **common)
    second = made(tmp_path / "b", outputs=["cl", "cd"], **common)
    found = compare_runs([first, second]).components
    assert [(each.output, each.output_name, each.difference) for each in found[::3]] == [
        (0, "cl", (None, 0.0)),
        (1, "cd", (None, 0.0)),
    ]


def test_a_hessian_goes_by_the_parameters_of_both_sides(tmp_path: Path) -> None:
    matrix = [[1.0, 2.0, 3.0], [2.0, 5.0, 6.0], [3.0, 6.0, 9.0]]
    turned = [row[::-1] for row in matrix[::-1]]
    bars = [[0.1] * 3] * 3
    first = made(tmp_path / "a", task="hessian", derivative=matrix, error=bars)
    second = made(tmp_path / "b", task="hessian", names=["c", "b", "a"], derivative=turned, error=bars)
    found = compare_runs([first, second]).components
    assert [each.output_name for each in found[::3]] == ["a", "b", "c"]
    assert all(each.difference == (None, 0.0) for each in found)


def test_three_runs_are_held_against_the_first(two: tuple[Path, Path], tmp_path: Path) -> None:
    third = made(tmp_path / "c", derivative=[0.0, 0.0, 0.0], error=[0.4, 0.1, 0.1])
    found = compare_runs([*two, third])
    assert found.components[0].difference == (None, 0.5, -1.0)
    assert list(found.components[0].bars) == [None, pytest.approx(1.0), pytest.approx(2.0)]
    assert [row.name for row in found.runs] == [str(path) for path in (*two, third)]


def test_configurations_differ_by_keys() -> None:
    first = {"task": "gradient", "x0": [1.0, 2.0], "output": "a", "derivative": {"scheme": "forward", "step": None}}
    second = {"task": "gradient", "x0": [1.0, 3.0], "output": "b", "derivative": {"scheme": "central"}}
    assert dict(config_differences([first, second])) == {
        "x0": ([1.0, 2.0], [1.0, 3.0]),
        "derivative.scheme": ("forward", "central"),
    }
    named = [{"parameters": [{"name": "a", "value": 1}, {"name": "b", "value": k}]} for k in (1, 2)]
    assert dict(config_differences(named)) == {"parameters.b.value": (1, 2)}
    assert dict(config_differences([{}, {}])) == {}


PROGRAM = """task: gradient
objective:
  command:
    argv: [solve]
    outputs: {mass: {file: out.csv, csv: {column: mass, row: 1}}}
parameters: [{name: a, value: 1.0}]
"""
WRITTEN = """task: gradient
objective:
  warm: null
  command:
    argv: [solve]
    keep: failed
    outputs: {mass: {file: out.csv, csv: {column: mass, row: 1, delimiter: ",", skip: 0, header: true}}}
parameters: [{name: a, value: 1, fixed: false}]
derivative: {scheme: forward, step: null}
evaluation: {retries: {error: 0, crash: 2}, on_failure: raise, timeout: null}
cluster: {keep_idle: 30}
resources: {num_cpus: 1}
"""


def compared(folder: Path, *texts: str) -> dict[str, Any]:
    runs = [made(folder / f"run{k}") for k in range(len(texts))]
    for run, text in zip(runs, texts, strict=True):
        (run / "config.yaml").write_text(text)
    return dict(compare_runs(runs).config)


def test_a_default_that_is_written_is_no_difference(tmp_path: Path) -> None:
    assert compared(tmp_path, PROGRAM, WRITTEN) == {}


def test_what_differs_from_a_default_is_told(tmp_path: Path) -> None:
    other = WRITTEN.replace("crash: 2", "crash: 3").replace("keep_idle: 30", "keep_idle: 1min")
    assert compared(tmp_path, PROGRAM, other) == {
        "evaluation.retries.crash": (2, 3),
        "cluster.keep_idle": (30.0, 60.0),
    }


def test_a_configuration_of_another_version_is_compared_as_it_is_written(tmp_path: Path) -> None:
    found = compared(tmp_path, PROGRAM, PROGRAM + "gone: {key: 3}\n")
    assert found == {"gone.key": (None, 3)}


def test_the_command_prints_tables(two: tuple[Path, Path]) -> None:
    (two[1] / "config.yaml").write_text((two[1] / "config.yaml").read_text().replace("forward", "central"))
    code, said = distfd("compare", *map(str, two))
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert code == 0
    assert lines[:2] == [f"A {two[0]}", f"B {two[1]}"]
    assert "J 1 1" in lines
    assert "evaluations 4 4" in lines
    assert "x dJ/dx A ± dJ/dx B ± B - A in bars" in lines
    assert "a 1 1 0.3 1.5 0.4 0.5 1" in lines
    assert "b 2 -2.5 0.1 -2.5 - 0 -" in lines
    assert lines[lines.index("step A step B") + 1] == "a 1e-08 1e-05"
    assert lines[-1] == "derivative.scheme forward central"


def test_what_is_minimised_has_its_name(tmp_path: Path) -> None:
    values: dict[str, Any] = {"derivative": [1.0, 2.0, 3.0], "value": 3.0, "value0": 4.0}
    fits = [made(tmp_path / name, task="least_squares", **values) for name in ("a", "b")]
    search = made(tmp_path / "c", task="minimize", **values)
    way = {"name": "cost", "iteration": [0], "value": [3.0]}
    for runs, before, columns in (
        (fits, "cost before", ["d cost/dx A", "d cost/dx B"]),
        ([fits[0], search], "J or cost before", ["d cost/dx A", "dJ/dx B"]),
    ):
        said = distfd("compare", *map(str, runs))[1]
        assert any(line.startswith(before) for line in said.splitlines())
        assert all(title in said for title in columns)
        page = str(comparison_page(compare_runs(runs), ["a", "b"], [way, None], ""))
        assert f">{before}<" in page
        assert "Chart: cost by iteration" in page


def test_derivatives_at_different_points_are_told_so(tmp_path: Path) -> None:
    runs = made(tmp_path / "a"), made(tmp_path / "b", x=[1.0, 2.0, 4.0])
    code, said = distfd("compare", *map(str, runs))
    assert code == 0
    assert "at different points" in said
    assert "x A  dJ/dx A" not in said
    assert "x B" in said
    assert not compare_runs(runs).same_x


def test_of_many_components_those_furthest_apart_are_shown(tmp_path: Path) -> None:
    names = [f"p{k}" for k in range(100)]
    common = {"names": names, "x": [0.0] * 100, "step": [1e-8] * 100, "missing": [], "repaired": {}}
    first = made(tmp_path / "a", derivative=[1.0] * 100, error=[0.1] * 100, **common)
    second = made(tmp_path / "b", derivative=[1.0 + k for k in range(100)], error=[0.1] * 100, **common)
    said = distfd("compare", str(first), str(second))[1]
    shown = [line.split()[0] for line in said.splitlines() if line.startswith("p")]
    assert shown == names[60:]
    assert "the 40 that are furthest apart, of 100; --json has all" in said


def test_json_has_the_fields_that_are_promised(two: tuple[Path, Path]) -> None:
    code, said = distfd("compare", *map(str, two), "--json")
    assert code == 0
    found = json.loads(said)
    assert list(found) == ["runs", "same_x", "parameters", "components", "config", "other_order"]
    assert list(found["parameters"][0]) == ["name", "x", "x_before", "step"]
    assert list(found["components"][0]) == [
        *("name", "output", "output_name", "derivative", "error", "difference", "bars")
    ]
    assert found["components"][0]["bars"][1] == pytest.approx(1.0)
    assert found["runs"][1]["scheme"] == "forward"
    assert found["runs"][1]["name"] == str(two[1])


def test_runs_without_a_result_have_their_cost(two: tuple[Path, Path]) -> None:
    (two[1] / "result.json").unlink()
    found = compare_runs(two)
    assert (found.runs[1].state, found.runs[1].n_evaluations) == ("cut off", 4)
    assert found.components[0].derivative == (1.0, None)


def test_what_cannot_be_compared(two: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two runs or more"):
        compare_runs(two[:1])
    with pytest.raises(InputError, match="nowhere: no run is there"):
        compare_runs([two[0], tmp_path / "nowhere"])
    shutil.copytree(two[0], tmp_path / "odd")
    (tmp_path / "odd" / "result.json").write_text("[]")
    with pytest.raises(StoreError, match="not what distfd writes"):
        compare_runs([two[0], tmp_path / "odd"])


def test_second_derivatives_are_not_subtracted_from_first_ones(tmp_path: Path) -> None:
    matrix = {"derivative": [[2.0] * 3] * 3, "error": [[None] * 3] * 3}
    runs = (
        made(tmp_path / "first", task="jacobian", **matrix),
        made(tmp_path / "second", task="hessian", **matrix, names=["a", "b", "other"]),
    )
    found = compare_runs(runs)
    assert found.other_order == (1,)
    assert {each.name for each in found.components} == {"a", "b", "c"}, "no row without any value"
    assert {each.derivative for each in found.components} == {(2.0, None)}
    said = distfd("compare", *map(str, runs))[1]
    assert "B: not beside the others, as second derivatives cannot be compared with first ones" in said
    page = comparison_page(found, ["first", "second"], [None, None], "")
    assert "second: not beside the others" in page
    assert compare_runs([runs[1], runs[1]]).other_order == ()


def test_a_gradient_beside_a_jacobian_of_other_parameters_has_its_own_names(tmp_path: Path) -> None:
    matrix = {"derivative": [[2.0] * 3] * 2, "error": [[None] * 3] * 2, "outputs": ["lift", "drag"]}
    runs = (
        made(tmp_path / "one", derivative=[1.0, None, 3.0], error=[None] * 3),
        made(tmp_path / "two", task="jacobian", **matrix, names=["p", "q", "r"]),
    )
    found = compare_runs(runs).components
    assert [(each.name, each.output, each.output_name) for each in found] == [
        *(("a", None, None), ("b", None, None), ("c", None, None)),
        *(("p", 0, "lift"), ("q", 0, "lift"), ("r", 0, "lift")),
        *(("p", 1, "drag"), ("q", 1, "drag"), ("r", 1, "drag")),
    ], "a missing component has its row; a component that no run was asked for has none"


def test_a_value_of_zero_is_a_value_and_false_is_as_if_absent() -> None:
    one = {"parameters": [{"name": "a", "lower": 0.0, "fixed": False}]}
    other = {"parameters": [{"name": "a"}]}
    assert list(config_differences([one, other])) == [("parameters.a.lower", (0.0, None))]


def test_what_is_set_in_the_environment_is_told_where_it_is_short(tmp_path: Path) -> None:
    texts = ("s3cr3t-of-one", "s3cr3t-of-two")
    runs = [made(tmp_path / name) for name in ("a", "b")]
    for run, text in zip(runs, texts, strict=True):
        command = {"argv": ["solver"], "env": {"KEY": text, "OMP": text[-3:]}}
        (run / "config.yaml").write_text(json.dumps({"objective": {"command": command}}))
    said = distfd("compare", *map(str, runs))[1]
    words = [line.split() for line in said.splitlines()]
    assert ["objective.command.env.OMP", "one", "two"] in words
    assert ["objective.command.env.KEY", "$KEY", "(not", "shown)", "$KEY", "(not", "shown)"] in words
    page = comparison_page(compare_runs(runs), ["a", "b"], [None, None], "")
    for text in (said, page, distfd("compare", *map(str, runs), "--json")[1]):
        assert "s3cr3t" not in text


def test_times_and_shares_of_runs_are_told_in_their_own_units(tmp_path: Path) -> None:
    runs = [made(tmp_path / "a", wall_seconds=0.0154, efficiency=0.0046), made(tmp_path / "b", wall_seconds=3725.0)]
    for said in (distfd("compare", *map(str, runs))[1], distfd("ls", str(tmp_path))[1]):
        assert "15.4 ms" in said
        assert "1 h 2 min" in said
        assert "0.5 %" in said


def test_the_page_leaves_out_columns_in_which_no_run_has_anything(two: tuple[Path, Path], tmp_path: Path) -> None:
    bare = made(tmp_path / "bare", derivative=[1.0, 2.0, 3.0], error=[None] * 3)
    page = comparison_page(compare_runs([bare, bare]), ["p", "q"], [None, None], "")
    head = page[page.index(">Derivatives<") :].partition("</thead>")[0]
    titles = head.split('scope="col"')[1:]
    assert [title.split(">")[1].partition("<")[0] for title in titles] == ["parameter", "p", "q", "difference"]
    assert "In bars" not in page
    assert ">evaluations<" in page
    assert ">iterations<" not in page, "nor rows"
    whole = comparison_page(compare_runs(two), ["p", "q"], [None, None], "")
    assert "In bars: the size of a difference divided by its error bar" in whole


def test_a_difference_past_all_numbers_is_not_known(tmp_path: Path) -> None:
    runs = [made(tmp_path / name, derivative=[value, 1.0, 2.0]) for name, value in (("a", 1.7e308), ("b", -1.7e308))]
    assert components(*runs)["a"].difference == (None, None)


def test_the_run_whose_result_is_damaged_is_named(two: tuple[Path, Path]) -> None:
    (two[1] / "result.json").write_text("{broken")
    with pytest.raises(StoreError, match=f"^{two[1]}: result.json cannot be read"):
        compare_runs(two)
