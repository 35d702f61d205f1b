"""Prefect's temporary server for one command, used if no server is configured; it ends with the command's process.

Prefect would start one too. Ours is in a session of its own, so that Ctrl-C does not end it before the run is reported
to it, and it watches the process that started it, so that it ends even after ``kill -9``.
"""

import atexit
import http.client
import logging
import os
import socket
import subprocess
import sys
import time

from deployments.environment import PROJECT_ROOT
from deployments.server.state import SERVER_AUTH, log_of
from rded_core.errors import RunStopped

PROCESS = "deployments.server.temporary_process"
POLL_S = 0.1
STOP_S = 8.0
MAX_LOG_BYTES = 1 << 20
TIMEOUT_VARIABLE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"

_process: subprocess.Popen[bytes] | None = None
_port = 0


def start() -> None:
    """Starts the server in the background and names it in PREFECT_API_URL; nothing if a server is configured.

    It takes some seconds: `wait` before the first request.
    """
    global _process, _port
    if _process or os.environ.get("PREFECT_API_URL"):
        return
    print("checking the inputs, starting Prefect with a local server (a few seconds) ...", file=sys.stderr, flush=True)
    if _is_in_profile():
        return
    with socket.create_server(("127.0.0.1", 0)) as listening:
        _port = listening.getsockname()[1]
        _process = _launch(listening)
    atexit.register(stop)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{_port}/api"
    if auth := os.environ.get(SERVER_AUTH):
        os.environ.setdefault("PREFECT_API_AUTH_STRING", auth)
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()
    logging.getLogger("prefect.flow_runs").addFilter(_is_no_link)


def _is_no_link(record: logging.LogRecord) -> bool:
    """Drops the line with a run's address in the UI, which this server does not have."""
    return not record.getMessage().startswith("View at ")


def _is_in_profile() -> bool:
    """Whether Prefect's settings name a server elsewhere than in the environment."""
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


def _launch(listening: socket.socket) -> subprocess.Popen[bytes]:
    """Starts the process that serves a socket; connections made before it is ready wait."""
    log = log_of("temporary-server")
    log.parent.mkdir(parents=True, exist_ok=True)
    is_long = log.is_file() and log.stat().st_size > MAX_LOG_BYTES
    paths = filter(None, (str(PROJECT_ROOT), os.environ.get("PYTHONPATH")))
    with log.open("wb" if is_long else "ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", PROCESS, str(listening.fileno()), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PREFECT_UI_ENABLED": "false"},
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )


def wait() -> None:
    """Returns once the server that `start` started answers, or the one that is configured.

    Raises:
        RunStopped: it has ended, or does not answer in time.
    """
    if _process is None:
        from deployments.server.configured import require_answer

        require_answer()
    deadline = time.monotonic() + float(os.environ.get(TIMEOUT_VARIABLE, "180"))
    while _process and not _answers():
        if _process.poll() is not None:
            raise RunStopped(f"Prefect's local server ended during its start; see its log {log_of('temporary-server')}")
        if time.monotonic() > deadline:
            raise RunStopped(
                f"Prefect's local server did not answer in time; run again, or give it longer with {TIMEOUT_VARIABLE}"
            )
        time.sleep(POLL_S)


def _answers() -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", _port, timeout=POLL_S * 10)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(*, within_s: float = STOP_S) -> None:
    """Ends the server, and waits for that as long as `within_s`; nothing if there is none."""
    global _process
    close()
    process, _process = _process, None
    if process is None:
        return
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()


def close() -> None:
    """Asks the server to end, without waiting for that; nothing if there is none."""
    if _process and _process.stdin:
        _process.stdin.close()
