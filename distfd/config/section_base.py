"""The base class of all sections of a configuration: strict, frozen, and reporting all mistakes at once."""

# Pydantic reads annotations at run time, so this file and the other models do without the __future__ import.

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

KeyPath = tuple[str | int, ...]


def wrong(text: str, suggestion: str = "") -> PydanticCustomError:
    """An error whose text is shown to the user unchanged; raise it in a validator."""
    return PydanticCustomError("distfd", "{text}", {"text": text, "suggestion": suggestion})


def refuse(title: str, found: list[tuple[KeyPath, str, Any]]) -> None:
    """Raises one error for these (path below the validated value, text, given value), if there are any."""
    if found:
        details = [InitErrorDetails(type=wrong(text), loc=path, input=given) for path, text, given in found]
        raise ValidationError.from_exception_data(title, details)


def _choice_in_schema(schema: dict[str, Any], model: type[Any]) -> None:
    if model.one_of:
        given = {"not": {"type": "null"}}
        schema["oneOf"] = [{"required": [key], "properties": {key: given}} for key in model.one_of]


@dataclass(frozen=True, eq=False)
class Also:
    """Tells the JSON schema what a validator accepts besides the type, such as null for an empty section."""

    schema: Mapping[str, Any]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Either of the two."""
        return {"anyOf": [handler(core), dict(self.schema)]}


OR_NULL = Also({"type": "null"})


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        json_schema_extra=_choice_in_schema,
    )

    one_of: ClassVar[tuple[str, ...]] = ()
    """Keys of which exactly one is to be given; null is as good as absent."""

    @model_validator(mode="wrap")
    @classmethod
    def _every_mistake(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # Pydantic checks a whole model only if all its fields are valid; a wrong choice of keys is reported at once.
        choice = cls._choice_mistakes(data) if isinstance(data, dict) else []
        try:
            made = handler(data)
        except ValidationError as error:
            if not choice:
                raise
            raise ValidationError.from_exception_data(cls.__name__, [*map(_relayed, error.errors()), *choice]) from None
        if choice:
            raise ValidationError.from_exception_data(cls.__name__, choice)
        return made

    @classmethod
    def _choice_mistakes(cls, data: dict[str, Any]) -> list[InitErrorDetails]:
        given = [key for key in data if key in cls.one_of and data[key] is not None]
        names = f"{', '.join(cls.one_of[:-1])} and {cls.one_of[-1]}" if cls.one_of else ""
        if not cls.one_of or len(given) == 1:
            return []
        kind = "conflict" if given else "no_choice"
        context = {"names": names, "given": given}
        return [InitErrorDetails(type=PydanticCustomError(kind, kind, context), loc=tuple(given[-1:]), input=data)]


def _relayed(error: Any) -> InitErrorDetails:
    """An item of an error that was caught, in the form in which it can be raised again."""
    kind = PydanticCustomError(error["type"], "{msg}", {**error.get("ctx", {}), "msg": error["msg"]})
    return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"])
