"""Test ids and marks that follow from what a test is given."""

import pytest

SERVERS = {"prefect_harness", "s3_server"}


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names bytes after their parameter: their content may differ between xdist workers, which then stop."""
    return argname if isinstance(val, bytes) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks tests whose fixtures start a server, for `make test-fast` to leave out."""
    if SERVERS & set(getattr(item, "fixturenames", ())):
        item.add_marker("server")
