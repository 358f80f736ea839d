"""What is wrong with a recipe, in words: the member's path, its value, and what would be right."""

import difflib
import typing
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from trainer.recipe.overrides import label
from trainer.recipe.recipe import Recipe

Location = Sequence[int | str]


def explain(error: ValidationError, data: dict[str, Any]) -> list[str]:
    """A sentence for every mistake pydantic found in `data`."""
    return [_sentence(item, data) for item in error.errors()]


def _sentence(item: Any, data: dict[str, Any]) -> str:
    location = _without_tags(item["loc"], data)
    path = _path(location, data)
    message, value = item["msg"], item["input"]
    match item["type"]:
        case "value_error":
            # Raised by a section's own check, which names the members itself.
            message = message.removeprefix("Value error, ")
            return f"{path}: {message}" if path else message
        case "extra_forbidden":
            return f"{path}: there is no such member; {_known(location, data)}"
        case "missing":
            return f"{path}: is missing; {_wanted(location, data)}"
        case "union_tag_not_found":
            kinds = ", ".join(sorted(_stage_kinds()))
            return f"{path}.kind: is missing; give one of {kinds}"
        case "union_tag_invalid":
            kinds = ", ".join(sorted(_stage_kinds()))
            return f"{path}.kind: {item['ctx']['tag']!r} is no kind of stage; give one of {kinds}"
    return f"{path}: {value!r} is wrong; {message.replace('Input should be', 'it must be')}"


def _without_tags(location: Location, data: dict[str, Any]) -> Location:
    """Drop the stage's kind, which pydantic puts behind its index."""
    if len(location) > 2 and location[0] == "stages" and location[2] in _stage_kinds():
        return [*location[:2], *location[3:]]
    return location


def _path(location: Location, data: Any) -> str:
    """The dotted path by which `--set` addresses the same member."""
    parts = []
    for part in location:
        inside = isinstance(data, dict) and part in data
        inside = inside or (isinstance(data, list) and isinstance(part, int) and part < len(data))
        if isinstance(data, list) and isinstance(part, int) and inside:
            labels = [label(element) for element in data]
            name = labels[part]
            parts.append(name if name is not None and labels.count(name) == 1 else str(part))
        else:
            parts.append(str(part))
        data = data[part] if inside else None
    return ".".join(parts)


def _known(location: Location, data: dict[str, Any]) -> str:
    section = _section(location[:-1], data)
    members = sorted(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), members, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}the members are {', '.join(members)}"


def _wanted(location: Location, data: dict[str, Any]) -> str:
    annotation = _section(location[:-1], data).model_fields[str(location[-1])].annotation
    sections = [kind for kind in _alternatives(annotation) if _is_section(kind)]
    if not sections:
        return f"give {getattr(annotation, '__name__', annotation)}"
    needed = [name for name, field in sections[0].model_fields.items() if field.is_required()]
    return f"give a table with {', '.join(needed)}"


def _section(location: Location, data: Any) -> type[BaseModel]:
    """The class of the section at a location."""
    kind: Any = Recipe
    for part in location:
        data = data[part]
        if isinstance(part, str):
            kind = kind.model_fields[part].annotation
        sections = [option for option in _alternatives(kind) if _is_section(option)]
        if isinstance(data, dict):
            kind = next((option for option in sections if _kind_of(option) == data.get("kind")), sections[0])
    assert _is_section(kind)
    return kind


def _alternatives(annotation: Any) -> list[Any]:
    """The types an annotation is made of, lists' elements included."""
    if get_origin(annotation) in (Union, UnionType, Annotated, list, typing.Literal):
        return [kind for part in get_args(annotation) for kind in _alternatives(part)]
    return [annotation]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _kind_of(section: type[BaseModel]) -> str | None:
    field = section.model_fields.get("kind")
    return field.default if field is not None and isinstance(field.default, str) else None


def _stage_kinds() -> set[str]:
    stages = _alternatives(Recipe.model_fields["stages"].annotation)
    return {kind for kind in map(_kind_of, filter(_is_section, stages)) if kind is not None}
