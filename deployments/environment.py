"""Prefect's settings for runs from the command line, set before Prefect is imported."""

import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from rded_core.errors import InputError, OutInUse, RunStopped

LOG_FORMAT = "%(asctime)s  %(message)s"

ENDED_WELL = ("Finished in state Completed", "Finished in state Cached")

LOOPBACK = ("127.0.0.1", "localhost", "::1")

PROXIES = ("http_proxy", "https_proxy", "all_proxy")

SOCKS5 = ("socks5", "socks5h")

CLUSTER_SCHEMES = ("tcp://", "tls://", "ray://")

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def prepare_environment() -> None:
    """Sets defaults that let flows run without any set-up; everything that the user configured stays.

    A Prefect home that exists (or is named) is used, with its profile and server. Otherwise Prefect keeps its files in
    the project folder and starts its own local server, with enough time for a first start.
    """
    if "PREFECT_HOME" not in os.environ and not (Path.home() / ".prefect" / "profiles.toml").exists():
        os.environ["PREFECT_HOME"] = str(PROJECT_ROOT / ".prefect")
    defaults = {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "DO_NOT_TRACK": "1",
        "DASK_LOGGING__DISTRIBUTED": "warning",
        "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",  # a killed worker's semaphores are removed
        "PREFECT_LOGGING_EXTRA_LOGGERS": "rded_core",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": LOG_FORMAT,
        "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": LOG_FORMAT,
        # Records of finished task runs, batched so that none is lost when many finish at once.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "500",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    reach_loopback_directly()


def reach_loopback_directly() -> None:
    """Exempts this machine from proxies, which cannot reach its servers; nothing if no proxy is set."""
    kept = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if not _proxy_variables() or "*" in kept:
        return
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host.strip() for host in (os.environ.get(name) or kept).split(",") if host.strip()]
        os.environ[name] = ",".join([*hosts, *(host for host in LOOPBACK if host not in hosts)])


def drop_unusable_proxies(arguments: Sequence[str]) -> str:
    """Removes proxies of a kind that Prefect's client cannot use if no URL is named; returns a note on that, or "".

    The client refuses to start with such a proxy, even for servers that are exempt from it.

    Args:
        arguments: of the command line.

    Raises:
        InputError: a URL is named, also in the file of ``--config``, so that the proxy may be needed.
    """
    kinds = ("http", "https", *(SOCKS5 if find_spec("socksio") else ()))
    names = [name for name in _proxy_variables() if _scheme(os.environ[name]) not in kinds]
    if not names or "*" in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""):
        return ""
    fault, remedy = _proxy_fault(names[0])
    server = os.environ.get("PREFECT_API_URL", "")
    urls = [text for text in arguments if "://" in text and not text.startswith(CLUSTER_SCHEMES)]
    if urls or _config_has_url(arguments) or (server and urlsplit(server).hostname not in LOOPBACK):
        raise InputError(f"{fault}; {remedy}")
    for name in names:
        del os.environ[name]
    return f"{fault}, so it is not used; {remedy}"


def _proxy_fault(name: str) -> tuple[str, str]:
    """Returns why Prefect's client cannot use the proxy that a variable names, and the remedy."""
    scheme = _scheme(os.environ[name])
    if scheme in SOCKS5:
        fault = f"{name} names a proxy ({scheme}) that needs the package socksio"
        return fault, "install it (pip install socksio), or unset the variable"
    return (
        f"{name} names a proxy ({scheme}) that is not supported",
        "name an http or socks5 proxy, or unset the variable",
    )


def _config_has_url(arguments: Sequence[str]) -> bool:
    """Whether a file given by ``--config`` holds a URL, or cannot be read."""
    following = [after for before, after in pairwise(arguments) if before == "--config"]
    files = [*following, *(text.partition("=")[2] for text in arguments if text.startswith("--config="))]
    try:
        return any(b"://" in Path(file).read_bytes() for file in files)
    except OSError:
        return True


def _proxy_variables() -> list[str]:
    """Returns the names of the variables that set a proxy."""
    return [name for name in os.environ if name.lower() in PROXIES and os.environ[name]]


def _scheme(proxy: str) -> str:
    """Returns the scheme of a proxy's address, which is ``http`` if it has none."""
    return proxy.partition("://")[0].lower() if "://" in proxy else "http"


def tidy_logs() -> None:
    """Hides log lines that do not help in a terminal: completed states, and tracebacks of a user's mistake.

    The command line reports a mistake in one line of its own. State changes stay visible in Prefect's UI.
    """
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_is_worth_a_line)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], InputError | RunStopped):
        return False
    message = record.getMessage()
    if "aborted by a termination signal" in message:  # the command line says what to do about it
        return False
    is_mistake = any(error.__name__ in message for error in (InputError, OutInUse, RunStopped))
    return not is_mistake and not message.startswith(ENDED_WELL)
