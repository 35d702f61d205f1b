"""Test ids and marks that follow from what a test is given, and what happens once all tests are known."""

import gc

import pytest

SERVERS = {"prefect_harness", "s3_server"}


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names bytes after their parameter: their content may differ between xdist workers, which then stop."""
    return argname if isinstance(val, bytes) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks tests whose fixtures start a server, for `make test-fast` to leave out."""
    if SERVERS & set(getattr(item, "fixturenames", ())):
        item.add_marker("server")


def pytest_collection_finish() -> None:
    """Takes everything imported so far out of garbage collection, each of which would look at a million objects."""
    gc.collect()
    gc.freeze()
