"""The server that the user configured, asked for an answer before a run is sent to it."""

import time

import httpx

from deployments.server.setup import is_healthy
from rded_core.errors import RunStopped
from rded_core.text.secrets import mask_secrets

PATIENCE_S = 10.0
POLL_S = 1.0


def require_answer() -> None:
    """Returns once the server in PREFECT_API_URL or in Prefect's profile answers; at once if none is named.

    Raises:
        RunStopped: it does not answer within `PATIENCE_S` seconds.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

    url, auth = PREFECT_API_URL.value(), PREFECT_API_AUTH_STRING.value()
    ends = time.monotonic() + PATIENCE_S
    while url and not _answers(str(url), auth):
        if time.monotonic() > ends:
            raise RunStopped(
                f"the Prefect server at {mask_secrets(str(url))} does not answer; start it, correct its address "
                "(PREFECT_API_URL, or Prefect's profile), or unset that to use a local server"
            )
        time.sleep(POLL_S)


def _answers(url: str, auth: str | None) -> bool:
    try:
        return is_healthy(url, auth)
    except (httpx.HTTPError, OSError):
        return False
