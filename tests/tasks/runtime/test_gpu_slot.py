"""The server's GPU limit: held while a network runs on a GPU, and at no other time."""

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
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_device", lambda name: torch.device(name))


@pytest.mark.usefixtures("prefect_harness", "pretended")
def test_a_slot_is_held_while_a_gpu_is_used_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.usefixtures("prefect_harness", "pretended")
def test_a_server_without_the_limit_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.usefixtures("pretended")
def test_without_prefect_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "concurrency", lambda *_, **__: pytest.fail("asked"))
    with gpu_slot("cuda"):
        pass
