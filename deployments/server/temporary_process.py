"""The process of the temporary server: ``python -m deployments.server.temporary_process SOCKET PARENT``.

It serves an inherited socket until its standard input is closed, or the process that started it has ended. Signals are
left to that process: Slurm and terminals send them to all processes of a job, and the run's end is still to be
reported.
"""

import os
import signal
import socket
import sys
from threading import Event, Thread

import psutil
import uvicorn

POLL_S = 0.2
STOP_S = 5.0
LEFT_TO_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def serve(listening: socket.socket, parent: int) -> None:
    """Serves Prefect's API; returns when the server has ended, or should have."""
    for number in LEFT_TO_PARENT:
        signal.signal(number, signal.SIG_IGN)
    is_closed, has_begun = Event(), Event()
    Thread(target=_wait_for_end_of_input, args=(is_closed, has_begun), daemon=True).start()
    from prefect.server.api.server import create_app

    server = uvicorn.Server(uvicorn.Config(create_app(ephemeral=True, final=True), log_level="error", lifespan="on"))
    serving = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    has_begun.set()
    serving.start()
    while serving.is_alive() and not is_closed.wait(POLL_S) and os.getppid() == parent:
        pass
    server.should_exit = True
    serving.join(STOP_S)


def _wait_for_end_of_input(is_closed: Event, has_begun: Event) -> None:
    """Tells that the command is done; ends the process at once if it is not using its database yet."""
    sys.stdin.buffer.read()
    is_closed.set()
    if not has_begun.is_set():
        os._exit(0)


def end() -> None:
    """Ends this process at once, and those that it started."""
    for process in psutil.Process().children(recursive=True):
        process.kill()
    os._exit(0)


if __name__ == "__main__":
    try:
        serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    finally:
        end()
