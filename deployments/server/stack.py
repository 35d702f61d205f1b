"""``rded up`` and ``rded down``: a Prefect server and one worker on this machine, started and stopped as one."""

import fcntl
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
"""A server's first start makes its database; a worker's imports Prefect."""

BUSY_S = 60.0
STOP_S = 15.0
POLL_S = 0.5
TAIL_LINES = 12

Tell = Callable[[str], object]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to start.

    Attributes:
        host: address to listen on.
        port: the server's; by default 4200, or the next that is free.
        pool: name of the work pool.
        database: URL of the server's database; by default an SQLite file in Prefect's home.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    pool: str = "rded"
    database: str | None = None


def up(wanted: Wanted, tell: Tell) -> Stack:
    """Starts what does not run yet, and returns when all of it is healthy; where it fails, stops what it started.

    Args:
        wanted: what to start; where it runs already, that stays as it is.
        tell: called with a line for each thing done.

    Raises:
        InputError: the address cannot be used, or may not be.
        RunStopped: server or worker do not start.
    """
    require_safe(wanted.host)
    with _alone():
        before = read_stack()
        if before and _runs(before):
            tell(f"runs already at {before.url}; rded down stops it")
            return before
        if before:
            tell("what was started before has ended in part: starting anew")
            _stop(before, tell)
        stack = Stack(uuid.uuid4().hex, wanted.host, choose_port(wanted.host, wanted.port), wanted.pool)
        try:
            return _start(stack, wanted.database, tell, before)
        except BaseException:
            _stop(read_stack() or stack, tell)
            raise


def down(tell: Tell) -> None:
    """Stops what `up` started and nothing else; returns when all of it has ended."""
    with _alone():
        stack = read_stack()
        if stack is None:
            tell(f"nothing to stop: rded up has started nothing (no {state_file()})")
        else:
            _stop(stack, tell, by_hand=True)


def require_safe(host: str) -> None:
    """Raises InputError where a server would be open to other machines without a password."""
    if host not in LOOPBACK and not server_auth(os.environ):
        raise InputError(
            f"--host {host} would let anybody start runs here; set {SERVER_AUTH}=USER:PASSWORD in the environment, or "
            "leave --host out"
        )


def choose_port(host: str, port: int | None) -> int:
    """Returns the port asked for, or the first free one; raises InputError where it is taken, or none is free."""
    reason = ""
    for candidate in [port] if port else range(FIRST_PORT, FIRST_PORT + NUM_PORTS):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((host, candidate))
            except OSError as error:
                reason = error.strerror or str(error)
            else:
                return candidate
    ports = f"port {port}" if port else f"ports {FIRST_PORT} to {FIRST_PORT + NUM_PORTS - 1}"
    raise InputError(f"cannot listen on {ports} of {host}: {reason}; give another --port or --host")


def _runs(stack: Stack) -> bool:
    """Tells whether both processes are there, and the server answers; a busy one is given a minute."""
    parts = (stack.server, stack.worker)
    return all(part and part.find() for part in parts) and _answers(stack)


def _answers(stack: Stack) -> bool:
    """Tells whether the server answers within a minute: it may be busy, or its database locked."""
    auth, ends = server_auth(os.environ), time.monotonic() + BUSY_S
    while not (healthy := is_healthy(stack.api_url, auth)) and _find(stack.server) and time.monotonic() < ends:
        time.sleep(POLL_S)
    return healthy


def _start(stack: Stack, database: str | None, tell: Tell, before: Stack | None) -> Stack:
    """Starts server and worker; runs of a worker before, which has ended without a word, have crashed."""
    environment, auth = environment_of(stack, database), server_auth(os.environ)
    tell(f"starting a server at {stack.url}, log {log_of('server')}")
    command = ("server", "start", "--host", stack.host, "--port", str(stack.port))
    server = start("prefect", "--no-prompt", *command, log=log_of("server"), environment=environment)
    stack = write_stack(replace(stack, server=server))
    _wait(lambda: is_healthy(stack.api_url, auth), server, "server", tell)
    with client_of(stack.api_url, auth) as client:
        create_pool(client, stack.pool)
        if before and (num_runs := end_runs(client, before.worker_name, by_hand=False)):
            tell(f"{counted(num_runs, 'run')} had ended with the worker before: crashed; run again, they go on")
        tell(f"applying the deployments of prefect.yaml, log {log_of('deploy')}")
        with _told(log_of("deploy"), tell):
            apply_deployments(environment, log_of("deploy"))
        tell(f"starting a worker of work pool {stack.pool}, log {log_of('worker')}")
        command = ("worker", "start", "--pool", stack.pool, "--name", stack.worker_name)
        worker = start("prefect", "--no-prompt", *command, log=log_of("worker"), environment=environment)
        stack = write_stack(replace(stack, worker=worker))
        _wait(lambda: is_online(client, stack.pool, stack.worker_name), worker, "worker", tell)
    return stack


def _wait(is_ready: Callable[[], bool], process: Started, part: str, tell: Tell) -> None:
    """Returns when a part is ready; raises RunStopped, with its log's end told, where it ends or takes too long."""
    deadline = time.monotonic() + START_S
    with _told(log_of(part), tell):
        while not is_ready():
            if process.find() is None:
                raise RunStopped(f"the {part} ended while it was starting; its log is {log_of(part)}")
            if time.monotonic() > deadline:
                raise RunStopped(f"the {part} did not answer within {START_S:.0f} s; its log is {log_of(part)}")
            time.sleep(POLL_S)


@contextmanager
def _told(log: Path, tell: Tell) -> Generator[None]:
    """Tells the end of a log where a block fails."""
    try:
        yield
    except RunStopped:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]:
            tell(f"  {line}")
        raise


def _stop(stack: Stack, tell: Tell, *, by_hand: bool = False) -> None:
    """Stops the worker, its runs and the server, whatever is left of them, and forgets the stack.

    Runs that are stopped by hand are cancelled. Asked to end, their processes would say that they crashed, and crashed
    runs may be begun again by themselves (``automations.yaml``): so they are killed, which loses nothing.
    """
    worker = _find(stack.worker)
    if by_hand and worker and _ask(stack, lambda client: runs_under_way(client, stack.worker_name)):
        kill([worker, *worker.children(recursive=True)])
        tell("worker stopped")
    else:
        _stop_part("worker", stack.worker, tell)
    if by_hand and (num_runs := _ask(stack, lambda client: end_runs(client, stack.worker_name, by_hand=True))):
        tell(f"{counted(num_runs, 'run')} under way stopped with it; run again, they go on where they were")
    _stop_part("server", stack.server, tell)
    if left := find_marked(stack.mark):
        kill(left)
        tell(f"{counted(len(left), 'process')} that they had left behind: killed")
    state_file().unlink(missing_ok=True)


def _find(part: Started | None) -> psutil.Process | None:
    return part.find() if part else None


def _stop_part(name: str, part: Started | None, tell: Tell) -> None:
    process = _find(part)
    if process:
        stop(process, grace_s=STOP_S)
    if part:
        tell(f"{name} {'stopped' if process else 'had ended'}")


def _ask(stack: Stack, ask: Callable[[Any], Any]) -> Any:
    """Asks a stack's server, through a client, and returns its answer; nothing where it does not answer."""
    auth = server_auth(os.environ)
    if not (_find(stack.server) and _answers(stack)):
        return None
    try:
        with client_of(stack.api_url, auth) as client:
            return ask(client)
    except httpx.HTTPError as error:
        _LOG.warning("the server does not say what runs, or take that it has ended: %s", error)
        return None


@contextmanager
def _alone() -> Generator[None]:
    """Holds the state against another `rded up` or `rded down` while a block runs."""
    stack_folder().mkdir(parents=True, exist_ok=True)
    with (stack_folder() / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("another rded up or rded down is at work; wait until it is done") from None
        yield
