"""Standard deviations from files: .npy, and text as .csv and .txt; and where they say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from distfd.config.dump import dump_yaml, npy_digests
from distfd.config.load import load_config
from distfd.config.npy_vectors import read_numbers
from distfd.core.errors import ConfigError
from distfd.jobs.build import sigma_of, unused_sigma
from distfd.objectives.command.extractors import NpyElement
from distfd.objectives.command.outputs import parse_output
from distfd.objectives.command.values import OutputError

if TYPE_CHECKING:
    from pathlib import Path

READS = """
task: {task}
objective:
  command:
    argv: [cat, parameters.json]
    outputs: {{a: {{file: stdout, json: /x0}}}}
    sigma: {sigma}
x0: [1.0, 2.0]
output: run
"""
FIT = "task: least_squares\nobjective: {python: 'm:f'}\nx0: [1.0]\nminimize: {sigma: s.csv}\noutput: run\n"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.1\n0.2\n3e-1\n", [0.1, 0.2, 0.3]),
        ("sigma\n0.1\n0.2\n", [0.1, 0.2]),
        ("# of the gauge\r\n0.1\r\n\r\n0.2 # doubtful\r\n", [0.1, 0.2]),
        ("0.1, 0.2; 0.3 0.4\n", [0.1, 0.2, 0.3, 0.4]),
        ("0.5", [0.5]),
    ],
)
def test_numbers_as_text(text: str, numbers: list[float], tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text(text, newline="")
    assert read_numbers(str(tmp_path / "s.txt")).tolist() == numbers


@pytest.mark.parametrize(
    "raw", [b"", b"PK\x03\x04 cut", b"PK\x05\x06" + bytes(18), b"\x93NUMPY\x01\x00\x02\x00{\n", b"x"]
)
def test_what_is_no_npy_file_is_told_of(raw: bytes, tmp_path: Path) -> None:
    """In whatever way NumPy fails at it."""
    (tmp_path / "s.npy").write_bytes(raw)
    with pytest.raises(ValueError, match=r"s\.npy (cannot be read as|is an archive, not) an \.npy file"):
        read_numbers(str(tmp_path / "s.npy"))
    output = parse_output("J", {"file": "s.npy", "npy": 0}, str(tmp_path))
    assert isinstance(output.extractor, NpyElement)
    with pytest.raises(OutputError):
        output.extractor.read(tmp_path / "s.npy")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "holds no numbers"),
        ("0.1\nwide\n", "line 2 has 'wide'"),
        ("0.1,0.2\n0.3,0.4\n", "one number a line, and line 1 has more"),
        ("0.1\nnan\n", "line 2 has 'nan'"),
    ],
)
def test_what_is_no_list_of_numbers(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ValueError, match=what):
        read_numbers(str(tmp_path / "s.csv"))
    (tmp_path / "job.yaml").write_text(FIT)
    with pytest.raises(ConfigError, match=f"minimize.sigma: .*{what}"):
        load_config(tmp_path / "job.yaml")


@pytest.mark.parametrize(("text", "what"), [("0.1\n0\n", "0.0 at index 1"), ("-1\n", "-1.0"), ("1\ninf\n", "inf")])
def test_a_file_of_standard_deviations_holds_positive_numbers(text: str, what: str, tmp_path: Path) -> None:
    """Only the run said so, and not validate."""
    (tmp_path / "s.csv").write_text(text)
    (tmp_path / "job.yaml").write_text(FIT)
    with pytest.raises(ConfigError, match=f"minimize.sigma: .*holds {what}.* a finite number > 0 is needed"):
        load_config(tmp_path / "job.yaml")


def test_sigma_from_text_and_its_contents_are_part_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("sigma\n0.1\n0.2\n")
    (tmp_path / "job.yaml").write_text(FIT)
    config = load_config(tmp_path / "job.yaml").config
    np.testing.assert_array_equal(sigma_of(config), [0.1, 0.2])
    before = npy_digests(config)
    assert "s.csv" in before
    (tmp_path / "s.csv").write_text("sigma\n0.1\n0.3\n")
    assert npy_digests(config) != before


def test_absolute_sigma_is_for_fits_and_not_written_where_it_is_not_given(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("0.1\n")
    (tmp_path / "job.yaml").write_text(FIT)
    assert "absolute_sigma:" not in dump_yaml(load_config(tmp_path / "job.yaml").config)
    (tmp_path / "job.yaml").write_text(FIT.replace("s.csv", "s.csv, absolute_sigma: false"))
    config = load_config(tmp_path / "job.yaml").config
    assert config.minimize.absolute_sigma is False
    assert "absolute_sigma: false" in dump_yaml(config)
    (tmp_path / "job.yaml").write_text(
        "task: minimize\nobjective: {python: 'm:f'}\nx0: [1.0]\nminimize: {absolute_sigma: false}\n"
    )
    with pytest.raises(ConfigError, match=r"minimize\.absolute_sigma: is for task least_squares"):
        load_config(tmp_path / "job.yaml")


def test_a_programs_sigma_without_a_fit(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(READS.format(task="minimize", sigma=0.1))
    with pytest.raises(ConfigError, match=r"objective\.command\.sigma: is for task least_squares"):
        load_config(file)
    for task in ("gradient", "jacobian", "hessian", "noise"):
        file.write_text(READS.format(task=task, sigma=0.1))
        assert f"sigma is for task least_squares; task {task} takes" in unused_sigma(load_config(file).config)
    file.write_text(READS.format(task="least_squares", sigma=0.1))
    assert not unused_sigma(load_config(file).config)
