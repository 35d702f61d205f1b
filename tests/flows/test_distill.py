"""The distill flow's product: files, lineage, images and labels; the same config gives the same bytes."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.nn import functional

from rded_core.config import DistillConfig
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.dataset.images import read_images
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.networks.observers import open_observer
from rded_core.labels.views import apply_views
from rded_core.networks.canvas import CanvasNetwork
from tasks.run import networks

MakeConfig = Callable[..., DistillConfig]
RunUndecorated = Callable[[DistillConfig], Path]

FILES = {
    "README.md",
    "SHA256SUMS",
    "classes.json",
    "croissant.json",
    "images/train-000000.tar",
    "lineage/train-000000.parquet",
    "recipe.json",
    "report/index.html",
    "report/mosaics.jpg",
    "soft_labels/epochs-000000-000009.parquet",
    "soft_labels/epochs-000010-000011.parquet",
}


def _lineage(dataset: Path) -> list[dict[str, Any]]:
    return pq.read_table(dataset / "lineage").to_pylist()


def _sums(run: Path) -> str:
    return (run / "dataset" / "SHA256SUMS").read_text()


def test_dataset_holds_exactly_the_designed_files(finished_run: Path) -> None:
    dataset = finished_run / "dataset"
    assert {path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file()} == FILES
    assert {path.name for path in finished_run.iterdir()} == {"run.json", "work", "dataset"}


def test_checksums_cover_every_file_and_verify(finished_run: Path) -> None:
    named = dict(reversed(line.split("  ")) for line in _sums(finished_run).splitlines())
    assert set(named) == FILES - {"SHA256SUMS"}
    for name, digest in named.items():
        assert hashlib.sha256((finished_run / "dataset" / name).read_bytes()).hexdigest() == digest, name


def test_classes_are_in_the_sources_order_with_their_counts(finished_run: Path) -> None:
    entries = json.loads((finished_run / "dataset" / "classes.json").read_text())
    assert [(entry["index"], entry["folder"]) for entry in entries] == [(0, "1"), (1, "10"), (2, "2")]
    assert all(entry["wnid"] is None and entry["name"] == entry["folder"] for entry in entries)
    counts = {(entry["num_source"], entry["num_candidates"], entry["num_images"]) for entry in entries}
    assert counts == {(12, 10, 2)}


def test_recipe_says_what_a_trainer_must_know(finished_run: Path) -> None:
    recipe = json.loads((finished_run / "dataset" / "recipe.json").read_text())
    expected = {"size": 32, "ipc": 2, "num_images": 6, "num_classes": 3, "factor": 2, "label_epochs": 12}
    assert {name: recipe[name] for name in expected} == expected
    assert recipe["views"]["batch_size"] == 4
    assert recipe["views"]["crop_scale_min"] == 0.5
    assert recipe["temperature"] == 20.0
    assert recipe["selection"] == "realism"
    assert 1 / 3 < recipe["observer"]["top1"] <= 1.0
    assert str(finished_run) not in json.dumps(recipe), "a dataset must not depend on where it was made"


def test_lineage_has_one_scored_row_per_patch_best_first(finished_run: Path) -> None:
    rows = _lineage(finished_run / "dataset")
    assert len(rows) == 2 * 4 * 3
    for index in range(3):
        ranked = sorted((row for row in rows if row["class_index"] == index), key=lambda row: row["rank"])
        scores = [row["score_nats"] for row in ranked]
        assert [row["rank"] for row in ranked] == list(range(8))
        assert scores == sorted(scores, reverse=True)
        assert max(scores) <= 0.0
        assert len({row["source_uri"] for row in ranked}) == 8, "one crop per candidate"


def test_best_crop_of_each_candidate_is_kept(finished_run: Path) -> None:
    best: dict[str, float] = {}
    for table in sorted((finished_run / "work" / "realism").glob("*.parquet")):
        candidates = pq.read_table(finished_run / "work" / "candidates" / table.name).to_pylist()
        names = {row["position"]: row["source_uri"] for row in candidates}
        best.update({names[row["position"]]: max(row["scores_nats"]) for row in pq.read_table(table).to_pylist()})
    assert len(best) == 3 * 10
    rows = _lineage(finished_run / "dataset")
    assert all(row["score_nats"] == best[row["source_uri"]] for row in rows)
    kept = {row["source_uri"] for row in rows}
    for folder in ("1/", "10/", "2/"):
        left_out = [score for uri, score in best.items() if uri.startswith(folder) and uri not in kept]
        worst_kept = min(best[uri] for uri in kept if uri.startswith(folder))
        assert len(left_out) == 2
        assert max(left_out) <= worst_kept


def test_lineage_names_source_files_by_their_sha256(finished_run: Path, shared_source: Path) -> None:
    for row in _lineage(finished_run / "dataset"):
        data = (shared_source / row["source_uri"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["source_sha256"]
        assert row["source_uri"].split("/")[0] == ("1", "10", "2")[row["class_index"]]


def _recut(source: Path, row: dict[str, Any], height_px: int, width_px: int) -> torch.Tensor:
    with Image.open(source / row["source_uri"]) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    top, left = row["box_top"], row["box_left"]
    window = pixels[:, top : top + row["box_height"], left : left + row["box_width"]].float() / 255.0
    return functional.interpolate(window[None], size=(height_px, width_px), mode="bilinear", antialias=True)[0]


def _assert_recut_equals(dataset: Path, source: Path, *, factor: int) -> None:
    stored = read_images(DatasetFolder(dataset).image_tars())
    edges = [cell * 32 // factor for cell in range(factor + 1)]
    quadrants: dict[str, int] = defaultdict(int)
    for row in _lineage(dataset):
        down, across = divmod(row["quadrant"], factor)
        top, bottom, left, right = edges[down], edges[down + 1], edges[across], edges[across + 1]
        patch = _recut(source, row, bottom - top, right - left).mul(255.0).clamp(0, 255).to(torch.uint8)
        image = stored.images[stored.keys.index(row["key"])]
        assert torch.equal(image[:, top:bottom, left:right], patch), row
        quadrants[row["key"]] += 1
    assert set(quadrants.values()) == {factor * factor}
    assert len(quadrants) == len(stored.keys)


def test_images_recut_from_lineage_equal_stored_pixels(finished_run: Path, shared_source: Path) -> None:
    _assert_recut_equals(finished_run / "dataset", shared_source, factor=2)


def test_factor_that_does_not_divide_the_size_fills_the_image(
    make_config: MakeConfig, run_undecorated: RunUndecorated, shared_source: Path, tmp_path: Path
) -> None:
    dataset = run_undecorated(make_config(tmp_path / "run", factor=3, ipc=1, label_epochs=1))
    _assert_recut_equals(dataset, shared_source, factor=3)


def test_recorded_views_through_the_observer_give_the_stored_logits(finished_run: Path, trained_weights: Path) -> None:
    dataset = DistilledDataset(DatasetFolder(finished_run / "dataset"))
    observer = open_observer("rded:convnet3", str(trained_weights), classes=dataset.classes, size=32)
    mean, std = observer.preprocessing.mean, observer.preprocessing.std
    seen: list[torch.Tensor] = []
    for epoch in range(dataset.num_epochs):
        batches = list(dataset.recorded_batches(epoch))
        assert [len(rows) for rows, _, _ in batches] == [4, 2]
        assert sorted(torch.cat([rows for rows, _, _ in batches]).tolist()) == list(range(6))
        for rows, views, logits in batches:
            with torch.inference_mode():
                again = observer.network(apply_views(dataset.images.images[rows], views, mean=mean, std=std))
            torch.testing.assert_close(logits.float(), again, rtol=2**-10, atol=1e-3)
            seen.append(logits.float())
    assert torch.cat(seen).std() > 0.1, "logits that never change would pass anything"


@pytest.mark.parametrize(("classes_per_shard", "workers"), [(1, 1), (None, 3)])
def test_shards_and_workers_do_not_change_the_bytes(
    finished_run: Path,
    make_config: MakeConfig,
    run_undecorated: RunUndecorated,
    tmp_path: Path,
    classes_per_shard: int | None,
    workers: int,
) -> None:
    run_undecorated(make_config(tmp_path / "run", classes_per_shard=classes_per_shard, workers=workers))
    assert _sums(tmp_path / "run") == _sums(finished_run)


def test_different_seed_gives_a_different_dataset(
    finished_run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    dataset = run_undecorated(make_config(tmp_path / "run", seed=1, label_epochs=1))
    drawn = {(row["source_uri"], row["box_top"], row["box_left"]) for row in _lineage(dataset)}
    before = {(row["source_uri"], row["box_top"], row["box_left"]) for row in _lineage(finished_run / "dataset")}
    assert drawn != before


def test_bfloat16_scores_give_float32s_images(
    finished_run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run", precision="bfloat16", workers=3, classes_per_shard=2, label_epochs=1)
    dataset = run_undecorated(config)
    tar = "images/train-000000.tar"
    assert (dataset / tar).read_bytes() == (finished_run / "dataset" / tar).read_bytes()
    records = [json.loads(path.read_text()) for path in (tmp_path / "run" / "work" / "realism").glob("*.json")]
    assert [record["facts"]["precision"] for record in records] == ["bfloat16"] * 3
    assert json.loads((tmp_path / "run" / "run.json").read_text())["precision"] == "bfloat16"


def test_two_devices_share_the_classes_and_give_the_same_bytes(
    finished_run: Path,
    make_config: MakeConfig,
    run_undecorated: RunUndecorated,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(networks, "same_kind", lambda device: [device, device])
    dataset = run_undecorated(make_config(tmp_path / "run", precision="bfloat16", label_epochs=1))
    tar = "images/train-000000.tar"
    assert (dataset / tar).read_bytes() == (finished_run / "dataset" / tar).read_bytes()


def test_full_memory_does_not_change_images_or_labels(
    finished_run: Path,
    make_config: MakeConfig,
    run_undecorated: RunUndecorated,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    forward = CanvasNetwork.forward

    def refusing(self: CanvasNetwork, patches: torch.Tensor) -> torch.Tensor:
        if len(patches) > 12:
            raise torch.OutOfMemoryError("full")
        return forward(self, patches)

    monkeypatch.setattr(CanvasNetwork, "forward", refusing)
    dataset = run_undecorated(make_config(tmp_path / "run", precision="bfloat16"))
    assert "scoring in passes of 4 candidates instead of 8" in caplog.text
    assert "labelling in passes of 10 rows instead of 20" in caplog.text
    tar = "images/train-000000.tar"
    assert (dataset / tar).read_bytes() == (finished_run / "dataset" / tar).read_bytes()
    for name in sorted(name for name in FILES if name.startswith("soft_labels/")):
        actual, expected = (pq.read_table(root / name).to_pydict() for root in (dataset, finished_run / "dataset"))
        logits, wanted = (np.array(table.pop("logits"), dtype=np.float64) for table in (actual, expected))
        np.testing.assert_allclose(logits, wanted, rtol=2**-10, atol=1e-5, err_msg="more than float16's last bit")
        assert actual == expected, name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_selects_what_the_cpu_selects(
    finished_run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    dataset = run_undecorated(make_config(tmp_path / "run", device="cuda", label_epochs=1))
    tar = "images/train-000000.tar"
    assert (dataset / tar).read_bytes() == (finished_run / "dataset" / tar).read_bytes()
