"""Bad input: one line on stderr with the remedy, exit code 2, no traceback."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

RunCli = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("plain_flows")


@pytest.fixture
def expect_error(run_cli: RunCli) -> Callable[..., None]:
    """Runs the command line and checks its one error line against a pattern."""

    def expect(pattern: str, *arguments: object) -> None:
        code, _, err = run_cli(*arguments)
        errors = [line for line in err.splitlines() if line.startswith("rded: error: ")]
        assert (code, len(errors)) == (2, 1), err
        assert "Traceback" not in err
        assert err.splitlines()[-1] == errors[0], "the error is the last line"
        assert re.search(pattern, errors[0]), errors[0]

    return expect


Expect = Callable[..., None]


@pytest.fixture
def distil_with(expect_error: Expect, shared_source: Path, trained_weights: Path, tmp_path: Path) -> Expect:
    """Distils with working defaults, except for those that a test overrides: ``distil_with(pattern, ipc=...)``."""

    def expect(pattern: str, *flags: str, **changes: Any) -> None:
        settings = {"source": shared_source, "observer": "rded:convnet3", "weights": trained_weights, "ipc": 1}
        settings |= {"out": tmp_path / "run", "size": 32, "num_candidates": 10, "device": "cpu", **changes}
        options = [(f"--{name.replace('_', '-')}", value) for name, value in settings.items() if name != "source"]
        expect_error(pattern, "distill", settings["source"], *(part for option in options for part in option), *flags)
        assert not (tmp_path / "run" / "dataset").exists()

    return expect


def test_missing_source(distil_with: Expect, tmp_path: Path) -> None:
    distil_with("no such folder: .*pass a folder of class folders", source=tmp_path / "nowhere")


def test_source_that_is_a_file(distil_with: Expect, shared_source: Path) -> None:
    distil_with("is a file, not a folder; pass a folder", source=shared_source / "1" / "000.jpg")


def test_empty_source(distil_with: Expect, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    distil_with("is empty; expected class folders with images, .tar shards", source=tmp_path / "empty")


def test_source_without_images(distil_with: Expect, tmp_path: Path) -> None:
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "notes.txt").write_text("text")
    distil_with("no images in class folders .*expected .*CLASS/image.jpg", source=tmp_path / "texts")


def test_source_of_one_class(distil_with: Expect, shared_source: Path, tmp_path: Path) -> None:
    shutil.copytree(shared_source / "10", tmp_path / "one" / "10")
    message = r"holds one class \(10\).*at least two; give the folder that holds the folders of all classes"
    distil_with(message, source=tmp_path / "one")


def test_class_with_only_a_text_file_named_jpg(distil_with: Expect, image_folder: Path) -> None:
    shutil.rmtree(image_folder / "10")
    (image_folder / "10").mkdir()
    (image_folder / "10" / "fake.jpg").write_text("no picture")
    distil_with("class '10' has .* usable images", source=image_folder)
    distil_with("class '10' has 0 usable images.*add images, leave the class out", source=image_folder, factor=1)


def test_invalid_tar(distil_with: Expect, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("no tar at all" * 100)
    distil_with("a.tar is not a plain tar", source=tmp_path / "a.tar")
    distil_with("no such tar: .*check the pattern", source=tmp_path / "b-{0..3}.tar")


def test_unknown_class(distil_with: Expect) -> None:
    distil_with("--classes: 'seven' is not a class of .*classes are: 1, 10, 2", classes="1,seven")


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [
        ("gone.pth", None, "no such weights file"),
        ("text.pth", b"no weights", "holds no weights that can be read safely.*expected .safetensors"),
        ("text.safetensors", b"no weights", "holds no weights that can be read safely.*expected .safetensors"),
        ("empty.pth", b"", "holds no weights: it is empty; fetch it again"),
        ("pickle.pth", b"cos\nsystem\n(S'touch /tmp/rded-was-here'\ntR.", "holds no weights that can be read safely"),
    ],
)
def test_weights_that_cannot_be_read(
    distil_with: Expect, tmp_path: Path, name: str, content: bytes | None, pattern: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    distil_with(pattern, weights=tmp_path / name)


def test_weights_of_another_network(distil_with: Expect, save_untrained: Callable[..., Path]) -> None:
    weights = save_untrained(arch="convnet4")
    distil_with("does not fit rded:convnet3: it holds a convnet4; give --observer rded:convnet4", weights=weights)


def test_plain_weights_of_another_network(
    distil_with: Expect, save_untrained: Callable[..., Path], tmp_path: Path
) -> None:
    """Only PyTorch can read them; the run that is refused leaves no OUT."""
    torch.save(load_file(save_untrained(arch="convnet4")), tmp_path / "plain.pth")
    message = "does not fit rded:convnet3 at 32 px.*; give the network and size that it was saved from"
    distil_with(message, weights=tmp_path / "plain.pth")
    assert not (tmp_path / "run").exists()


def test_observer_without_weights(expect_error: Expect, shared_source: Path, tmp_path: Path) -> None:
    flags = ("--observer", "rded:convnet3", "--ipc", 1, "--size", 32, "--out", tmp_path / "run")
    expect_error("comes without weights; give --weights FILE", "distill", shared_source, *flags)


def test_observer_of_fewer_classes(distil_with: Expect, save_untrained: Callable[..., Path]) -> None:
    weights = save_untrained(classes=("1", "10"))
    distil_with("the observer has 2 classes, the source 3; keep some with --classes", weights=weights)


def test_observer_of_other_classes(distil_with: Expect, save_untrained: Callable[..., Path]) -> None:
    weights = save_untrained(classes=("cat", "1", "10"))
    distil_with(r"cannot match the source's classes .*: 2 \(no match\).*--observer-classes", weights=weights)


@pytest.mark.parametrize("spec", ["convnet3", "rded:", "nowhere:thing", "rded:resnet99", "json:dumps_no"])
def test_unknown_observer_spec(distil_with: Expect, spec: str) -> None:
    distil_with("torchvision:NAME|choose convnet3", observer=spec)


def test_observer_no_better_than_chance(
    distil_with: Expect, run_cli: RunCli, shared_source: Path, save_untrained: Callable[..., Path], tmp_path: Path
) -> None:
    weights = save_untrained()
    distil_with("no better than chance .*class order.*weights.*--force", weights=weights, label_epochs=1)
    arguments = (
        "distill",
        shared_source,
        "--observer",
        "rded:convnet3",
        "--weights",
        weights,
        "--ipc",
        1,
        "--size",
        32,
    )
    same = ("--num-candidates", 10, "--label-epochs", 1, "--device", "cpu", "--out", tmp_path / "run")
    code, _, err = run_cli(*arguments, *same, "--force")
    assert code == 0, err
    assert (tmp_path / "run" / "dataset" / "SHA256SUMS").is_file(), "the stopped run was resumed"


def test_ipc_beyond_the_smallest_class(distil_with: Expect, image_folder: Path) -> None:
    for path in sorted((image_folder / "2").iterdir())[9:]:
        path.unlink()
    distil_with("class '2' has 9 .*lower --ipc to 2,", source=image_folder, ipc=3, num_candidates=12)


def test_ipc_beyond_the_candidates(distil_with: Expect) -> None:
    distil_with("num_candidates must be >= .*= 12, got 10; raise --num-candidates .* or lower --ipc to 2", ipc=3)


def test_out_below_a_file(distil_with: Expect, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    distil_with("cannot write to .* is a file; choose another folder", out=tmp_path / "file" / "run")
    distil_with("cannot write to .* is a file; choose another folder", out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_out_that_holds_other_files(distil_with: Expect, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    distil_with(
        "is not empty and holds no rded run .chapter.tex is there.; choose a new or empty", out=tmp_path / "thesis"
    )
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


def test_out_of_other_images(expect_error: Expect, finished_run: Path, image_folder: Path, tmp_path: Path) -> None:
    for path in list(image_folder.iterdir()):
        path.rename(image_folder / f"other {path.name}")
    (tmp_path / "classes.txt").write_text("other 1\nother 10\nother 2\n")
    run = shutil.copytree(finished_run, tmp_path / "copy")
    pattern = r"holds a run of different images \(.*\); choose another --out"
    flags = ("--observer-classes", tmp_path / "classes.txt")
    expect_error(pattern, "distill", image_folder, "--config", run / "run.json", "--out", run, *flags)
    sums = "dataset/SHA256SUMS"
    assert (run / sums).read_text() == (finished_run / sums).read_text()


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "gpu"])
def test_unavailable_device(distil_with: Expect, device: str) -> None:
    distil_with(f"device '{device}' cannot be used here.*device auto or cpu", device=device)


def test_missing_config_file(expect_error: Expect, tmp_path: Path) -> None:
    expect_error("cannot read the config .*gone.json", "distill", "--config", tmp_path / "gone.json")


def test_evaluate_a_folder_without_a_dataset(expect_error: Expect, shared_source: Path) -> None:
    arguments = ("evaluate", shared_source, "--val", shared_source, "--student", "convnet3")
    expect_error("no distilled dataset at .*pass the --out folder of rded distill", *arguments)


def test_evaluate_damaged_labels(expect_error: Expect, finished_run: Path, shared_source: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(finished_run / "dataset", tmp_path / "dataset"))
    table = dataset / "soft_labels" / "epochs-000000-000009.parquet"
    table.write_bytes(table.read_bytes()[:1000])
    arguments = (
        "evaluate",
        dataset,
        "--val",
        shared_source,
        "--student",
        "convnet3",
        "--controls",
        "none",
        "--seeds",
        1,
    )
    expect_error("epochs-000000-000009.parquet cannot be read.*repair its run", *arguments)


def test_evaluate_missing_labels(expect_error: Expect, finished_run: Path, shared_source: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (run / "dataset" / "soft_labels" / "epochs-000010-000011.parquet").unlink()
    arguments = ("evaluate", run, "--val", shared_source, "--student", "convnet3", "--seeds", 1)
    expect_error("epochs-000010-000011.parquet is missing; run rded repair .* to restore it", *arguments)


def test_train_observer_unwritable_file(expect_error: Expect, shared_source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    arguments = ("--arch", "convnet3", "--size", 32, "--epochs", 1, "--out", tmp_path / "file" / "x.safetensors")
    expect_error("cannot write to .* is a file", "train-observer", shared_source, *arguments)


@pytest.mark.parametrize("text", ["", " , "])
def test_empty_only_classes(distil_with: Expect, text: str) -> None:
    """An empty shell variable must not mean all classes."""
    distil_with("--only-classes is empty; name some classes, or drop the flag", only_classes=text)
