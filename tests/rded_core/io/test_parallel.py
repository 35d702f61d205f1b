"""Ordered, bounded fan-out over threads."""

import threading
import time
from collections.abc import Iterator

import pytest

from rded_core.io.parallel import map_ordered


@pytest.mark.parametrize("workers", [0, 1, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_results_keep_the_order_of_items(workers: int, count: int) -> None:
    def late_first(item: int) -> int:
        time.sleep(0.001 * (3 - item % 4))
        return item * item

    assert list(map_ordered(late_first, range(count), workers=workers)) == [item * item for item in range(count)]


def test_workers_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3)
    assert len(list(map_ordered(lambda _: barrier.wait(timeout=10), range(3), workers=3))) == 3


def test_an_exception_is_raised_at_its_items_place() -> None:
    def fails_at_four(item: int) -> int:
        if item == 4:
            raise ValueError("item four")
        time.sleep(0.002)
        return item

    seen: list[int] = []
    with pytest.raises(ValueError, match="item four"):
        seen.extend(map_ordered(fails_at_four, range(100), workers=4))
    results = map_ordered(fails_at_four, range(100), workers=4)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="item four"):
        next(results)


def test_no_new_work_starts_after_an_exception() -> None:
    started: list[int] = []

    def fails_at_once(item: int) -> None:
        started.append(item)
        time.sleep(0.01)
        raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        list(map_ordered(fails_at_once, range(1000), workers=2))
    assert len(started) <= 5


def test_an_exception_of_the_iterable_is_raised() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("no more items")

    with pytest.raises(OSError, match="no more items"):
        list(map_ordered(str, broken(), workers=2))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_at_most_two_items_per_worker_are_taken_ahead(workers: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    for number, result in enumerate(map_ordered(str, items(), workers=workers)):
        assert result == str(number)
        assert taken <= number + 1 + 2 * workers


def test_a_reader_that_stops_early_ends_the_work() -> None:
    started: list[int] = []

    def slow(item: int) -> int:
        started.append(item)
        time.sleep(0.005)
        return item

    results = map_ordered(slow, range(1000), workers=2)
    assert next(iter(results)) == 0
    results.close()  # type: ignore[attr-defined]
    assert len(started) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rded")]
