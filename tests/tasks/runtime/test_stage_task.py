"""Task runs: their names, and the messages of their states when they fail."""

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


def test_failure_names_task_error_and_remedy() -> None:
    message = describe_failure(NAME, OSError(5, "Input/output error"))
    assert message == (f"{NAME} failed: OSError: [Errno 5] Input/output error; start the same run again to resume it")
    assert describe_failure(NAME, MemoryError()).startswith(f"{NAME} failed: MemoryError; ")
    assert "\n" not in describe_failure(NAME, ValueError("two\nlines"))
    assert "hunter2" not in describe_failure(NAME, OSError("cannot read https://me:hunter2@host/a.tar"))


def test_stage_failed_survives_pickling() -> None:
    assert str(pickle.loads(pickle.dumps(StageFailed("score failed")))) == "score failed"


def test_error_is_unchanged_without_prefect() -> None:
    with pytest.raises(OSError, match="disk"):
        _fail.fn("0010-0019", OSError("disk"))


@pytest.mark.usefixtures("prefect_harness")
def test_states_name_the_failure() -> None:
    message = f"{NAME} failed: OSError: disk; start the same run again to resume it"
    assert message in _failing(OSError("disk"))
    with pytest.raises(StageFailed, match="disk") as raised:
        _raising(OSError("disk"))
    assert isinstance(raised.value.__cause__, OSError)


@pytest.mark.usefixtures("prefect_harness")
def test_states_keep_the_message_of_a_mistake() -> None:
    message = _failing(InputError("class 'cat' has 3 usable images; lower --ipc"))
    assert message.endswith("class 'cat' has 3 usable images; lower --ipc")


def test_tasks_have_no_tags() -> None:
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
