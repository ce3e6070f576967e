"""Every command, argument and option that the help shows stays, with its default; words may change, more may come."""

from __future__ import annotations

from typing import Any

import pytest
from recorded import HELP, commands, read

RECORD: dict[str, Any] = read(HELP)


@pytest.fixture(scope="module")
def present() -> dict[str, Any]:
    return commands()


def test_commands_are_there(present: dict[str, Any]) -> None:
    assert RECORD.keys() <= present.keys()


@pytest.mark.parametrize("command", RECORD, ids=lambda command: command or "distfd")
def test_a_command_takes_what_it_took(command: str, present: dict[str, Any]) -> None:
    recorded, now = RECORD[command], present[command]
    names = list(recorded["arguments"])
    assert list(now["arguments"])[: len(names)] == names
    assert all(each["optional"] for name, each in now["arguments"].items() if name not in names)
    for name, argument in recorded["arguments"].items():
        assert now["arguments"][name]["default"] == argument["default"]
        assert now["arguments"][name]["optional"] or not argument["optional"], f"{name} must be given now"
    by_name = {name: each for each in now["options"].values() for name in each["names"]}
    for option in recorded["options"].values():
        for name in option["names"]:
            assert name in by_name, f"{command}: {name} is gone"
            for what in ("takes a value", "default"):
                assert by_name[name][what] == option[what], f"{command} {name}: {what}"
            assert option["required"] or not by_name[name]["required"], f"{name} must be given now"
    old = {name for option in recorded["options"].values() for name in option["names"]}
    assert not [name for name, each in by_name.items() if each["required"] and name not in old]
