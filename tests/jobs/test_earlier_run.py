"""What `distfd plan` says of an output is what `distfd run` then does with it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from distfd.config.load import load_config
from distfd.core.errors import InputError
from distfd.jobs.build import make_objective
from distfd.jobs.preview import plan_job, preview
from distfd.jobs.run import Job

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """objective:
  command: {argv: [awk, -v, "a={{ a }}", -v, "b={{ b }}", "BEGIN {printf \\"%.17g\\", a * a * b POWER}"],
            outputs: {y: {file: stdout, regex: '^(\\S+)$'}}}
parameters: [{name: a, value: 2.0}, {name: b, value: 3.0}]
cluster: {address: local, num_cpus: 1}
derivative: {scheme: SCHEME, check: false}
output: run
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that was run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("distfd.jobs.run.make_executor", lambda _config, **_: _serial())
    config = written(tmp_path)
    assert run(config)["n_evaluations"] == 3
    return config


def _serial() -> Any:
    from distfd.executors.serial import SerialExecutor

    return SerialExecutor()


def written(folder: Path, scheme: str = "forward", power: str = "") -> Path:
    (folder / "c.yaml").write_text(TEXT.replace("SCHEME", scheme).replace(" POWER", power))
    return folder / "c.yaml"


def run(config: Path, *overrides: str) -> dict[str, Any]:
    return Job(load_config(config, overrides), observer=lambda _event: None, say=lambda _text: None).run()


def planned(config: Path, *overrides: str) -> tuple[str, int | None, int | None]:
    found = plan_job(load_config(config, overrides))
    (text,) = (text for title, text in found.rows if title == "output")
    return text, found.fields["n_known"], found.fields["n_reused"]


def test_a_finished_run_evaluates_nothing(ran: Path) -> None:
    text, known, _ = planned(ran)
    assert "run prints its result and evaluates nothing" in text
    assert known == 3
    before = json.loads((ran.parent / "run" / "result.json").read_text())
    assert run(ran) == before


@pytest.mark.parametrize(
    ("overrides", "reused", "of"),
    [
        (("derivative.scheme=central",), 1, 5),
        (("derivative.step=1e-3",), 1, 3),
        (("evaluation.timeout=100",), 3, 3),
        (("parameters.0.value=5",), 0, 3),
    ],
)
def test_as_many_are_reused_as_it_says(ran: Path, overrides: tuple[str, ...], reused: int, of: int) -> None:
    text, known, said = planned(ran, *overrides)
    assert f"holds 3 evaluations; run reuses {reused} of the {of} points of its first wave" in text
    assert (known, said) == (3, reused)
    found = run(ran, *overrides)
    assert (found["n_reused"], found["n_evaluations"]) == (reused, 3 + of - reused)


def test_what_run_refuses_is_said(ran: Path) -> None:
    other = written(ran.parent, power=" * 2")
    text, known, said = planned(other)
    assert "run refuses it:" in text
    assert (known, said) == (3, 0)
    with pytest.raises(InputError, match="holds evaluations of another objective") as caught:
        run(other)
    assert str(caught.value) in text
    assert "run refuses it" not in planned(other, "output=elsewhere")[0]


def test_an_output_of_none_has_no_run(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that one stands in is no output, even where it is that of a run."""
    monkeypatch.chdir(ran.parent / "run")
    ran.write_text(re.sub("output: .*\n", "", ran.read_text()))
    assert planned(ran) == ("none given; run asks for one", None, None)


def test_a_run_without_a_value_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distfd.stores.sqlite import SQLiteStore

    monkeypatch.chdir(tmp_path)
    config = written(tmp_path)
    (tmp_path / "run").mkdir()
    SQLiteStore(tmp_path / "run" / "evaluations.sqlite", fingerprint="0" * 64, names=("a", "b")).close()
    assert "puts it aside and begins anew" in planned(config)[0]


def test_who_uses_it_is_named(ran: Path) -> None:
    from distfd.stores.sqlite import SQLiteStore

    loaded = load_config(ran, ())
    problem = loaded.config.problem()
    objective = make_objective(loaded, problem)
    store = SQLiteStore(ran.parent / "run" / "evaluations.sqlite", fingerprint=objective.fingerprint())
    try:
        assert re.search(r"is in use by .*: run is refused until that ends", planned(ran)[0])
    finally:
        store.close()


def test_nothing_is_promised_without_the_objective(ran: Path) -> None:
    text = preview(load_config(ran, ("derivative.scheme=central",)), no_import=True)
    assert "holds 3 evaluations; whether they are of this J is not known" in text


def test_plan_changes_nothing(ran: Path) -> None:
    before = {path: path.read_bytes() for path in (ran.parent / "run").rglob("*") if path.is_file()}
    planned(ran, "derivative.scheme=central")
    assert {path: path.read_bytes() for path in (ran.parent / "run").rglob("*") if path.is_file()} == before
