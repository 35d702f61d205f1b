"""Train an observer."""

from typing import Any

from prefect import flow

from flows.forms import TrainObserverForm
from tasks.training.train_observer import train_observer as train_stage


@flow(name="train-observer", flow_run_name="train {config.arch} · {config.short_name}")
def train_observer(config: TrainObserverForm) -> dict[str, Any]:
    """Trains one network on a labelled source, as observer or teacher, and returns its record.

    Triggered on demand, before a distillation that uses the network: by ``rded train-observer``, or as deployment
    ``train-observer/train-observer`` of ``rded up``, one run at a time. It has no schedule.

    Args:
        config: what to train, on what, and how.
    """
    return train_stage(config)
