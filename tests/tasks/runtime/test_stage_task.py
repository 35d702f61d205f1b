"""Task runs: what they are called, and what their state says when they fail."""

import pickle

import pytest
from prefect import Task, flow

from rded_core.errors import InputError, StageFailed, describe_failure
from tasks.runtime.stage_task import stage_task, takes_gpu

NAME = "score 0010-0019 · photos"


@stage_task("score", "score {shard} · photos")
def _fail(shard: str, error: Exception) -> None:
    del shard
    raise error


@flow(validate_parameters=False)
def _failing(error: Exception) -> str:
    return str(_fail("0010-0019", error, return_state=True).message)


@flow(validate_parameters=False)
def _raising(error: Exception) -> None:
    _fail("0010-0019", error)


def test_what_failed_why_and_how_to_go_on() -> None:
    told = describe_failure(NAME, OSError(5, "Input/output error"))
    assert told == (f"{NAME} failed: OSError: [Errno 5] Input/output error; start the same run again to resume it")
    assert describe_failure(NAME, MemoryError()).startswith(f"{NAME} failed: MemoryError; ")
    assert "\n" not in describe_failure(NAME, ValueError("two\nlines"))
    assert "hunter2" not in describe_failure(NAME, OSError("cannot read https://me:hunter2@host/a.tar"))


def test_the_error_of_a_stage_travels_between_processes() -> None:
    assert str(pickle.loads(pickle.dumps(StageFailed("score failed")))) == "score failed"


def test_without_prefect_an_error_stays_what_it_is() -> None:
    with pytest.raises(OSError, match="disk"):
        _fail.fn("0010-0019", OSError("disk"))


@pytest.mark.usefixtures("prefect_harness")
def test_states_say_what_failed() -> None:
    told = f"{NAME} failed: OSError: disk; start the same run again to resume it"
    assert told in _failing(OSError("disk"))
    with pytest.raises(StageFailed, match="disk") as raised:
        _raising(OSError("disk"))
    assert isinstance(raised.value.__cause__, OSError)


@pytest.mark.usefixtures("prefect_harness")
def test_states_keep_the_words_of_a_mistake() -> None:
    message = _failing(InputError("class 'cat' has 3 usable images; lower --ipc"))
    assert message.endswith("class 'cat' has 3 usable images; lower --ipc")


def test_tasks_have_no_tags_for_which_prefect_would_ask_its_server() -> None:
    import flows.distill
    import flows.evaluate
    import flows.train_observer

    modules = (flows.distill, flows.evaluate, flows.train_observer)
    tasks = [value for module in modules for value in vars(module).values() if isinstance(value, Task)]
    assert len(tasks) >= 10
    assert not [task.name for task in tasks if task.tags]
    assert takes_gpu(flows.distill.score_crops)
    assert takes_gpu(flows.distill.score_crops.with_options(retries=0))
    assert not takes_gpu(flows.distill.tile)
