"""One run on two machines: network namespaces with separate addresses that share only an object store."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path

import fsspec
import httpx
import pytest

from rded_core.config import DistillConfig

ROOT = Path(__file__).resolve().parents[3]
BRIDGE, NETWORK = "rdedbr0", "10.213.77"
HERE = f"{NETWORK}.1"
WAIT_S = 120.0

Start = Callable[..., subprocess.Popen[bytes]]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """The names of two network namespaces, which reach only each other and `HERE`, through a bridge."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and the command ip, to make network namespaces")
    with ExitStack() as stack:
        try:
            ip("link", "add", BRIDGE, "type", "bridge")
            stack.callback(ip, "link", "del", BRIDGE)
            ip("addr", "add", f"{HERE}/24", "dev", BRIDGE)
            ip("link", "set", BRIDGE, "up")
            names = [_add_host(stack, number) for number in (2, 3)]
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
        yield names


def _add_host(stack: ExitStack, number: int) -> str:
    name, outer, inner = f"rded{number}", f"rdedo{number}", f"rdedi{number}"
    ip("netns", "add", name)
    stack.callback(ip, "netns", "del", name)
    ip("link", "add", outer, "type", "veth", "peer", "name", inner)
    ip("link", "set", inner, "netns", name)
    ip("link", "set", outer, "master", BRIDGE, "up")
    ip("-n", name, "addr", "add", f"{NETWORK}.{number}/24", "dev", inner)
    ip("-n", name, "link", "set", inner, "up")
    ip("-n", name, "link", "set", "lo", "up")
    return name


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a Python module, on a host or here, and ends it after the test."""
    with ExitStack() as stack:

        def begin(*arguments: str, host: str | None = None, **environment: str) -> subprocess.Popen[bytes]:
            prefix = ["ip", "netns", "exec", host] if host else []
            log = stack.enter_context((tmp_path / f"{arguments[0]}-{host}.log").open("wb"))
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", *arguments],
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                cwd=tmp_path,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
            return process

        yield begin


def free_port() -> int:
    with closing(socket.create_server((HERE, 0))) as taken:
        return taken.getsockname()[1]


def wait_for(is_ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_ready():
        assert process.poll() is None, "the process ended"
        assert time.monotonic() < deadline, "the process did not become ready"
        time.sleep(0.2)


def answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex((HERE, port)) == 0


def is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", auth=("operator", "test-password")).status_code == 200
    except httpx.HTTPError:
        return False


def upload(source: Path, weights: Path) -> None:
    storage = fsspec.filesystem("s3")
    storage.mkdir("s3://rded-test")
    storage.put(str(source), "s3://rded-test/source", recursive=True)
    storage.put_file(str(weights), "s3://rded-test/observer.safetensors")


@pytest.mark.slow
def test_workers_on_two_hosts_give_the_same_bytes_as_one(
    hosts: list[str],
    start: Start,
    tmp_path: Path,
    shared_source: Path,
    save_untrained: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    s3_variables: Callable[[str], dict[str, str]],
    make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
    prefect_database: Path,
) -> None:
    store, api, scheduler = free_port(), free_port(), free_port()
    shared = {
        **s3_variables(f"http://{HERE}:{store}"),
        "PREFECT_API_URL": f"http://{HERE}:{api}/api",
        "PREFECT_API_AUTH_STRING": "operator:test-password",
        "PREFECT_SERVER_API_AUTH_STRING": "operator:test-password",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "DO_NOT_TRACK": "1",
    }
    for name, value in shared.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "prefect").mkdir()
    shutil.copy(prefect_database, tmp_path / "prefect" / "prefect.db")
    stores = start("moto.server", "-H", HERE, "-p", str(store))
    server = start("prefect", "server", "start", "--host", HERE, "--port", str(api))
    started = start("distributed.cli.dask_scheduler", "--host", HERE, "--port", str(scheduler), "--no-dashboard")
    wait_for(lambda: answers(store), stores)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    # A network that torch.fx can trace even in this process, which checks shapes; with others the last digits differ.
    upload(shared_source, save_untrained(arch="resnet18"))
    wait_for(lambda: answers(scheduler), started)
    address = f"tcp://{HERE}:{scheduler}"
    for host in hosts:
        options = ("--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path / host))
        start("distributed.cli.dask_worker", address, *options, host=host, RDED_CACHE=str(tmp_path / host / "cache"))
    wait_for(lambda: is_healthy(shared["PREFECT_API_URL"]), server)
    monkeypatch.setenv("RDED_CACHE", str(tmp_path / "here"))
    sources = {"source": "s3://rded-test/source", "weights": "s3://rded-test/observer.safetensors"}
    changes = {**sources, "observer": "rded:resnet18", "classes_per_shard": 1, "label_epochs": 20, "force": True}
    alone = run_undecorated(make_config(tmp_path / "alone", **changes))
    config = make_config("s3://rded-test/together", **changes)
    (tmp_path / "config.json").write_text(json.dumps(asdict(config)))
    done = start("deployments", "distill", "--config", str(tmp_path / "config.json"), "--runner", address)
    assert done.wait(400) == 0, (tmp_path / "deployments-None.log").read_text()
    storage = fsspec.filesystem("s3")
    sums = storage.cat_file("s3://rded-test/together/dataset/SHA256SUMS").decode()
    assert sums == (alone / "SHA256SUMS").read_text()
    made = [{path.parent.name for path in (tmp_path / host / "cache").rglob("*.parquet")} for host in hosts]
    assert all("soft_labels" in stages for stages in made), "each host did a share of the work"
    assert not storage.exists("s3://rded-test/together/.lock")
