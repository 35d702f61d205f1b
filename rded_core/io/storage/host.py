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
    """Names a machine in letters and digits: the first of its own name, and a digest that tells it from its like."""
    readable = re.sub(r"[^A-Za-z0-9]", "", node.partition(".")[0])[:16] or "host"
    return readable + hashlib.sha256(node.encode()).hexdigest()[:8]


HOST = host_name(platform.node())
"""This machine, as temporary names say it: folders may be shared, and process numbers are each machine's own."""


def is_running(pid: int) -> bool:
    """Tells whether a process of this machine is there, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def who_am_i() -> str:
    """Names this process as people know it: number, machine, since when, command."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return mask_secrets(f"process {os.getpid()} on {platform.node()} since {since} ({command})")


def machine() -> str:
    """Names what process numbers are unique in: a machine since its start, and a container's own numbers there."""
    boot, numbers = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    with suppress(OSError):
        return f"{HOST}-{boot.read_text().strip()}-{numbers.readlink()}"
    return f"{HOST}-{uuid.getnode()}"
