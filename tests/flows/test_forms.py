"""The form that Prefect renders: every field has a title, a description, bounds and choices."""

from typing import Any

import pytest
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from flows.distill import distill
from flows.evaluate import evaluate
from flows.refresh import refresh
from flows.train_observer import train_observer

FLOWS: list[Flow[Any, Any]] = [distill, evaluate, refresh, train_observer]


def _fields(flow: Flow[Any, Any]) -> dict[str, Any]:
    (config,) = parameter_schema(flow).model_dump()["definitions"].values()
    return config["properties"]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_field_and_parameter_is_described(flow: Flow[Any, Any]) -> None:
    schema = parameter_schema(flow).model_dump()
    for name, field in {**schema["properties"], **_fields(flow)}.items():
        assert field["title"] == name
        assert len(field["description"]) > 5
    (config,) = schema["definitions"].values()
    assert "\n" not in config["description"], "its fields are described one by one"


def test_bounds_and_choices() -> None:
    fields = _fields(distill)
    assert fields["ipc"] | {"description": ""} == {
        "description": "", "minimum": 1, "position": 2, "title": "ipc", "type": "integer",
    }  # fmt: skip
    assert fields["temperature"]["anyOf"] == [{"exclusiveMinimum": 0, "type": "number"}, {"type": "null"}]
    assert (fields["image_quality"]["minimum"], fields["image_quality"]["maximum"]) == (1, 100)
    assert fields["mix"]["enum"] == ["cutmix", "mixup", "none"]
    assert fields["mix"]["default"] == "cutmix"
    assert _fields(evaluate)["controls"]["items"]["enum"] == ["random", "mosaic"]
    assert _fields(train_observer)["lr"]["exclusiveMinimum"] == 0


def test_descriptions_state_bounds_and_no_flags() -> None:
    fields = _fields(distill)
    assert fields["ipc"]["description"] == "Distilled images per class; must be >= 1"
    assert fields["image_quality"]["description"].endswith("1 to 100"), "already stated"
    assert "with label_budget " in fields["label_codec"]["description"]
    assert not [name for flow in FLOWS for name, field in _fields(flow).items() if "--" in field["description"]]


def test_required_fields_come_first() -> None:
    fields = sorted(_fields(distill).items(), key=lambda entry: entry[1]["position"])
    assert [name for name, _ in fields[:4]] == ["source", "observer", "ipc", "out"]


def test_json_becomes_a_checked_config() -> None:
    given = {"source": "photos", "observer": "torchvision:resnet18", "ipc": 1, "out": "run", "classes": ["a"]}
    assert distill.validate_parameters({"config": given})["config"].classes == ("a",)
    with pytest.raises(ParameterTypeError, match=r"config\.num_crops: Input should be greater than or equal to 1"):
        distill.validate_parameters({"config": given | {"num_crops": 0}})
    with pytest.raises(ParameterTypeError, match="ipcs"):
        distill.validate_parameters({"config": given | {"ipcs": 3}})


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_misspelt_setting_is_refused_before_it_is_queued(flow: Flow[Any, Any]) -> None:
    """The server checks runs of a deployment against this schema when they are created."""
    schema = parameter_schema(flow).model_dump()
    messages = [error.message for error in validate({"config": {"num_crop": 3}}, schema, ignore_required=True)]
    assert any("'num_crop' was unexpected" in line for line in messages), messages
