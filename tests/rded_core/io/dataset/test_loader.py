"""The loader that students train with: exactly the recorded views, for any batch size, order and processes."""

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from rded_core.errors import InputError
from rded_core.io.dataset.batch_plan import require_counts
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.dataset.loader import LabelLoader
from rded_core.io.networks.weights import read_weights
from rded_core.networks import build_network
from tests.rded_core.io.dataset.recorded import as_recorded, assert_same, whole


@pytest.mark.parametrize("num_workers", [0, 2])
def test_recorded_batches_by_default(dataset: DistilledDataset, num_workers: int) -> None:
    loader = dataset.loader(epochs=12, num_workers=num_workers)
    for epoch in range(12):
        assert (loader.epoch, len(loader)) == (epoch, 2)
        assert_same(list(loader), as_recorded(dataset, epoch))
    assert loader.epoch == 12
    with pytest.raises(InputError, match=r"^all 12 epochs of this loader are finished; [^\n]*$"):
        next(iter(loader))


@pytest.mark.parametrize("mix", ["mixup", "none"])
def test_other_mixes_are_replayed_too(make_config: Any, run_undecorated: Any, tmp_path: Path, mix: str) -> None:
    mixed = DistilledDataset(run_undecorated(make_config(tmp_path / "run", mix=mix, label_epochs=2)))
    assert_same(list(mixed.loader()), as_recorded(mixed, 0))
    shown, logits = whole(list(mixed.loader(batch_size=1)))
    assert all(map(torch.equal, (shown, logits), whole(as_recorded(mixed, 0))))


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 6), (3, [3, 3]), (4, [4, 2]), (6, [6]), (100, [6])])
def test_any_batch_size_gives_the_same_views(dataset: DistilledDataset, batch_size: int, sizes: list[int]) -> None:
    loader = dataset.loader(batch_size=batch_size, epochs=2)
    assert len(loader) == len(sizes)
    for epoch in range(2):
        found = list(loader)
        assert [len(shown) for shown, _ in found] == sizes
        assert all(map(torch.equal, whole(found), whole(as_recorded(dataset, epoch))))


def test_the_last_batch_is_dropped_on_request(dataset: DistilledDataset) -> None:
    found = list(dataset.loader(batch_size=4, drop_last=True))
    assert_same(found, list(dataset.loader(batch_size=4))[:1])
    assert len(list(dataset.loader(batch_size=3, drop_last=True))) == 2


@pytest.mark.parametrize(
    ("changes", "warns"),
    [({"batch_size": 5}, True), ({"batch_size": 5, "drop_last": True}, False), ({"batch_size": 4}, False),
     ({"batch_size": 2, "rank": 0, "num_ranks": 2}, True), ({"batch_size": 1}, False), ({}, False),
     ({"rank": 0, "num_ranks": 2}, True), ({"batch_size": 2, "drop_last": True, "rank": 0, "num_ranks": 2}, True)],
)  # fmt: skip
def test_a_batch_of_one_view_is_logged(
    dataset: DistilledDataset, caplog: pytest.LogCaptureFixture, changes: Any, warns: bool
) -> None:
    dataset.loader(**changes)
    assert ("BatchNorm needs at least 2 views per rank" in caplog.text) is warns
    whole_or_dropped = changes.get("drop_last") or changes.get("batch_size") != 5
    assert ("drop_last=True or a different batch_size" in caplog.text) is (warns and not whole_or_dropped)


def rows_of(dataset: DistilledDataset, found: Tensor, epoch: int) -> list[int]:
    """Returns each view's row in an epoch as recorded."""
    shown, _ = whole(as_recorded(dataset, epoch))
    return [next(row for row, view in enumerate(shown) if torch.equal(view, one)) for one in found]


def test_shuffle_draws_a_new_order_each_epoch_from_the_seed_alone(dataset: DistilledDataset) -> None:
    def orders(seed: int) -> list[list[int]]:
        loader = dataset.loader(batch_size=4, epochs=4, seed=seed, shuffle=True)
        return [rows_of(dataset, whole(list(loader))[0], epoch) for epoch in range(4)]

    first = orders(0)
    assert first == orders(0) != orders(1)
    assert all(sorted(order) == list(range(6)) for order in first)
    assert len({tuple(order) for order in first}) > 1


def test_epochs_beyond_the_stored_ones_repeat_them(dataset: DistilledDataset) -> None:
    loader = dataset.loader(epochs=30, seed=3)
    stored = {epoch: whole(as_recorded(dataset, epoch))[0] for epoch in range(12)}
    seen = []
    for _ in range(30):
        shown, _ = whole(list(loader))
        seen += [epoch for epoch, views in stored.items() if torch.equal(views, shown)]
    assert seen[:12] == list(range(12))
    assert [seen.count(epoch) for epoch in range(12)] == loader.uses
    assert set(loader.uses) == {2, 3}


def test_all_epochs_of_the_recipe_by_default(dataset: DistilledDataset) -> None:
    assert dataset.loader().epochs == dataset.recipe["epochs"]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("step", [0, 1, 3, 6])
def test_training_resumes_at_any_step(dataset: DistilledDataset, num_workers: int, step: int) -> None:
    def make() -> LabelLoader:
        return dataset.loader(batch_size=1, epochs=3, num_workers=num_workers, seed=1, shuffle=True)

    stopped = make()
    list(stopped)
    passes = iter(stopped)
    for _ in range(step):
        next(passes)
    state = stopped.state_dict()
    assert (state["epoch"], state["step"]) == divmod(6 + step, 6)
    rest = [list(passes)] if step < 6 else []
    rest += [list(stopped)]
    again = make()
    again.load_state_dict(state)
    assert [again.epoch, len(again)] == [2 if step == 6 else 1, 6]
    for expected in rest:
        assert_same(list(again), expected)
    assert again.state_dict() == stopped.state_dict()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_interrupted_loop_resumes_where_it_stopped(dataset: DistilledDataset, num_workers: int) -> None:
    loader = dataset.loader(batch_size=1, epochs=1, num_workers=num_workers)
    found = list(islice(loader, 2)) + list(loader)
    assert all(map(torch.equal, whole(found), whole(as_recorded(dataset, 0))))


def test_a_loop_that_stops_after_the_last_batch_continues_with_the_next_epoch(dataset: DistilledDataset) -> None:
    """Loops that count their batches never ask for one too many."""
    loader = dataset.loader(epochs=3)
    for epoch in range(3):
        assert loader.epoch == epoch
        assert_same([batch for _, batch in zip(range(len(loader)), loader, strict=False)], as_recorded(dataset, epoch))
    assert loader.epoch == 3


def test_a_loader_can_seek_to_an_epoch(dataset: DistilledDataset) -> None:
    loader = dataset.loader(epochs=12)
    loader.seek(7)
    assert_same(list(loader), as_recorded(dataset, 7))
    loader.seek(12)
    assert loader.epoch == 12
    for epoch, step in ((13, 0), (-1, 0), (3, 3), (3, -1), (12, 1)):
        with pytest.raises(InputError, match=rf"^the loader has no step {step} in epoch {epoch}; it has 12 epochs$"):
            loader.seek(epoch, step)


@pytest.mark.parametrize(
    ("name", "changes"), [("batch_size", {"batch_size": 2}), ("seed", {"seed": 1}), ("shuffle", {"shuffle": True})]
)
def test_the_state_of_a_different_loader_is_refused(dataset: DistilledDataset, name: str, changes: Any) -> None:
    with pytest.raises(InputError, match=rf"^the loader state has a different {name} [^\n]*$"):
        dataset.loader().load_state_dict(dataset.loader(**changes).state_dict())


def test_the_state_of_a_different_dataset_is_refused(dataset: DistilledDataset) -> None:
    state = {**dataset.loader().state_dict(), "dataset": "0" * 64}
    with pytest.raises(InputError, match="has a different dataset"):
        dataset.loader().load_state_dict(state)
    with pytest.raises(InputError, match=r"^not a loader state: 'epoch', 'step', 'batch_size', [^\n]*$"):
        dataset.loader().load_state_dict({"a": 1})


def test_all_differences_of_a_state_are_named(dataset: DistilledDataset) -> None:
    state = dataset.loader(batch_size=2, seed=1, shuffle=True).state_dict()
    message = (
        r"^the loader state has a different batch_size \(2, not 4\), seed \(1, not 0\), shuffle \(True, not False\);"
    )
    with pytest.raises(InputError, match=message):
        dataset.loader(batch_size=4).load_state_dict(state)


def test_the_users_random_generator_is_not_used(dataset: DistilledDataset) -> None:
    before = torch.get_rng_state()
    list(dataset.loader(batch_size=2, shuffle=True))
    list(dataset.loader(num_workers=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number >= 1, got 0"),
        ({"epochs": 0}, "epochs must be a whole number >= 1, got 0"),
        ({"num_workers": -1}, "num_workers must be a whole number >= 0, got -1"),
        ({"rank": 0, "num_ranks": 0}, "num_ranks must be a whole number >= 1, got 0"),
        ({"batch_size": 7, "drop_last": True}, "batch_size 7 with drop_last drops all 6 images; give a smaller one"),
        ({"drop_last": True}, "drop_last does not apply to recorded batches; give a batch_size too"),
        ({"device": "gpu"}, r"device 'gpu' cannot be used here \([^\n]*\); try device auto or cpu"),
        ({"rank": -1, "num_ranks": 2}, "rank must be a whole number >= 0, got -1"),
        ({"rank": 2, "num_ranks": 2}, "rank must lie in 0..num_ranks - 1, got 2 of 2"),
        ({"num_ranks": 2}, "give both rank and num_ranks, or neither"),
    ],
)
def test_numbers_out_of_range_are_errors(dataset: DistilledDataset, changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        dataset.loader(**changes)


def test_mistakes_are_reported_before_images_are_fetched(dataset: DistilledDataset, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(dataset.folder.root, tmp_path / "bare"))
    shutil.rmtree(bare / "images")
    for changes, message in (({"num_ranks": 2}, "give both rank"), ({"batch_size": 0}, "batch_size must be")):
        with pytest.raises(InputError, match=message):
            DistilledDataset(bare).loader(**changes)


def test_numpy_integers_and_devices_by_number(dataset: DistilledDataset) -> None:
    require_counts(1, batch_size=np.int64(3))
    with pytest.raises(InputError, match="device 'cuda:99' cannot be used here"):
        dataset.loader(device=99)


@pytest.mark.parametrize("count", [2.5, "2", True])
def test_a_value_that_is_not_a_count_is_an_error(count: Any) -> None:
    """Without the loader, whose argument types are checked while tests run."""
    with pytest.raises(InputError, match=f"^batch_size must be a whole number >= 1, got {count!r}$"):
        require_counts(1, epochs=None, batch_size=count)


def test_plain_images_and_classes(dataset: DistilledDataset) -> None:
    pairs = list(dataset)  # pyright: ignore[reportArgumentType]
    assert len(pairs) == len(dataset) == 6
    assert torch.equal(torch.stack([image for image, _ in pairs]), dataset.images.images)
    assert [label for _, label in pairs] == [0, 0, 1, 1, 2, 2]
    halved = DistilledDataset(dataset.folder, transform=lambda image: image / 2)
    assert torch.equal(halved[4][0], dataset[4][0] / 2)
    (images, labels), *_ = DataLoader(dataset, batch_size=6)
    assert (images.shape, labels.tolist()) == ((6, 3, 32, 32), [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("codec", ["float16", "int8", "int4", "topk:2", "features"])
def test_the_teacher_gives_the_stored_logits_on_what_the_loader_shows(
    make_config: Any, run_undecorated: Any, trained_weights: Path, tmp_path: Path, codec: str
) -> None:
    config = make_config(tmp_path / "run", label_codec=codec, label_epochs=2)
    stored = DistilledDataset(run_undecorated(config))
    teacher = build_network("convnet3", num_classes=3, size=32).eval()
    teacher.load_state_dict(read_weights(str(trained_weights))[0])
    errors = stored.codec.error(stored.read_epoch(0).encoded)
    shown, logits = whole(list(stored.loader(batch_size=4)))
    with torch.inference_mode():
        found = teacher(shown)
    slack = 1e-5 * found.abs().max()  # the teacher labelled in passes of a different shape: last bits of sums differ
    apart = (found - logits).abs()
    if codec.startswith("topk"):  # it stores the top logits in float16, and the sum of the others
        assert (apart.gather(1, logits.topk(2).indices) <= found.abs().amax() * 2**-11 + slack).all()
        temperature = stored.recipe["temperature"]
        tails = [(row / temperature).logsumexp(dim=1) for row in (found, logits)]
        torch.testing.assert_close(*tails, rtol=0, atol=1e-3)
    else:
        assert torch.isfinite(errors).all()
        assert (apart <= errors[:, None] + slack).all()
    assert apart.max() < 0.5 * found.std()
