"""Loaders with several processes: workers that make views, and ranks that share batches."""

import multiprocessing
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader

from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.dataset.recorded_views import RecordedViews
from tests.rded_core.io.dataset.recorded import as_recorded, assert_same, whole

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("batches", [1, 6, 8])
def test_worker_processes_end_with_their_loader(dataset: DistilledDataset, batches: int) -> None:
    """At once and on their own, at any position of the loader; otherwise each costs the user five seconds."""
    loader = dataset.loader(batch_size=1, epochs=2, num_workers=2)
    for _ in islice(chain(loader, loader), batches):
        pass
    workers = multiprocessing.active_children()
    del loader
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert not multiprocessing.active_children()


@pytest.fixture
def spawned() -> Iterator[None]:
    """Starts worker processes afresh, as macOS and Windows do, and forkserver from Python 3.14 on."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("spawned")
def test_spawned_worker_processes_give_the_same_batches(dataset: DistilledDataset) -> None:
    assert_same(list(dataset.loader(num_workers=1)), as_recorded(dataset, 0))


@pytest.mark.usefixtures("spawned")  # a fork of a process with many threads may fail
def test_a_custom_sampler(dataset: DistilledDataset) -> None:
    picked = [(3, torch.tensor([5, 0, 5])), (0, torch.tensor([2]))]
    loader = DataLoader(RecordedViews(dataset), sampler=picked, batch_size=None, num_workers=1)
    for (epoch, rows), (shown, logits) in zip(picked, loader, strict=True):
        expected = whole(as_recorded(dataset, epoch))
        assert torch.equal(shown, expected[0][rows])
        assert torch.equal(logits, expected[1][rows])


@pytest.mark.parametrize(("num_ranks", "batch_size"), [(2, None), (2, 3), (4, 6), (3, 1)])
def test_ranks_share_each_batch(dataset: DistilledDataset, num_ranks: int, batch_size: int | None) -> None:
    loaders = [dataset.loader(batch_size, epochs=1, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    parts = [list(loader) for loader in loaders]
    sizes = [[len(shown) for shown, _ in part] for part in parts]
    assert sizes == [sizes[0]] * num_ranks, "every rank must do as many steps with as many views"
    for batch, expected in enumerate(dataset.loader(batch_size, epochs=1)):
        shown = torch.cat([part[batch][0] for part in parts])
        assert {view.sum().item() for view in shown} == {view.sum().item() for view in expected[0]}
    assert sum(sizes[0]) * num_ranks < len(dataset) + num_ranks * len(sizes[0])


def _train_rank(rank: int, folder: Path, store: Path, is_made_before: bool) -> None:
    torch.set_num_threads(1)
    made_before = DistilledDataset(folder).loader(epochs=1) if is_made_before else None
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    opened = DistilledDataset(folder)
    loader = made_before or opened.loader(epochs=1)
    assert (loader.rank, loader.num_ranks) == (rank, 2)
    own, expected = list(loader), as_recorded(opened, 0)
    for (shown, logits), (all_shown, all_logits) in zip(own, expected, strict=True):
        gathered = [torch.empty_like(shown) for _ in range(2)]
        distributed.all_gather(gathered, shown)
        assert torch.equal(torch.stack(gathered, dim=1).flatten(0, 1), all_shown)
        assert torch.equal(logits, all_logits[rank::2])
    distributed.destroy_process_group()


@pytest.mark.parametrize("is_made_before", [False, True])
def test_ranks_of_torch_distributed_share_each_batch(
    dataset: DistilledDataset, tmp_path: Path, is_made_before: bool
) -> None:
    """A data module makes its loaders before the trainer makes the process group."""
    spawn(_train_rank, args=(dataset.folder.root, tmp_path / "store", is_made_before), nprocs=2)


def _join_group(monkeypatch: pytest.MonkeyPatch, rank: int, num_ranks: int) -> None:
    """Lets torch.distributed report a process group."""
    for name, value in (("is_initialized", True), ("get_rank", rank), ("get_world_size", num_ranks)):
        monkeypatch.setattr(distributed, name, lambda value=value: value)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_group_of_each_epoch_counts(
    dataset: DistilledDataset, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    """An elastic training goes on with another number of processes; worker processes stay from epoch to epoch."""
    loader = dataset.loader(4, epochs=3, num_workers=num_workers)
    sizes = [[len(shown) for shown, _ in loader]]
    for rank, num_ranks in ((1, 2), (3, 4)):
        _join_group(monkeypatch, rank, num_ranks)
        sizes.append([len(shown) for shown, _ in loader])
    whole_sizes = sizes[0]
    assert sizes == [[-(-size // num_ranks) for size in whole_sizes] for num_ranks in (1, 2, 4)]


def test_a_state_is_loaded_before_the_group_is_made(dataset: DistilledDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {**dataset.loader(4, epochs=1).state_dict(), "num_ranks": 2}
    early, alone = dataset.loader(4, epochs=1), dataset.loader(4, epochs=1)
    for loader in (early, alone):
        loader.load_state_dict(state)
    with pytest.raises(InputError, match=r"has a different num_ranks \(2, not 1\)"):
        next(iter(alone))
    _join_group(monkeypatch, 1, 2)
    expected = list(dataset.loader(4, epochs=1, rank=1, num_ranks=2))
    for (shown, _), (other, _) in zip(early, expected, strict=True):
        assert torch.equal(shown, other)


def test_a_state_keeps_the_number_of_ranks_after_the_group_ends(dataset: DistilledDataset) -> None:
    loader = dataset.loader(4, epochs=2)
    with pytest.MonkeyPatch.context() as patch:
        _join_group(patch, 0, 2)
        list(loader)
    assert loader.state_dict()["num_ranks"] == 2


def test_processes_without_a_group_are_warned(
    dataset: DistilledDataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As torchrun starts them, with a script that makes no process group."""
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    loaders = [dataset.loader(4, epochs=2), dataset.loader(4, epochs=1, rank=0, num_ranks=2)]
    for loader in (*loaders, loaders[0]):
        list(loader)
    assert caplog.text.count("2 processes were started but form no process group") == 1
