"""Every command on a run at a URL, one after another, as an operator would use them."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from rded_core.config import DistillConfig
from rded_core.io.remote.lease import only_writer_at
from rded_core.io.remote.places import copies

RunCli = Callable[..., tuple[int, str, str]]


def flip(url: str) -> None:
    """Changes a byte in the middle of an object."""
    storage = fsspec.filesystem("s3")
    data = bytearray(storage.cat_file(url))
    data[len(data) // 2] ^= 1
    storage.pipe_file(url, bytes(data))


@pytest.mark.slow
@pytest.mark.usefixtures("plain_flows")
def test_run_at_a_url_behaves_like_one_in_a_folder(
    make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
    run_cli: RunCli,
    s3_bucket: str,
    shared_source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flows.refresh import refresh

    storage = fsspec.filesystem("s3")
    monkeypatch.setenv("RDED_CACHE", str(tmp_path / "here"))
    source = shutil.copytree(shared_source, tmp_path / "source")
    url = f"{s3_bucket}/runs/photos"
    config = make_config(url, source=str(source), label_epochs=2)
    run_undecorated(config)

    def run(*arguments: str) -> str:
        code, out, errors = run_cli(*arguments)
        assert code == 0, errors
        assert str(copies()) not in out + errors, "users see the URL, not the path of the local copy"
        assert not storage.exists(f"{url}/.lock")
        return out

    assert f"{url}: " in run("verify", url)
    assert "entropy" in run("labels", url, "--describe")
    assert "class 1\n" in run("trace", url, "c00000_i00000", "--picture", str(tmp_path / "trace.jpg"))
    assert run_cli("verify", f"{s3_bucket}/none")[0] == 2

    run("evaluate", url, "--val", str(source), "--student", "convnet3", "--epochs", "1", "--controls", "none")
    results = [storage.cat_file(path).decode() for path in storage.glob(f"{url}/evaluations/*.json")]
    assert [json.loads(text)["dataset"] for text in results] == [url]

    flip(next(path for path in storage.find(url) if path.endswith(".tar") and "squeeze/1-" in path))
    storage.rm(f"{url}/dataset/classes.json")
    code, out, _ = run_cli("verify", url)
    assert code == 1
    assert re.search(r"damaged +\S+squeeze/1-", out)
    assert re.search(r"missing +dataset/classes.json", out)
    assert "sound" in run("repair", url)
    assert "sound" in run("verify", url)

    assert refresh(config)["changed"] is False
    shutil.copyfile(source / "1" / "000.jpg", source / "1" / "another.jpg")
    assert refresh(config)["changed"] is True

    lineage = run("trace", url, "c00000_i00000", "--picture", str(tmp_path / "again.jpg"))
    uri = re.search(r"quadrant 0 +(\S+)", lineage)
    assert uri
    monkeypatch.setenv("RDED_CACHE", str(tmp_path / "there"))
    run("forget", url, "--source", uri[1])
    assert uri[1] not in run("trace", url, "c00000_i00000", "--picture", str(tmp_path / "after.jpg"))
    assert "sound" in run("verify", url)
    monkeypatch.setenv("RDED_CACHE", str(tmp_path / "here"))
    with only_writer_at(url):
        pass
    assert refresh(config)["changed"] is False, "the first machine takes over what the other has forgotten"
    traces = [path for path in copies().rglob("*.json") if uri[1] in path.read_text() and "forg" not in path.name]
    assert not traces
