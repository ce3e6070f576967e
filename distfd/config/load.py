"""Makes a valid configuration from a file and overrides, or reports all their mistakes."""

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
"""Keys of a valid file that can still be wrong, as modules, programs and directories are only checked when used."""


@dataclass(frozen=True)
class LoadedConfig:
    """A valid configuration and the file it came from."""

    config: Config
    path: Path
    """Absolute."""
    places: Mapping[KeyPath, str] = field(repr=False)
    """Places of keys whose values can turn out wrong only when they are used."""
    overridden: bool = False
    """Whether overrides changed the file's values."""

    @property
    def folder(self) -> Path:
        """The base folder of relative paths in the file, and of its modules."""
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

    # Import pydantic only after the YAML syntax is checked, as the import takes longer than that.
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
