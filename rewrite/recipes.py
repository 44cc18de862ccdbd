"""What recipes as plain data have in common: strict fields, the model they are for, a sentence for what is wrong."""

from __future__ import annotations

from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edits import canonical
from rewrite.errors import RewriteError
from rewrite.generator import Generator

T = TypeVar("T", bound="Asked")


class Asked(BaseModel):
    """What is asked of a model. Fields have the types that they say; nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None

    def of(self, generator: Generator) -> Self:
        """The recipe, naming its model; RewriteError where it names another one."""
        if self.model is None:
            return self.model_copy(update={"model": generator.name or None})
        if generator.name and self.model != generator.name:
            raise RewriteError(
                f"the recipe is for model {self.model!r} and this is {generator.name!r}; load that model, or change "
                f"the recipe's `model`"
            )
        return self

    def as_json(self) -> dict[str, Any]:
        """Everything, defaults included, as JSON that `parsed` reads back to an equal recipe."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def parsed(kind: type[T], value: Any, origin: str) -> T:
    """A recipe of that kind from plain data; RewriteError, naming `origin` and the field, where it is none."""
    try:
        return kind.model_validate_json(canonical.text(value), strict=True)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, detail["loc"]))
        if detail["type"] == "extra_forbidden":
            said = f"there is no field {where}; expected {', '.join(_fields(kind))}"
        elif detail["type"] == "missing":
            said = f"{where} is missing"
        else:
            message = detail["msg"].removeprefix("Value error, ")
            said = f"{where or 'it'} is {str(detail['input'])[:60]!r}; {message[0].lower()}{message[1:]}"
        raise RewriteError(f"{origin}: {said}") from None


def _fields(kind: type[Asked]) -> list[str]:
    return [name for name in kind.model_fields if name != "model"]
