"""From a file and overrides to a valid configuration, or to all that is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.config.error_messages import translated
from distfd.config.mistakes import KeyPath, Mistake, config_error, shown
from distfd.config.overrides import apply_override
from distfd.config.yaml_source import read_file
from distfd.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distfd.config.schema import Config


_SEEN_IN_USE: tuple[KeyPath, ...] = (
    ("output",),
    ("objective", "python"),
    ("objective", "simulator"),
    ("objective", "command"),
    ("objective", "fmu"),
    ("minimize", "options"),
)
"""What a valid file can still have wrong, as modules, programs and directories show only when they are needed."""


@dataclass(frozen=True)
class LoadedConfig:
    """A valid configuration and the file it came from."""

    config: Config
    path: Path
    """Absolute."""
    places: Mapping[KeyPath, str] = field(repr=False)
    """Where the keys stand of which something can be wrong that only their use shows."""
    overridden: bool = False
    """Whether overrides were put over the file."""

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
            raise ConfigError(self.mistake(("output",), "is missing; say where the run's directory goes"))
        return Path(self.config.output).absolute()

    def mistake(self, path: KeyPath, text: str) -> str:
        """The message for what is wrong with the value of a key that is in ``places``."""
        return str(Mistake(self.places[path], path, text))


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
    overridden = bool(refused)

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
    places = {path: document.mistake(path, "").where for path in _SEEN_IN_USE}
    return LoadedConfig(config, absolute, places, overridden)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of configuration files, for editors."""
    from distfd.config.schema import Config

    schema = Config.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "distfd configuration"}
