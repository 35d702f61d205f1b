"""Evaluate a distilled dataset: students trained on it and on its controls, measured on real images."""

from typing import Any

from prefect import flow

from flows.distill import distill
from flows.forms import EvaluateForm
from tasks.publish.show import show_evaluation
from tasks.training.evaluate import control_set, dataset_to_evaluate, prepare_evaluation, sum_up
from tasks.training.train_student import train_student


@flow(name="evaluate", flow_run_name="evaluate {config.student} · {config.short_name}")
def evaluate(config: EvaluateForm) -> dict[str, Any]:
    """Trains one student per seed on the dataset and on each control, and returns the table of accuracies.

    Triggered on demand, once a dataset is published: by ``rded evaluate``, or as deployment ``evaluate/evaluate`` of
    ``rded up``, one run at a time. It has no schedule.

    Args:
        config: what to evaluate, with which student, and how.
    """
    with dataset_to_evaluate(config) as opened:
        plan = prepare_evaluation(opened)
        sets = [plan.distilled]
        for name, control in plan.controls.items():
            distill(control)
            sets.append(control_set(plan, name))
        results = {
            chosen.name: [train_student(opened, plan, chosen, seed) for seed in range(config.seeds)] for chosen in sets
        }
        table = sum_up(opened, plan, results)
        show_evaluation(plan, table)
        return table
