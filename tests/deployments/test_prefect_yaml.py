"""prefect.yaml, as the installed Prefect reads it."""

import re
from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.flows import load_flow_from_entrypoint

from deployments.environment import PROJECT_ROOT

PATH = PROJECT_ROOT / "prefect.yaml"
CONTENT: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = CONTENT["deployments"]


def test_prefect_accepts_it() -> None:
    model = PrefectYamlModel.model_validate(CONTENT)
    assert [each.name for each in model.deployments] == ["distill", "refresh", "evaluate", "train-observer"]
    limits = {each.concurrency_limit.collision_strategy for each in model.deployments if each.concurrency_limit}
    assert limits == {"ENQUEUE"}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_entrypoints_are_flows_with_the_deployments_name(deployment: dict[str, Any]) -> None:
    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    assert flow.name == deployment["name"]
    assert ":" not in deployment["entrypoint"], "a file entrypoint puts flows/ itself on the path"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_every_deployment_is_described(deployment: dict[str, Any]) -> None:
    assert len(deployment["description"]) > 40
    assert "rded" in deployment["tags"]
    assert deployment["concurrency_limit"]["limit"] == 1
    assert deployment["work_pool"] == {"name": "{{ $RDED_WORK_POOL }}"}


def test_it_contains_no_absolute_path() -> None:
    assert not re.search(r"(?<![\w.])/[a-z]+/", PATH.read_text(encoding="utf-8"))
