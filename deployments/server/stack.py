"""``rded up`` and ``rded down``: start and stop a Prefect server and one worker on this machine."""

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
from filelock import FileLock, Timeout

from deployments.server.processes import Started, find_marked, kill, start, stop
from deployments.server.setup import (
    apply_deployments,
    client_of,
    create_pool,
    end_runs,
    is_healthy,
    is_online,
    runs_under_way,
)
from deployments.server.state import (
    SERVER_AUTH,
    Stack,
    environment_of,
    log_of,
    read_stack,
    server_auth,
    stack_folder,
    state_file,
    write_stack,
)
from rded_core.errors import InputError, RunStopped
from rded_core.text.wording import counted

FIRST_PORT = 4200
NUM_PORTS = 100
LOOPBACK = ("127.0.0.1", "localhost", "::1")

START_S = 300.0
"""Time limit for a start: a server may have to create its database, and a worker imports Prefect."""

BUSY_S = 60.0
STOP_S = 15.0
POLL_S = 0.5
TAIL_LINES = 12

Echo = Callable[[str], object]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Settings of the stack to start.

    Attributes:
        host: address to listen on.
        port: the server's port; by default 4200, or the next free one.
        pool: name of the work pool.
        database: URL of the server's database; by default an SQLite file in Prefect's home.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    pool: str = "rded"
    database: str | None = None


def up(wanted: Wanted, echo: Echo) -> Stack:
    """Returns the running stack, after starting it if needed and waiting until it is healthy; stops it if that fails.

    Args:
        wanted: settings of the stack; ignored if one is running already.
        echo: called with a line for each step.

    Raises:
        InputError: the address cannot be used, or is not allowed.
        RunStopped: the server or the worker does not start.
    """
    require_safe(wanted.host)
    with _alone():
        before = read_stack()
        if before and _runs(before):
            echo(f"already running at {before.url}; stop it with rded down")
            return before
        if before:
            echo("part of the previous stack has ended; restarting all of it")
            _stop(before, echo)
        stack = Stack(uuid.uuid4().hex, wanted.host, choose_port(wanted.host, wanted.port), wanted.pool)
        try:
            return _start(stack, wanted.database, echo, before)
        except BaseException:
            _stop(read_stack() or stack, echo)
            raise


def down(echo: Echo) -> None:
    """Stops the stack that `up` started and nothing else; returns when all its processes have ended."""
    with _alone():
        stack = read_stack()
        if stack is None:
            echo(f"nothing to stop: rded up has not been run ({state_file()} does not exist)")
        else:
            _stop(stack, echo, by_hand=True)


def require_safe(host: str) -> None:
    """Raises InputError if a server would be open to other machines without a password."""
    if host not in LOOPBACK and not server_auth(os.environ):
        raise InputError(
            f"--host {host} would let anyone start runs here; set {SERVER_AUTH}=USER:PASSWORD in the environment, or "
            "drop --host"
        )


def choose_port(host: str, port: int | None) -> int:
    """Returns the given port, else the first free one; raises InputError if it is taken, or none is free."""
    reason = ""
    for candidate in [port] if port else range(FIRST_PORT, FIRST_PORT + NUM_PORTS):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError as error:
                reason = error.strerror or str(error)
            else:
                return candidate
    ports = f"port {port}" if port else f"ports {FIRST_PORT} to {FIRST_PORT + NUM_PORTS - 1}"
    raise InputError(f"cannot listen on {ports} of {host}: {reason}; give another --port or --host")


def _runs(stack: Stack) -> bool:
    """Whether both processes run and the server answers; a busy one gets a minute."""
    parts = (stack.server, stack.worker)
    return all(part and part.find() for part in parts) and _answers(stack)


def _answers(stack: Stack) -> bool:
    """Whether the server answers within a minute: it may be busy, or its database locked."""
    auth, ends = server_auth(os.environ), time.monotonic() + BUSY_S
    while not (healthy := is_healthy(stack.api_url, auth)) and _find(stack.server) and time.monotonic() < ends:
        time.sleep(POLL_S)
    return healthy


def _start(stack: Stack, database: str | None, echo: Echo, before: Stack | None) -> Stack:
    """Starts server and worker, and marks unfinished runs of the previous worker as crashed."""
    environment, auth = environment_of(stack, database), server_auth(os.environ)
    echo(f"starting a server at {stack.url}, log {log_of('server')}")
    command = ("server", "start", "--host", stack.host, "--port", str(stack.port))
    server = start("prefect", "--no-prompt", *command, log=log_of("server"), environment=environment)
    stack = write_stack(replace(stack, server=server))
    _wait(lambda: is_healthy(stack.api_url, auth), server, "server", echo)
    with client_of(stack.api_url, auth) as client:
        create_pool(client, stack.pool)
        if before and (num_runs := end_runs(client, before.worker_name, by_hand=False)):
            pronoun = "it" if num_runs == 1 else "them"
            echo(f"{counted(num_runs, 'run')} crashed with the previous worker; rerun {pronoun} to resume")
        echo(f"applying the deployments of prefect.yaml, log {log_of('deploy')}")
        with _log_shown_on_failure(log_of("deploy"), echo):
            apply_deployments(environment, log_of("deploy"))
        echo(f"starting a worker for work pool {stack.pool}, log {log_of('worker')}")
        command = ("worker", "start", "--pool", stack.pool, "--name", stack.worker_name)
        worker = start("prefect", "--no-prompt", *command, log=log_of("worker"), environment=environment)
        stack = write_stack(replace(stack, worker=worker))
        _wait(lambda: is_online(client, stack.pool, stack.worker_name), worker, "worker", echo)
    return stack


def _wait(is_ready: Callable[[], bool], process: Started, part: str, echo: Echo) -> None:
    """Returns when a part is ready; shows the end of its log and raises RunStopped if it ends or takes too long."""
    deadline = time.monotonic() + START_S
    with _log_shown_on_failure(log_of(part), echo):
        while not is_ready():
            if process.find() is None:
                raise RunStopped(f"the {part} ended during startup; see its log {log_of(part)}")
            if time.monotonic() > deadline:
                raise RunStopped(f"the {part} did not answer within {START_S:.0f} s; see its log {log_of(part)}")
            time.sleep(POLL_S)


@contextmanager
def _log_shown_on_failure(log: Path, echo: Echo) -> Generator[None]:
    """Shows the end of a log if a block raises RunStopped."""
    try:
        yield
    except RunStopped:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]:
            echo(f"  {line}")
        raise


def _stop(stack: Stack, echo: Echo, *, by_hand: bool = False) -> None:
    """Stops what still runs of the worker, its runs and the server, and removes the state file.

    Runs that are stopped by hand are cancelled. Their processes would report a crash on SIGTERM, and crashed runs may
    be restarted automatically (``automations.yaml``): so they are killed, which loses nothing.
    """
    worker = _find(stack.worker)
    if by_hand and worker and _ask(stack, lambda client: runs_under_way(client, stack.worker_name)):
        kill([worker, *worker.children(recursive=True)])
        echo("worker stopped")
    else:
        _stop_part("worker", stack.worker, echo)
    if by_hand and (num_runs := _ask(stack, lambda client: end_runs(client, stack.worker_name, by_hand=True))):
        pronoun = "it" if num_runs == 1 else "them"
        echo(f"{counted(num_runs, 'active run')} stopped with it; rerun {pronoun} to resume")
    _stop_part("server", stack.server, echo)
    if orphans := find_marked(stack.mark):
        kill(orphans)
        echo(f"{counted(len(orphans), 'orphaned process')} killed")
    state_file().unlink(missing_ok=True)


def _find(part: Started | None) -> psutil.Process | None:
    return part.find() if part else None


def _stop_part(name: str, part: Started | None, echo: Echo) -> None:
    process = _find(part)
    if process:
        stop(process, grace_s=STOP_S)
    if part:
        echo(f"{name} {'stopped' if process else 'had already ended'}")


def _ask(stack: Stack, ask: Callable[[Any], Any]) -> Any:
    """Returns what `ask` gets from a client of a stack's server; None if the server does not answer."""
    auth = server_auth(os.environ)
    if not (_find(stack.server) and _answers(stack)):
        return None
    try:
        with client_of(stack.api_url, auth) as client:
            return ask(client)
    except httpx.HTTPError as error:
        _LOG.warning("cannot read or update the server's runs: %s", error)
        return None


@contextmanager
def _alone() -> Generator[None]:
    """Locks the state against another `rded up` or `rded down` while a block runs."""
    stack_folder().mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(stack_folder() / "lock", blocking=False):
            yield
    except Timeout:
        raise InputError("another rded up or rded down is running; wait until it is done") from None
