"""Automations: what Prefect's server does by itself about runs, applied from ``automations.yaml``."""

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
    """Reads the definitions: those that need nothing, and with the id of a notification block those that notify."""
    content: dict[str, Any] = yaml.safe_load(DEFINITIONS.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = content["automations"]
    for definition in content["notifications"] if notification_block else ():
        actions = [{**action, "block_document_id": notification_block} for action in definition["actions"]]
        found = [*found, {**definition, "actions": actions}]
    return [AutomationCore.model_validate(definition) for definition in found]


def apply_automations(notify: str | None = None) -> list[str]:
    """Brings the server's automations of these names to what is written here, and leaves all others.

    Args:
        notify: a notification block of the server, as ``TYPE/NAME``; without it nobody is notified.

    Returns:
        A line for each automation: what was done with it.

    Raises:
        InputError: no server is named, or it knows no such block.
    """
    if not PREFECT_API_URL.value():
        raise InputError("automations live on a server; name it: export PREFECT_API_URL=http://HOST:PORT/api")
    with get_client(sync_client=True) as client:
        block = _find_block(client, notify) if notify else None
        return [f"{_apply(client, automation)}: {automation.name}" for automation in read_automations(block)]


def _apply(client: SyncPrefectClient, automation: AutomationCore) -> str:
    known = client.read_automations_by_name(automation.name)
    if not known:
        client.create_automation(automation)
        return "created"
    client.update_automation(known[0].id, automation)
    for twin in known[1:]:  # of a `prefect automation create`, which looks for no name
        client.delete_automation(twin.id)
    return "up to date"


def _find_block(client: SyncPrefectClient, notify: str) -> str:
    kind, _, name = notify.partition("/")
    try:
        return str(client.read_block_document_by_name(name, kind, include_secrets=False).id)
    except ObjectNotFound as error:
        raise InputError(
            f"the server has no block {notify!r}; make one in its UI (Blocks), and name it as TYPE/NAME, such as "
            "slack-webhook/operators"
        ) from error
