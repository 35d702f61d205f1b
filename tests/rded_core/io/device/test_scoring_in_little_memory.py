"""Scoring on a device whose memory fills up: smaller passes make the same selection as a device with enough memory.

A network that refuses more than a number of rows stands in for the device; the rest is a GPU's code path, on the CPU.
"""

import weakref
from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.io.device import scoring as device_scoring
from rded_core.io.device.graphs import FixedShape
from rded_core.io.device.memory import release
from rded_core.io.device.scoring import DeviceScorer, ScoredClass
from rded_core.networks import build_network
from rded_core.networks.preprocessing import Preprocessing
from rded_core.patches.class_scores import ClassScores
from rded_core.patches.crops import draw_crop_boxes
from rded_core.patches.selection import select_patches
from rded_core.seeds import seeded_init
from rded_core.text.wording import counted

PATCH_PX, SIZE, NUM_CROPS, NUM_CHOSEN = 16, 32, 3, 4
CLASSES = [(2, list(range(30, 35))), (0, list(range(21))), (1, []), (3, list(range(200, 217)))]

TOLERANCE = 3e-6
"""Maximum difference, in nats and relative, of float32 scores from batches of two shapes; zero for row arithmetic."""

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


class _Memory:
    """Holds passes of up to a number of rows; records the size of every pass, by its type."""

    def __init__(self) -> None:
        self.rows: dict[torch.dtype, int] = {}
        self.asked: list[tuple[torch.dtype, int]] = []

    def hold(self, logits: Tensor) -> Tensor:
        self.asked.append((logits.dtype, len(logits)))
        if len(logits) > self.rows.get(logits.dtype, 10**9):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of")
        return logits


MEMORY = _Memory()


@torch.fx.wrap
def hold(logits: Tensor) -> Tensor:
    """One step of the network for torch.fx, so that the traced form refuses too."""
    return MEMORY.hold(logits)


class _Traced(nn.Module):
    """Logits as spread out as a trained network's; torch.fx can trace it."""

    def __init__(self) -> None:
        super().__init__()
        with seeded_init(0):
            first, second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
            head = nn.Linear(16 * 4 * 4, 4)
        with torch.no_grad():
            head.weight.mul_(100.0)
        pool = nn.AvgPool2d(4)
        self.layers = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), second, nn.ReLU(), pool)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        return hold(self.head(self.layers(images).flatten(1)))


class _ByRow(nn.Module):
    """Computes row by row, so the batch does not matter; torch.fx cannot trace its loop."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(3 * SIZE * SIZE, 4, generator=torch.Generator().manual_seed(3)) / 8.0
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        return hold(torch.stack([(row.reshape(-1, 1) * self.weight).sum(dim=0) for row in images]))


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> _Memory:
    """Memory that holds everything until a test limits it; passes of few candidates keep the tests short."""
    monkeypatch.setattr(device_scoring, "CANDIDATES_PER_PASS", 16)
    monkeypatch.setattr(device_scoring, "EXACT_PATCHES", 16)
    MEMORY.rows, MEMORY.asked = {}, []
    return MEMORY


def _load(row: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(row)
    height, width = (int(torch.randint(12, 70, (1,), generator=generator)) for _ in range(2))
    image = torch.randint(0, 256, (3, height, width), generator=generator).to(torch.uint8)
    return image, draw_crop_boxes(height, width, generator, num_crops=NUM_CROPS, scale=(0.08, 1.0))


def _scorer(network: nn.Module, dtype: torch.dtype, *, patch_px: int = PATCH_PX, size: int = SIZE) -> DeviceScorer:
    shape = {"patch_px": patch_px, "size": size, "num_crops": NUM_CROPS, "num_chosen": NUM_CHOSEN}
    return DeviceScorer(network.eval(), Preprocessing(), **shape, dtype=dtype)


def _score(scorer: DeviceScorer) -> list[ScoredClass[int]]:
    return list(scorer.score(CLASSES, _load, workers=2))


def _assert_same(results: list[ScoredClass[int]], expected: list[ScoredClass[int]], tolerance: float) -> None:
    """Asserts that the same patches are selected, with scores equal within `tolerance`."""
    assert [each.class_index for each in results] == [index for index, _ in CLASSES]
    for each, other in zip(results, expected, strict=True):
        assert each.rows == other.rows
        assert torch.equal(each.boxes, other.boxes)
        if each.rows:
            chosen, wanted = select_patches(each.scores, NUM_CHOSEN), select_patches(other.scores, NUM_CHOSEN)
            assert torch.equal(chosen.candidates, wanted.candidates)
            assert torch.equal(chosen.crops, wanted.crops)
            torch.testing.assert_close(chosen.scores, wanted.scores, rtol=tolerance, atol=tolerance)


def _halvings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if "is full" in message]


def _lines(*sizes: int) -> list[str]:
    return [
        f"the memory of cpu is full (2.00 GiB more requested); scoring in passes of {counted(now, 'candidate')} "
        f"instead of {before}"
        for before, now in pairwise(sizes)
    ]


@BOTH
@pytest.mark.parametrize(("rows", "sizes"), [(24, (16, 8)), (7, (16, 8, 4, 2)), (3, (16, 8, 4, 2, 1))])
def test_smaller_passes_select_the_same(
    memory: _Memory, caplog: pytest.LogCaptureFixture, dtype: torch.dtype, rows: int, sizes: tuple[int, ...]
) -> None:
    expected, scorer = _score(_scorer(_Traced(), dtype)), _scorer(_Traced(), dtype)
    assert scorer.shortcut
    assert not caplog.records
    memory.rows, memory.asked = {dtype: rows}, []
    results = _score(scorer)
    _assert_same(results, expected, TOLERANCE)
    assert _halvings(caplog) == _lines(*sizes)
    asked = [count for kind, count in memory.asked if kind == dtype]
    assert asked[: len(sizes)] == [size * NUM_CROPS for size in sizes], "the first pass of each size"
    assert set(asked[len(sizes) :]) == {sizes[-1] * NUM_CROPS}, "later classes keep the smaller passes"
    if dtype == torch.float32:
        for each, other in zip(results, expected, strict=True):
            torch.testing.assert_close(each.scores, other.scores, rtol=TOLERANCE, atol=TOLERANCE)


def test_arithmetic_by_row_gives_the_same_bits(memory: _Memory, caplog: pytest.LogCaptureFixture) -> None:
    expected = _score(_scorer(_ByRow(), torch.float32))
    memory.rows = {torch.float32: 13}
    results = _score(_scorer(_ByRow(), torch.float32))
    assert _halvings(caplog) == _lines(16, 8, 4)
    assert all(torch.equal(each.scores, other.scores) for each, other in zip(results, expected, strict=True))


def test_the_float32_pass_keeps_its_shape_while_the_fast_pass_is_no_smaller(memory: _Memory) -> None:
    expected, scorer = _score(_scorer(_Traced(), torch.bfloat16)), _scorer(_Traced(), torch.bfloat16)
    memory.rows, memory.asked = {torch.bfloat16: 24}, []
    _assert_same(_score(scorer), expected, 0.0)
    assert {count for kind, count in memory.asked if kind == torch.float32} == {16}


def test_a_float32_pass_that_does_not_fit_is_halved(memory: _Memory, caplog: pytest.LogCaptureFixture) -> None:
    expected, scorer = _score(_scorer(_Traced(), torch.bfloat16)), _scorer(_Traced(), torch.bfloat16)
    memory.rows = {torch.float32: 7}
    _assert_same(_score(scorer), expected, TOLERANCE)
    assert _halvings(caplog) == _lines(16, 8, 4, 2)


def test_a_class_scored_entirely_in_float32_is_also_retried(
    memory: _Memory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, finish = _score(_scorer(_Traced(), torch.float32)), ClassScores.finish
    monkeypatch.setattr(ClassScores, "finish", lambda scores: None if scores.exact is not None else finish(scores))
    scorer = _scorer(_Traced(), torch.bfloat16)
    memory.rows = {torch.float32: 24}
    _assert_same(_score(scorer), expected, TOLERANCE)
    assert _halvings(caplog) == _lines(16, 8)
    assert scorer.exact is not None, "later classes have both forms"


@BOTH
def test_one_candidate_that_does_not_fit_is_an_error_with_a_remedy(memory: _Memory, dtype: torch.dtype) -> None:
    scorer = _scorer(_Traced(), dtype)
    memory.rows = {dtype: NUM_CROPS - 1}
    with pytest.raises(InputError) as caught:
        _score(scorer)
    assert str(caught.value) == (
        "scoring in passes of 1 candidate does not fit the memory of cpu (2.00 GiB more requested); "
        "free memory on the device, or give another --device or --device cpu, or a smaller --size or --num-crops"
    )


def test_finished_classes_are_not_scored_again(memory: _Memory, caplog: pytest.LogCaptureFixture) -> None:
    loaded: Counter[int] = Counter()

    def load(row: int) -> tuple[Tensor, Tensor]:
        loaded[row] += 1
        return _load(row)

    expected = _score(_scorer(_Traced(), torch.float32))
    results: list[ScoredClass[int]] = []
    for each in _scorer(_Traced(), torch.float32).score(CLASSES, load, workers=1):
        results.append(each)
        memory.rows = {torch.float32: 24}  # another program takes the rest
    _assert_same(results, expected, TOLERANCE)
    assert _halvings(caplog) == _lines(16, 8)
    assert all(loaded[row] == 1 for row in CLASSES[0][1])
    assert any(loaded[row] == 2 for row in CLASSES[1][1]), "its pixels were dropped, so they are decoded again"


def test_decoding_on_the_device_may_also_fill_its_memory(caplog: pytest.LogCaptureFixture) -> None:
    failures = iter([True])

    def load(row: int) -> tuple[Tensor, Tensor]:
        if row == 210 and next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of")
        return _load(row)

    expected = _score(_scorer(_Traced(), torch.float32))
    results = list(_scorer(_Traced(), torch.float32).score(CLASSES, load, workers=3))
    _assert_same(results, expected, TOLERANCE)
    assert _halvings(caplog) == _lines(16, 8)


@BOTH
def test_recordings_are_dropped_before_smaller_ones_are_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, dtype: torch.dtype
) -> None:
    alive: weakref.WeakSet[_Recording] = weakref.WeakSet()

    class _Recording(FixedShape):
        """A recording takes memory: all recordings together may hold 40 patches."""

        def __init__(self, function: nn.Module, example: Tensor) -> None:
            if sum(each.patches for each in alive) + len(example) > 40:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of")
            super().__init__(function, example)
            self.patches = len(example)
            alive.add(self)

    expected = _score(_scorer(_Traced(), dtype))
    monkeypatch.setattr(device_scoring, "FixedShape", _Recording)
    scorer = _scorer(_Traced(), dtype)
    assert _halvings(caplog) == _lines(16, 8), "24 patches, and 16 more in float32"
    assert len(alive) == (1 if dtype == torch.float32 else 2)
    _assert_same(_score(scorer), expected, TOLERANCE)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@BOTH
def test_a_gpu_with_less_memory_selects_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, dtype: torch.dtype
) -> None:
    """Measures the memory that passes of 64 candidates need, then allows a third of it on top of the rest."""
    monkeypatch.setattr(device_scoring, "CANDIDATES_PER_PASS", 64)
    device = torch.device("cuda", torch.cuda.current_device())
    with seeded_init(0):
        network = build_network("resnet18", num_classes=4, size=224).eval().to(device)
    with torch.no_grad():
        list(network.parameters())[-2].mul_(30.0)
    release(device)
    held = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    expected = _score(_scorer(network, dtype, patch_px=112, size=224))
    allowed = held + (torch.cuda.max_memory_reserved(device) - held) // 3
    release(device)
    assert not _halvings(caplog)
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.mem_get_info(device)[1], device)
    try:
        results = _score(_scorer(network, dtype, patch_px=112, size=224))
        assert torch.cuda.memory_reserved(device) <= allowed
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        release(device)
    assert _halvings(caplog)[0].endswith("scoring in passes of 32 candidates instead of 64")
    _assert_same(results, expected, 1e-4)
