"""One Prefect server per pytest worker, on a copy of one migrated database."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.shared import MakeOnce

DATABASE = "prefect-test.db"
"""The file name that `prefect_test_harness` uses."""


@pytest.fixture(scope="session")
def prefect_database(make_once: MakeOnce) -> Path:
    """Returns an empty database with all tables, to copy; the migrations take half of a server's first start."""
    return make_once("prefect", _migrate) / DATABASE


def _migrate(folder: Path) -> None:
    url = f"sqlite+aiosqlite:///{folder / 'new.db'}"
    environment = {**os.environ, "PREFECT_HOME": str(folder), "PREFECT_SERVER_DATABASE_CONNECTION_URL": url}
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    with closing(sqlite3.connect(folder / "new.db")) as made:
        made.execute("VACUUM INTO ?", (str(folder / DATABASE),))


@pytest.fixture(scope="session")
def prefect_harness(prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs Prefect on a temporary database, started once; flows of tests run inside it."""
    from prefect.settings import temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    folder = tmp_path_factory.mktemp("harness")
    shutil.copy(prefect_database, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect.testing.utilities.mkdtemp", lambda: str(folder))
        with temporary_settings(_without_idle_work()), prefect_test_harness(server_startup_timeout=180):
            yield


def _without_idle_work() -> dict[Any, bool]:
    """Returns settings that switch off what a server does all the time and no test of the harness waits for."""
    from prefect import settings

    names = ("SCHEDULER", "LATE_RUNS", "FOREMAN", "CANCELLATION_CLEANUP", "PAUSE_EXPIRATIONS")
    return {getattr(settings, f"PREFECT_SERVER_SERVICES_{name}_ENABLED"): False for name in names}


@pytest.fixture(scope="session")
def prefect_environment(
    prefect_harness: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Returns the environment of commands that report to the server of `prefect_harness`."""
    from prefect.settings import PREFECT_API_URL

    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(tmp_path_factory.mktemp("home")),
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
