"""Automations: Prefect's automatic reactions to events of runs, applied from ``automations.yaml``."""

from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from rded_core.errors import InputError

DEFINITIONS = Path(__file__).with_name("automations.yaml")


def read_automations(notification_block: str | None = None) -> list[AutomationCore]:
    """Returns the defined automations; those that notify only if the id of a notification block is given."""
    content: dict[str, Any] = yaml.safe_load(DEFINITIONS.read_text(encoding="utf-8"))
    definitions: list[dict[str, Any]] = content["automations"]
    for definition in content["notifications"] if notification_block else ():
        actions = [{**action, "block_document_id": notification_block} for action in definition["actions"]]
        definitions = [*definitions, {**definition, "actions": actions}]
    return [AutomationCore.model_validate(definition) for definition in definitions]


def apply_automations(notify: str | None = None) -> list[str]:
    """Creates or updates the defined automations on the server, by name; all others stay.

    Args:
        notify: a notification block of the server, as ``TYPE/NAME``; without it no notifications are sent.

    Returns:
        A line for each automation: whether it was created or is up to date.

    Raises:
        InputError: no server is named, or it does not have the block.
    """
    if not PREFECT_API_URL.value():
        raise InputError("automations need a Prefect server; name one: export PREFECT_API_URL=http://HOST:PORT/api")
    with get_client(sync_client=True) as client:
        block = _find_block(client, notify) if notify else None
        return [f"{_apply(client, automation)}: {automation.name}" for automation in read_automations(block)]


def _apply(client: SyncPrefectClient, automation: AutomationCore) -> str:
    existing = client.read_automations_by_name(automation.name)
    if not existing:
        client.create_automation(automation)
        return "created"
    client.update_automation(existing[0].id, automation)
    for twin in existing[1:]:  # from `prefect automation create`, which does not check names
        client.delete_automation(twin.id)
    return "up to date"


def _find_block(client: SyncPrefectClient, notify: str) -> str:
    kind, _, name = notify.partition("/")
    try:
        return str(client.read_block_document_by_name(name, kind, include_secrets=False).id)
    except ObjectNotFound as error:
        raise InputError(
            f"the server has no block {notify!r}; create one in its UI (Blocks) and give it as TYPE/NAME, such as "
            "slack-webhook/operators"
        ) from error
