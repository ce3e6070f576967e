"""From a file and overrides to a valid configuration, or to all that is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.config.messages import translated
from distfd.config.mistakes import Mistake, config_error, shown
from distfd.config.overrides import apply_override
from distfd.config.yaml_source import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distfd.config.schema import Config


@dataclass(frozen=True)
class LoadedConfig:
    """A valid configuration and the file it came from."""

    config: Config
    path: Path
    """Absolute."""

    @property
    def folder(self) -> Path:
        """What relative paths in the file are relative to, and where its modules are looked for."""
        return self.path.parent

    @property
    def output(self) -> Path:
        """The run's directory, absolute.

        Raises
        ------
        ConfigError
            If there is none.
        """
        if self.config.output is None:
            text = "is missing; say where the run's directory goes"
            raise config_error([Mistake(f"{self.path}:1:1", ("output",), text)])
        return Path(self.config.output).absolute()


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> LoadedConfig:
    """Read a configuration file, put overrides over it, and validate the result.

    Parameters
    ----------
    path : str or Path
        The YAML file.
    overrides : iterable of str
        ``key.path=value``, with values in YAML. The last one of a key wins.

    Returns
    -------
    LoadedConfig
        With all paths absolute.

    Raises
    ------
    ConfigError
        With one line for every mistake that was found: ``file:line:column: key.path: what is wrong (what was given);
        did you mean ...``, or ``override TEXT: key.path: ...``.
    """
    file = Path(path)
    document = read_file(file)
    if not isinstance(document.data, dict):
        first = document.mistake((), "a configuration is a mapping {key: value}", shown(document.data))
        raise config_error([*document.mistakes, first])
    refused = [apply_override(document, override) for override in overrides]
    mistakes = [*document.mistakes, *(mistake for mistake in refused if mistake)]

    # Pydantic takes longer to import than a file with a syntax error takes to refuse.
    from pydantic import ValidationError

    from distfd.config.schema import Config

    absolute = file.absolute()
    try:
        config = Config.model_validate(document.data, context={"folder": str(absolute.parent)})
    except ValidationError as error:
        raise config_error([*mistakes, *translated(error, document, Config)]) from None
    if mistakes:
        raise config_error(mistakes)
    return LoadedConfig(config, absolute)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of configuration files, for editors."""
    from distfd.config.schema import Config

    schema = Config.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "distfd configuration"}
