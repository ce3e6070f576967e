"""``distfd run --evaluate``: one evaluation, shown step by step; nothing is stored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distfd.config.load import load_config
from distfd.errors import EvaluationError, InputError
from distfd.jobs.single_evaluation import evaluate_once

ROOT = Path(__file__).parents[2]
PROGRAM = """\
objective:
  command:
    argv: [sh, -c, 'read line; echo "J = $line"; {then}']
    stdin: deck
    inputs: {{deck: deck.j2}}
    outputs: {{J: {{file: stdout, regex: '^J = (.*)$'}}}}
parameters: [{{name: a, value: 2, lower: 0}}, {{name: b, value: 3}}]
"""


def shown(folder: Path, text: str, at: str = "x0") -> list[str]:
    (folder / "c.yaml").write_text(text)
    said: list[str] = []
    evaluate_once(load_config(folder / "c.yaml"), at, said.append)
    return "\n".join(said).splitlines()


def test_deck_command_outputs_and_value_are_shown(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text("{{ a * b }}\n")
    said = shown(tmp_path, PROGRAM.format(then="true"))
    assert said[:4] == ["a = 2.0", "b = 3.0", "--- deck, as written", "    1  6"]
    assert said[5] == """$ sh -c 'read line; echo "J = $line"; true' < deck"""
    assert said[6:8] == ["--- outputs", "J = 6.0"]
    assert said[8] == "J = 6.0"
    assert said[9].startswith("took ")
    assert shown(tmp_path, PROGRAM.format(then="true"), "0.5, -2")[3] == "    1  -1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.yaml", "deck.j2"]


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("failed", "removed if the evaluation succeeds"),
        ("all", ""),
        ("archive", "afterwards packed into {folder}/run/archive"),
    ],
)
def test_what_becomes_of_the_directory_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, said: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "deck.j2").write_text("{{ a * b }}\n")
    (tmp_path / "c.yaml").write_text(PROGRAM.format(then="true"))
    lines: list[str] = []
    overrides = [f"objective.command.keep={keep}", f"output={tmp_path / 'run'}"]
    evaluate_once(load_config(tmp_path / "c.yaml", overrides), "x0", lines.append)
    (told,) = [line.split("\n")[0] for line in lines if line.startswith("--- in ")]
    directory = Path(told.removeprefix("--- in ").split(" (")[0])
    assert said.format(folder=tmp_path) in told
    assert directory.exists() == (keep == "all")
    assert len(list((tmp_path / "run").glob("archive/*.tar.gz"))) == (keep == "archive")


def test_of_a_long_deck_what_distfd_wrote(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text("{{ a }}\n" + "fixed\n" * 500 + "b = {{ b }}\n")
    said = shown(tmp_path, PROGRAM.format(then="true"))
    assert said[2].startswith("--- deck, as written (502 lines; ")
    assert said[3:5] == ["    1  2", "  502  b = 3"]


def test_a_failure_comes_with_the_deck_and_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "deck.j2").write_text("{{ a * b }}\n")
    said: list[str] = []
    (tmp_path / "c.yaml").write_text(PROGRAM.format(then="echo oh no >&2; exit 4"))
    with pytest.raises(EvaluationError, match=r"return code 4; work directory .*(?s:.)*oh no"):
        evaluate_once(load_config(tmp_path / "c.yaml"), "x0", said.append)
    assert said[1] == "--- deck, as written\n    1  6"


@pytest.mark.parametrize("begun", [True, False])
def test_a_failure_is_kept_with_the_run_if_that_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    (elsewhere := tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    if begun:
        (tmp_path / "run" / "work").mkdir(parents=True)
    (tmp_path / "deck.j2").write_text("{{ a * b }}\n")
    (tmp_path / "c.yaml").write_text(PROGRAM.format(then="exit 4"))
    loaded = load_config(tmp_path / "c.yaml", [f"output={tmp_path / 'run'}"])
    with pytest.raises(EvaluationError) as caught:
        evaluate_once(loaded, "x0", lambda _: None)
    (kept,) = [path for path in tmp_path.rglob("*evaluation-*") if (path / "rerun.sh").exists()]
    assert kept.parent == (tmp_path / "run" / "work" if begun else elsewhere)
    assert str(kept) in str(caught.value)
    assert (tmp_path / "run").exists() == begun, "a look at J begins no run"


@pytest.mark.parametrize(
    ("at", "pattern"),
    [("1", "has 1 numbers for 2 parameters"), ("a,b", "takes x0, or numbers"), ("-1,2", r"\('a'\) = -1.0 is outside")],
)
def test_bad_points_are_refused(tmp_path: Path, at: str, pattern: str) -> None:
    (tmp_path / "deck.j2").write_text("{{ a * b }}\n")
    with pytest.raises(InputError, match=pattern):
        shown(tmp_path, PROGRAM.format(then="true"), at)


def test_python_objectives_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "single_model.py").write_text(
        "def f(x):\n    return [x.sum(), 1.0]\n\ndef g(x):\n    raise ValueError('negative width')\n"
        "def h(x):\n    raise SystemExit(0)\n"
    )
    text = "objective: {python: single_model:f}\nx0: [1, 2]\n"
    assert shown(tmp_path, text)[-2] == "J = [3., 1.]"
    with pytest.raises(EvaluationError, match=r"ValueError: negative width(?s:.)*single_model\.py"):
        shown(tmp_path, text.replace(":f", ":g"))
    with pytest.raises(EvaluationError, match="SystemExit"):
        shown(tmp_path, text.replace(":f", ":h"))


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text("{{ a * b }}\n")
    (tmp_path / "c.yaml").write_text(PROGRAM.format(then="exit $line"))
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "distfd", "run", "c.yaml", "--evaluate"]
    ran = subprocess.run(
        [*command, "0,1"], check=False, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout.splitlines()[-3]) == (0, "J = 0.0"), ran.stderr
    ran = subprocess.run(
        [*command, "x0"], check=False, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 3
    assert "return code 6; work directory " in ran.stderr
    assert "J = 6" in ran.stderr, "the last lines of what it printed"
