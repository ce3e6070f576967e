"""The configuration: a YAML file and overrides become a checked, frozen `Config`."""

from distfd.config.dump import dump_yaml
from distfd.config.load import LoadedConfig, json_schema, load_config

__all__ = ["LoadedConfig", "dump_yaml", "json_schema", "load_config"]
