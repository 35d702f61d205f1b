"""Prefect's form for a config: each field with its docstring line, its bounds and its choices."""

import re
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from rded_core.config import DistillConfig, EvaluateConfig, TrainObserverConfig
from rded_core.config.fields import Field, describe_bounds, describe_fields


class Form:
    """Adds a config class's descriptions of its fields to the JSON schema that Prefect renders and checks runs against.

    Args:
        config_class: the class that this annotates.
    """

    def __init__(self, config_class: type) -> None:
        self.config_class = config_class

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        described = handler.resolve_ref_schema(schema)
        described["additionalProperties"] = False  # a misspelt setting is refused before the run is queued
        described["description"] = (self.config_class.__doc__ or "").partition("\n")[0]
        for position, (name, field) in enumerate(describe_fields(self.config_class).items()):
            _describe(described["properties"][name], field)
            described["properties"][name] |= {"title": name, "position": position}
        return schema


def _describe(schema: dict[str, Any], field: Field) -> None:
    """Adds a field's description to its schema, with its bounds, which the form itself does not show."""
    text = field.text.replace(", comma-separated", "")  # for flags; a form has a line for each value
    text = re.sub(r"--([a-z-]+)", lambda flag: flag[1].replace("-", "_"), text)
    if field.bounds and f"{field.bounds.ge} to {field.bounds.le}" not in text:
        text = f"{text}; must {describe_bounds(field.bounds)}"
    schema["description"] = f"{text[:1].upper()}{text[1:]}"


DistillForm = Annotated[DistillConfig, Form(DistillConfig)]
EvaluateForm = Annotated[EvaluateConfig, Form(EvaluateConfig)]
TrainObserverForm = Annotated[TrainObserverConfig, Form(TrainObserverConfig)]
