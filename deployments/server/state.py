"""What `rded up` has started: where it is noted, where it is reached, and the environment of its processes."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deployments.server.processes import MARK, Started
from rded_core.errors import InputError
from rded_core.io.storage.atomic import write_text

SERVER_AUTH = "PREFECT_SERVER_API_AUTH_STRING"
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}
"""Addresses that a server listens on, to those under which this machine reaches it."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A server and a worker.

    Attributes:
        mark: what all their processes bear in their environment.
        host: address that the server listens on.
        port: the server's.
        pool: the work pool of the worker.
        server: its process; None before it is started.
        worker: its process, likewise.
    """

    mark: str
    host: str
    port: int
    pool: str
    server: Started | None = None
    worker: Started | None = None

    @property
    def url(self) -> str:
        """Where the server's pages are, seen from this machine."""
        host = EVERY_ADDRESS.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def api_url(self) -> str:
        """Where the server's API is."""
        return f"{self.url}/api"

    @property
    def worker_name(self) -> str:
        """The worker's name on the server: new for each stack, so that one of before is not taken for it."""
        return f"rded-{self.mark[:8]}"


def stack_folder() -> Path:
    """Returns where the state file and the logs lie: in Prefect's home."""
    return Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser() / "rded"


def state_file() -> Path:
    """Returns the file that says what was started."""
    return stack_folder() / "stack.json"


def log_of(part: str) -> Path:
    """Returns the file that holds what the ``server``, the ``worker`` or ``deploy`` print."""
    return stack_folder() / f"{part}.log"


def write_stack(stack: Stack) -> Stack:
    """Notes what was started."""
    state_file().parent.mkdir(parents=True, exist_ok=True)
    write_text(state_file(), json.dumps(asdict(stack), indent=1) + "\n")
    return stack


def read_stack() -> Stack | None:
    """Returns what was started and not stopped; None where nothing was.

    Raises:
        InputError: the state file is damaged.
    """
    try:
        fields: dict[str, Any] = json.loads(state_file().read_text(encoding="utf-8"))
        for part in ("server", "worker"):
            fields[part] = Started(**fields[part]) if fields[part] else None
        return Stack(**fields)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{state_file()} is damaged ({error}); delete it, and stop server and worker by their process ids"
        ) from error


def environment_of(stack: Stack, database: str | None = None) -> dict[str, str]:
    """Returns the environment of a stack's processes: this one's, with where the server is.

    Args:
        stack: what is started.
        database: URL of the server's database, where it is not the default; noted nowhere: it may hold a password.
    """
    seen_at = f"http://{os.uname().nodename}:{stack.port}" if stack.host in ("0.0.0.0", "::") else stack.url
    environment = {
        "PREFECT_SERVER_UI_API_URL": f"{seen_at}/api",
        "RDED_FOLDER": str(Path.cwd()),
        **os.environ,
        MARK: stack.mark,
        "PREFECT_API_URL": stack.api_url,
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "RDED_WORK_POOL": stack.pool,
    }
    if auth := server_auth(os.environ):
        environment["PREFECT_API_AUTH_STRING"] = auth
    if database:
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = with_driver(database)
    return environment


def server_auth(environment: Mapping[str, str]) -> str | None:
    """Returns ``USER:PASSWORD`` of the server, where it asks for one."""
    return environment.get(SERVER_AUTH) or None


def with_driver(database: str) -> str:
    """Returns a database's URL with the driver that Prefect needs: ``postgresql://`` is ``postgresql+asyncpg://``."""
    scheme, colon, rest = database.partition("://")
    drivers = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
    return f"{drivers.get(scheme, scheme)}{colon}{rest}"
