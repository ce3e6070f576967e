"""Modules that are in no package: configs/*.py and scripts."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"


def load_module(file: Path, name: str | None = None, *, register: bool = False) -> Any:
    """The module of a file, whose folder does not come onto the path; ``register``: in sys.modules too."""
    spec = importlib.util.spec_from_file_location(name or file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if register:
        sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def load_example(name: str) -> Any:
    """The module configs/<name>.py."""
    return load_module(CONFIGS / f"{name}.py")


def read_config(name: str) -> Any:
    """What configs/<name>.yaml says."""
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
