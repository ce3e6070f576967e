"""Programs that answer with what is no file of numbers; ordinary failures are in tests/objectives/test_program.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a", "b")
POSITIONS = {
    "baseline": ("test 1 = 1", "x itself (the baseline)"),
    "first": ("test $(cat a.txt) != 1", "coordinate 0 ('a')"),
    "last": ("test $(cat b.txt) != 2", "coordinate 1 ('b')"),
}
"""The shell's words for being there, and what a message calls that point."""

FAULTS: dict[str, tuple[str, str]] = {
    "exit code": ("exit 3", "return code 3"),
    "no output": ("true", "the program did not write it"),
    "empty output": (": > out.json", "it is empty"),
    "cut output": ("printf '{\"J\": 1' > out.json", "not JSON, or was cut"),
    "not UTF-8": (r"printf '{\"J\": \377}' > out.json", "not JSON, or was cut"),
    "text": ('echo \'{"J": "high"}\' > out.json', "'high' is not a number"),
    "true": ("echo '{\"J\": true}' > out.json", "True"),
    "NaN": ("echo '{\"J\": NaN}' > out.json", "J is nan"),
    "a list": ("echo '{\"J\": [1, 2]}' > out.json", r"array of shape \(2,\)"),
    "a directory": ("mkdir out.json", "out.json"),
    "a pipe": ("mkfifo out.json", "out.json"),
    "a link to nothing": ("ln -s nowhere out.json", "out.json"),
    "a device": ("ln -s /dev/zero out.json", "out.json"),
    "too large": ("truncate -s 1G out.json", "too large: 1024 MiB"),
    "unreadable": ("echo '{\"J\": 1}' > out.json; ln -s out.json loop; mv loop out.json", "out.json"),
    "signal": ("kill -SEGV $$", "SIGSEGV"),
}


def gradient(tmp_path: Path, test: str, code: str, *, on_failure: Any = "raise") -> distfd.DerivativeResult:
    for name in NAMES:
        (tmp_path / f"{name}.j2").write_text(f"{{{{ {name} }}}}")
    objective = distfd.CommandObjective(
        ["sh", "-c", f"{{ {test}; }} && {{ {code}; exit; }}; echo '{{\"J\": 1}}' > out.json"],
        inputs={"a.txt": "a.j2", "b.txt": "b.j2"},
        outputs={"J": {"file": "out.json", "json": "/J"}},
        names=NAMES,
        base=tmp_path,
        work=tmp_path / "work",
    )
    return distfd.differentiate(
        objective, [1.0, 2.0], executor="serial", names=NAMES, retries=0, timeout=60.0, on_failure=on_failure
    )


@pytest.mark.filterwarnings("ignore:J did not change:distfd.DerivativeWarning")
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_program_that_gives_no_number_is_named(tmp_path: Path, fault: str, position: str) -> None:
    (code, why), (test, where) = FAULTS[fault], POSITIONS[position]
    with pytest.raises(distfd.EvaluationError, match=why) as caught:
        gradient(tmp_path, test, code)
    said = str(caught.value)
    assert said.startswith(f"J failed at {where}")
    assert "  x:     [" in said
    if fault != "a list":  # the program did nothing wrong, so its directory is not kept
        assert str(tmp_path / "work") in said
    if position != "baseline":
        result = gradient(tmp_path, test, code, on_failure="nan")
        k = list(POSITIONS).index(position) - 1
        assert result.missing.tolist() == [k]
        assert np.isnan(result.derivative[k])
        assert result.derivative[1 - k] == 0


@pytest.mark.filterwarnings("ignore:J did not change:distfd.DerivativeWarning")
def test_a_program_that_fails_on_one_side_is_repaired(tmp_path: Path) -> None:
    result = gradient(tmp_path, "grep -q '^2[.]' b.txt", "exit 3", on_failure="repair")
    assert result.missing.tolist() == []
    assert "return code 3" in result.repaired[1]
    assert result.step[1] < 0
