"""Automations: the installed Prefect accepts them, and applying them repeatedly updates them by name."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.server.events.schemas.automations import AutomationCore as ServerAutomation
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from deployments.server.automations import DEFINITIONS, apply_automations, read_automations
from rded_core.errors import InputError


def _by_name(block: str | None = None) -> dict[str, Any]:
    return {automation.name: automation for automation in read_automations(block)}


def test_server_accepts_every_definition() -> None:
    for automation in read_automations(str(uuid4())):
        ServerAutomation.model_validate(automation.model_dump(mode="json"))
    content = yaml.safe_load(DEFINITIONS.read_text())
    assert set(content) == {"automations", "notifications"}, "`prefect automation create` reads only the first"


def test_run_is_crashed_only_after_three_missed_heartbeats() -> None:
    silent = _by_name()["rded: no heartbeat, so crashed"]
    assert isinstance(silent.trigger, EventTrigger)
    assert silent.trigger.posture == Posture.Proactive
    assert silent.trigger.after == {"prefect.flow-run.heartbeat"}
    frequency = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value()
    assert frequency is not None
    assert silent.trigger.within > 3 * timedelta(seconds=frequency)
    (action,) = silent.actions
    assert isinstance(action, ChangeFlowRunState)
    assert action.state.name == "CRASHED"


def test_notifications_name_their_block() -> None:
    assert len(_by_name()) == 2
    block = str(uuid4())
    (action,) = _by_name(block)["rded: a run failed"].actions
    assert isinstance(action, SendNotification)
    assert str(action.block_document_id) == block


def test_automations_need_a_server() -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(InputError, match="export PREFECT_API_URL"),
    ):
        apply_automations()


@pytest.mark.usefixtures("prefect_harness")
def test_applying_twice_creates_one_of_each() -> None:
    names = list(_by_name())
    assert apply_automations() == [f"created: {name}" for name in names]
    with get_client(sync_client=True) as client:
        client.create_automation(read_automations()[0])  # a twin
        assert apply_automations() == [f"up to date: {name}" for name in names]
        assert [len(client.read_automations_by_name(name)) for name in names] == [1, 1]
    with pytest.raises(InputError, match=r"no block 'slack-webhook/missing'; create one"):
        apply_automations("slack-webhook/missing")
