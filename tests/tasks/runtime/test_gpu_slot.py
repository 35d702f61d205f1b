"""The server's GPU limit: a slot is held only while a network runs on a GPU."""

from typing import Any

import pytest
import torch
from prefect import flow, get_client, task

from tasks.runtime import gpu_slot as module
from tasks.runtime.gpu_slot import GPU_LIMIT, LIMIT_VARIABLE, gpu_slot


def _slots_taken(name: str) -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(name).active_slots


@task
def _hold(device: str, name: str) -> tuple[int, int]:
    with gpu_slot(device):
        during = _slots_taken(name)
    return during, _slots_taken(name)


@flow
def _run(device: str, name: str) -> tuple[int, int]:
    return _hold(device, name)


@pytest.fixture
def fake_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_device", lambda name: torch.device(name))


@pytest.mark.usefixtures("prefect_harness", "fake_devices")
def test_slot_is_held_while_a_gpu_is_used_and_then_released(monkeypatch: pytest.MonkeyPatch) -> None:
    with get_client(sync_client=True) as client:
        for name in (GPU_LIMIT, "other"):
            client.upsert_global_concurrency_limit_by_name(name, limit=1)
    assert _run("cuda", GPU_LIMIT) == (1, 0)
    assert _run("cpu", GPU_LIMIT) == (0, 0)
    monkeypatch.setenv(LIMIT_VARIABLE, "other")
    assert _run("cuda:1", "other") == (1, 0)
    assert _run("cuda", GPU_LIMIT) == (0, 0)
    monkeypatch.setenv(LIMIT_VARIABLE, "")
    assert _run("cuda", GPU_LIMIT) == (0, 0)


@pytest.mark.usefixtures("prefect_harness", "fake_devices")
def test_no_wait_if_the_server_has_no_such_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "nowhere")
    entered: list[Any] = []

    @task
    def hold() -> None:
        with gpu_slot("cuda"):
            entered.append(1)

    @flow
    def run() -> None:
        hold()

    run()
    assert entered


@pytest.mark.usefixtures("fake_devices")
def test_no_request_without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "concurrency", lambda *_, **__: pytest.fail("a slot was requested"))
    with gpu_slot("cuda"):
        pass
