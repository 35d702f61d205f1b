"""The command line in a process with injected faults: file operations are logged, and one of them kills it.

``python -m tests.faults.child OPTIONS.json ARGUMENTS`` is ``rded ARGUMENTS`` in a separate process, with Prefect;
`run_undecorated` is the same without Prefect, for a fork server that has already imported torch.
"""

import ctypes
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CAPABILITY_VERSION = 0x20080522
DAC_CAPABILITIES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of Linux."""

WATCHED = ("fsync", "replace", "rename", "link", "unlink", "rmdir")
"""Functions of `os` that change a run's folder, regardless of the caller."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Faults to inject into a process.

    Attributes:
        root: folder whose file operations are watched.
        log: file to list the operations in, one per line.
        dies_at: the operation at which the process kills itself, as listed in the log.
        after: kill after the operation, not before.
        wait_for: file that must exist before the run starts.
        obeys_permissions: obey file permissions even as root.
        max_file_bytes: size of the largest file that it may write.
    """

    root: str
    log: str | None = None
    dies_at: str | None = None
    after: bool = False
    wait_for: str | None = None
    obeys_permissions: bool = False
    max_file_bytes: int | None = None

    def save(self, path: Path) -> Path:
        """Writes the options for `main`."""
        path.write_text(json.dumps(asdict(self)))
        return path


def plain_name(path: str) -> str:
    """Returns a path with machine and process removed from temporary names, so that it is the same for every run."""
    return re.sub(r"\.\w+-\d+\.tmp$", ".tmp", path)


class Trap:
    """Watcher of the operations below a folder, which kills the process at one of them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.root = Path(options.root).resolve()

    def set(self) -> None:
        """Wraps the watched functions of `os`."""
        for name in WATCHED:
            setattr(os, name, self._watch(name, getattr(os, name)))

    def _watch(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            event = self._event(name, args[-1], kwargs.get("dir_fd"))
            is_last = event is not None and event == self.options.dies_at
            if is_last and not self.options.after:
                os.kill(os.getpid(), signal.SIGKILL)
            outcome = operation(*args, **kwargs)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            if event and self.options.log:
                with Path(self.options.log).open("a") as stream:
                    stream.write(f"{event}\n")
            return outcome

        return watched

    def _event(self, name: str, target: Any, folder: int | None) -> str | None:
        if isinstance(target, int):
            path = Path(f"/proc/self/fd/{target}").readlink()
        elif folder is not None:
            path = Path(f"/proc/self/fd/{folder}").readlink() / target
        else:
            path = Path(target).parent.resolve() / Path(target).name
        if not path.is_relative_to(self.root):
            return None
        return f"{name} {plain_name(path.relative_to(self.root).as_posix())}"


def prepare(options: Options) -> None:
    """Applies the options to this process, and waits for the file that starts it."""
    if options.log or options.dies_at:
        Trap(options).set()
    if options.max_file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.max_file_bytes, options.max_file_bytes))
    if options.obeys_permissions:
        obey_permissions()
    while options.wait_for and not Path(options.wait_for).exists():
        time.sleep(0.001)


def obey_permissions() -> None:
    """Drops root's right to ignore file permissions, for this process; does nothing for other users."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, words = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, words)
    for number in range(3):  # effective, permitted, inheritable
        words[number] &= ~DAC_CAPABILITIES
    assert libc.capset(header, words) == 0, os.strerror(ctypes.get_errno())


def run_undecorated(arguments: list[str], options: Options, output: str) -> None:
    """Runs the command line without Prefect, in its own session; stdout and stderr go to a file."""
    os.setsid()
    stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    take_decorators_off()
    prepare(options)
    _run(arguments)


def take_decorators_off() -> None:
    """Makes flows call plain functions for the rest of this process, which needs no server then."""
    from prefect import Flow, Task

    import flows.distill
    import flows.evaluate
    from deployments.server import temporary

    temporary.start = lambda: None

    for module in (flows.distill, flows.evaluate):
        for name, value in list(vars(module).items()):
            if isinstance(value, Flow | Task):
                setattr(module, name, value.fn)


def _run(arguments: list[str]) -> None:
    from deployments.cli.main import run_as_script

    sys.argv = ["rded", *arguments]
    run_as_script()


def main() -> None:
    """Runs the command line with Prefect and the options of a file."""
    prepare(Options(**json.loads(Path(sys.argv[1]).read_text())))
    _run(sys.argv[2:])


if __name__ == "__main__":
    main()
