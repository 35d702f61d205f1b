"""State of `rded up`: its state file, its URLs, and the environment of its processes."""

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
"""Maps addresses that a server listens on to those under which this machine reaches it."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A server and a worker.

    Attributes:
        mark: value of `MARK` in the environment of all their processes.
        host: address that the server listens on.
        port: the server's port.
        pool: the work pool of the worker.
        server: the server's process; None before it is started.
        worker: the worker's process, likewise.
    """

    mark: str
    host: str
    port: int
    pool: str
    server: Started | None = None
    worker: Started | None = None

    @property
    def url(self) -> str:
        """URL of the server's UI, as seen from this machine."""
        host = EVERY_ADDRESS.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def api_url(self) -> str:
        """URL of the server's API."""
        return f"{self.url}/api"

    @property
    def worker_name(self) -> str:
        """The worker's name on the server: new for each stack, so that an earlier worker is not mistaken for it."""
        return f"rded-{self.mark[:8]}"


def stack_folder() -> Path:
    """Returns the folder of the state file and the logs, in Prefect's home."""
    return Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser() / "rded"


def state_file() -> Path:
    """Returns the path of the state file."""
    return stack_folder() / "stack.json"


def log_of(part: str) -> Path:
    """Returns the path of the log of the ``server``, the ``worker`` or ``deploy``."""
    return stack_folder() / f"{part}.log"


def write_stack(stack: Stack) -> Stack:
    """Writes the state file, and returns `stack`."""
    state_file().parent.mkdir(parents=True, exist_ok=True)
    write_text(state_file(), json.dumps(asdict(stack), indent=1) + "\n")
    return stack


def read_stack() -> Stack | None:
    """Returns the stack that was started and not stopped, or None.

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
    """Returns the environment of a stack's processes: this process's, with the server's addresses.

    Args:
        stack: the stack to start.
        database: URL of the server's database, if not the default; never stored, since it may contain a password.
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
    """Returns ``USER:PASSWORD`` of the server; None if it has no password."""
    return environment.get(SERVER_AUTH) or None


def with_driver(database: str) -> str:
    """Returns a database's URL with the driver that Prefect needs: ``postgresql+asyncpg://`` for ``postgresql://``."""
    scheme, colon, rest = database.partition("://")
    drivers = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
    return f"{drivers.get(scheme, scheme)}{colon}{rest}"
