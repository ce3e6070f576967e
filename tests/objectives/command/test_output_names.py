"""What outputs of a program are called in results, files and messages."""

from __future__ import annotations

import csv
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.errors import EvaluationError, InputError
from distfd.objectives.command.objective import CommandObjective
from distfd.reporting.components import components_section
from distfd.reporting.export import derivative_columns
from distfd.reporting.run_data import RunData
from distfd.run_directory.result_check import cannot_be_shown, trouble_with
from distfd.run_directory.result_fields import derivative_fields, summary

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["alpha", "mach"]
WING = (
    "import json; p = json.load(open('parameters.json')); a, m = p['alpha'], p.get('mach', 0.0);"
    "json.dump({'cl': 6 * a + m, 'cd': a * a, 'cp': [a, 2 * a, m], 'cr': round(a, 3)}, open('out.json', 'w'))"
)
OUTPUTS = {name: {"file": "out.json", "json": f"/{name}"} for name in ("cl", "cd", "cp", "cr")}


def wing(tmp_path: Path, value: Any, outputs: Any = OUTPUTS, **options: Any) -> CommandObjective:
    return CommandObjective(
        [sys.executable, "-I", "-S", "-c", WING], outputs=outputs, value=value, base=tmp_path, **options
    )


def jacobian(objective: CommandObjective, x: Any = (2.0, 0.5), names: Any = NAMES, **options: Any) -> Any:
    with distfd.Evaluator(objective, names=names, executor="serial", check=False, **options) as evaluator:
        return evaluator.differentiate(list(x), kind="jacobian")


def test_expressions_name_the_outputs(tmp_path: Path) -> None:
    found = jacobian(wing(tmp_path, ["cl", "cl / cd"]))
    assert found.outputs == ("cl", "cl / cd")
    assert found.labels.tolist() == [
        ["d cl / d alpha", "d cl / d mach"],
        ["d cl / cd / d alpha", "d cl / cd / d mach"],
    ]
    assert "d cl / dx" in repr(found)
    found.to_csv(tmp_path / "j.csv")
    with (tmp_path / "j.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == NAMES
    np.testing.assert_allclose([float(row["d cl / dx"]) for row in rows], [6.0, 1.0], rtol=1e-6)


def test_one_parameter_is_in_the_title(tmp_path: Path) -> None:
    found = jacobian(wing(tmp_path, ["cl", "cd"]), [2.0], ["alpha"])
    assert "d cl / d alpha" in repr(found)
    assert "d cd / d alpha" in found._repr_html_()


def test_elements_of_an_array_are_numbered(tmp_path: Path) -> None:
    found = jacobian(wing(tmp_path, None, {"cp": OUTPUTS["cp"]}))
    assert found.outputs == ("cp[0]", "cp[1]", "cp[2]")
    assert found.labels[1, 0] == "d cp[1] / d alpha"


def test_names_of_ones_own(tmp_path: Path) -> None:
    names = ["front", "middle", "back", "lift"]
    found = jacobian(wing(tmp_path, ["cp", "cl"], value_names=names))
    assert found.outputs == tuple(names)
    assert found.labels[3, 1] == "d lift / d mach"


def test_what_cannot_be_told_has_numbers(tmp_path: Path) -> None:
    found = jacobian(wing(tmp_path, ["cp", "cl"]))
    assert found.outputs is None
    assert found.labels[3, 1] == "d J3 / d mach"
    assert "dJ3/dx" in repr(found)


def test_a_long_expression_is_no_name(tmp_path: Path) -> None:
    assert jacobian(wing(tmp_path, ["cl", "cl + 0" + " + 0" * 20])).outputs is None


def test_a_gradient_has_its_title(tmp_path: Path) -> None:
    with distfd.Evaluator(wing(tmp_path, "cl"), names=NAMES, executor="serial", check=False) as evaluator:
        found = evaluator.differentiate([2.0, 0.5])
    assert found.outputs is None
    assert found.labels.tolist() == ["d J / d alpha", "d J / d mach"]
    assert "dJ/dx" in repr(found)


def test_a_hessian_has_no_labels(tmp_path: Path) -> None:
    with (
        distfd.Evaluator(wing(tmp_path, "cd"), names=NAMES, executor="serial", check=False) as evaluator,
        pytest.warns(distfd.DerivativeWarning, match=r"did not change at all along coordinate 1 \('mach'\)"),
    ):
        found = evaluator.differentiate([2.0, 0.5], kind="hessian")
    with pytest.raises(InputError, match="kind hessian"):
        _ = found.labels
    assert "d2J/dx dmach" in repr(found)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "1 for the 2 outputs"),
        (["a", "a"], "a is there twice"),
        ("ab", "list of texts"),
        (["a", " "], "list of texts"),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, names: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        wing(tmp_path, ["cl", "cd"], value_names=names)


def test_other_names_than_outputs_fail(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="J has 4 outputs, and 3 names: a, b, c"):
        jacobian(wing(tmp_path, ["cp", "cl"], value_names=["a", "b", "c"]))


def test_names_are_no_part_of_what_a_value_depends_on(tmp_path: Path) -> None:
    plain, named = (wing(tmp_path, ["cl", "cd"], value_names=names) for names in (None, ["lift", "drag"]))
    assert plain.fingerprint() == named.fingerprint()


def test_result_json_and_the_report(tmp_path: Path) -> None:
    found = jacobian(wing(tmp_path, ["cl", "cd"]))
    fields = derivative_fields(found, found.x, NAMES)
    assert fields["outputs"] == ["cl", "cd"]
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in fields.items()}
    result = json.loads(json.dumps({**plain, "task": "jacobian", "names": NAMES, "error": None}))
    result |= {"status": "done", "n_evaluations": 3, "n_reused": 0, "n_failed": 0}
    assert trouble_with(result) == ""
    assert cannot_be_shown(result) == ""
    assert "d cl / dx" in summary(result)
    data = RunData(tmp_path, result, "", None, None)  # type: ignore[arg-type]  # the derivative alone is looked at
    assert "d cd / dx" in components_section(data)
    assert list(derivative_columns(data)) == ["name", "x", "d cl / dx", "d cd / dx", "step"]
    assert "dJ1/dx" in summary({key: value for key, value in result.items() if key != "outputs"})


def test_outputs_of_a_stranger_are_looked_at(tmp_path: Path) -> None:
    assert "outputs is not" in trouble_with({"outputs": [1]})
    short = {"task": "jacobian", "names": ["a"], "outputs": ["only"], "derivative": [[1.0], [2.0]], "x": [0.0]}
    data = RunData(tmp_path, short, "", None, None)  # type: ignore[arg-type]
    assert "dJ1/dx" in components_section(data)


def test_messages_have_the_names(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        jacobian(wing(tmp_path, ["cd", "cr"], value_names=["drag", "lift"]), [2.0], ["alpha"], step=3e-3)
    texts = " ".join(str(warning.message) for warning in told)
    assert "output lift" in texts, texts


def test_a_failure_names_the_output_without_a_value(tmp_path: Path) -> None:
    def value(cd: float, **_: Any) -> list[float]:
        return [cd, float("nan")]

    objective = wing(tmp_path, value, version="1", value_names=["drag", "lift"])
    with pytest.raises(EvaluationError, match=r"J is \[.*nan\], without a value at output lift"):
        jacobian(objective, [2.0], ["alpha"], step=3e-3)


def test_a_program_is_called_as_a_function(tmp_path: Path) -> None:
    assert wing(tmp_path, "cl", names=NAMES)([2.0, 0.5]) == 12.5
    assert wing(tmp_path, ["cl", "cd"], names=NAMES)([2.0, 0.5]).tolist() == [12.5, 4.0]
