"""Evaluate a distilled dataset: students trained on it and on its controls, measured on real images."""

from dataclasses import replace
from typing import Any

from prefect import flow

from flows.distill import distill
from flows.forms import EvaluateForm
from rded_core.io.remote.places import as_shown
from rded_core.io.remote.working_copy import run_to_change
from tasks.publish.show import show_evaluation
from tasks.training.evaluate import control_set, prepare_evaluation, sum_up
from tasks.training.train_student import train_student


@flow(name="evaluate", flow_run_name="evaluate {config.student} · {config.short_name}")
def evaluate(config: EvaluateForm) -> dict[str, Any]:
    """Trains one student a seed on the dataset and on each control, and returns the table of accuracies.

    Args:
        config: what to evaluate, with which student, and how.
    """
    with run_to_change(config.dataset) as dataset:
        config = replace(config, dataset=dataset)
        plan = prepare_evaluation(config)
        sets = [plan.distilled]
        for name, control in plan.controls.items():
            distill(control)
            sets.append(control_set(plan, name))
        results = {
            chosen.name: [train_student(config, plan.run, chosen, seed) for seed in range(config.seeds)]
            for chosen in sets
        }
        table = sum_up(config, plan, results)
        show_evaluation(as_shown(plan.run.root), table)
        return table
