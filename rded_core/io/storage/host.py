"""This machine and its processes: names, and whether a writer still runs."""

import hashlib
import os
import platform
import re
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

from rded_core.text.secrets import mask_secrets


def host_name(node: str) -> str:
    """Returns a machine's name in letters and digits: the start of its host name, and a digest to keep it unique."""
    readable = re.sub(r"[^A-Za-z0-9]", "", node.partition(".")[0])[:16] or "host"
    return readable + hashlib.sha256(node.encode()).hexdigest()[:8]


HOST = host_name(platform.node())
"""This machine's name in temporary names: folders may be shared, and process IDs are unique on one machine only."""


def is_running(pid: int) -> bool:
    """Returns True if a process with this ID runs on this machine, under any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # a process of another user
        return True
    return True


def who_am_i() -> str:
    """Returns a description of this process for people: ID, machine, the time now, command; secrets masked."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return mask_secrets(f"process {os.getpid()} on {platform.node()} since {since} ({command})")


def machine() -> str:
    """Returns an identifier of the scope in which process IDs are unique: this machine's boot and PID namespace."""
    boot, numbers = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    with suppress(OSError):
        return f"{HOST}-{boot.read_text().strip()}-{numbers.readlink()}"
    return f"{HOST}-{uuid.getnode()}"
