"""Runs whose OUT is a URL: the storage holds the same as a folder would, whichever machine wrote it."""

from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.remote import lease
from rded_core.io.remote.places import run_at

MakeConfig = Callable[..., DistillConfig]
Distil = Callable[[DistillConfig], Path]
OnMachine = Callable[[str], None]


@pytest.fixture(autouse=True)
def on_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnMachine:
    """Returns a function that switches to another machine, which has its own cache."""

    def switch(name: str) -> None:
        monkeypatch.setenv("RDED_CACHE", str(tmp_path / "machines" / name))

    switch("first")
    return switch


@pytest.fixture
def config(make_config: MakeConfig, s3_bucket: str) -> DistillConfig:
    return make_config(f"{s3_bucket}/runs/photos")


def sums_at(url: str) -> str:
    return fsspec.filesystem("s3").cat_file(f"{url}/dataset/SHA256SUMS").decode()


def stages_made(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Returns the first two words of the log line of each stage that made something."""
    lines = [record.getMessage() for record in caplog.records if record.name == "rded"]
    caplog.clear()
    return [" ".join(line.split(":")[0].split()[:2]) for line in lines if " made" in line]


def test_url_holds_the_same_as_a_folder(
    config: DistillConfig,
    make_config: MakeConfig,
    run_undecorated: Distil,
    on_machine: OnMachine,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    local = run_undecorated(make_config(tmp_path / "run"))
    caplog.set_level("INFO")
    run_undecorated(config)
    assert stages_made(caplog)
    assert sums_at(config.out) == (local / "SHA256SUMS").read_text()
    on_machine("second")
    run_undecorated(config)
    assert stages_made(caplog) == [], "another machine reuses what the first one made"
    storage = fsspec.filesystem("s3")
    storage.rm([path for path in storage.find(config.out) if path.endswith(".tar") and "squeeze/1-" in path])
    run_undecorated(config)
    assert stages_made(caplog) == ["tile 0000-0001"], "what was lost at the URL is remade"
    assert sums_at(config.out) == (local / "SHA256SUMS").read_text()
    assert not list(run_at(config.out).root.rglob("*.tmp"))


def test_another_machine_resumes_an_interrupted_run(
    config: DistillConfig,
    run_undecorated: Distil,
    on_machine: OnMachine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from tasks.labels import label as soft_labels

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    caplog.set_level("INFO")
    with monkeypatch.context() as broken:
        broken.setattr(soft_labels, "_label", stop)
        with pytest.raises(KeyboardInterrupt):
            run_undecorated(config)
    assert "tile 0000-0001" in stages_made(caplog)
    assert not fsspec.filesystem("s3").exists(f"{config.out}/dataset")
    on_machine("second")
    run_undecorated(config)
    assert {line.split()[0] for line in stages_made(caplog)} == {"label"}
    assert len(DistilledDataset(config.out)) == 6


def test_two_runs_at_a_url_exclude_each_other(
    config: DistillConfig, run_undecorated: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.run.prepare import claim_out

    with claim_out(config), monkeypatch.context() as other_process:
        other_process.setattr(lease, "_held", {})
        with pytest.raises(InputError, match=r"^--out s3://[^\n]* is being written by process \d+ on "):
            run_undecorated(config)
    run_undecorated(config)


def test_network_is_loaded_from_a_url(
    config: DistillConfig, make_config: MakeConfig, run_undecorated: Distil, s3_bucket: str, trained_weights: Path
) -> None:
    url = f"{s3_bucket}/trained.safetensors"
    fsspec.filesystem("s3").put_file(str(trained_weights), url)
    run_undecorated(make_config(config.out, weights=url, label_epochs=2))
    assert "dataset/recipe.json" in " ".join(fsspec.filesystem("s3").find(config.out))


def test_places_that_cannot_be_written_are_errors(
    make_config: MakeConfig, run_undecorated: Distil, s3_bucket: str, shared_source: Path
) -> None:
    with pytest.raises(InputError, match=r"^cannot write s3://rded-no-such-bucket/x: [^\n]*; create the bucket first$"):
        run_undecorated(make_config("s3://rded-no-such-bucket/x"))
    fsspec.filesystem("s3").put_file(str(next(shared_source.rglob("*.jpg"))), f"{s3_bucket}/mine/a.jpg")
    with pytest.raises(InputError, match=r"^--out s3://[^\n]*/mine is not empty and holds no rded run \(a.jpg is"):
        run_undecorated(make_config(f"{s3_bucket}/mine"))
    with pytest.raises(InputError, match=r"lies inside the source"):
        run_undecorated(make_config(f"{s3_bucket}/mine", source=s3_bucket))
