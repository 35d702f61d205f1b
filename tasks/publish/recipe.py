"""recipe.json: everything needed to train a student, as one JSON object."""

from dataclasses import asdict
from typing import Any

from rded_core import ALGORITHM_VERSION, __version__
from rded_core.io.formats.images import image_suffix
from rded_core.labels.views import CROP_RATIO
from rded_core.training.protocols import LEARNING_RATES, WEIGHT_DECAY, find_protocol, peak_learning_rate
from tasks.labels.labeller import LabelPlan, label_batch_size, label_temperature, view_recipe
from tasks.run.describe import describe_network
from tasks.run.networks import load_planned
from tasks.run.plan import RunPlan

SELECTION_NOTES = {
    "realism": "the most realistic of {candidates} candidates per class with {crops} crops each, "
    "{factor} x {factor} patches in an image",
    "mosaic": "a control: a random crop of each of the first candidates drawn, {factor} x {factor} patches in an image",
    "random": "a control: the central squares of the first candidates drawn, one in an image",
}
"""Description of the images that each selection makes."""


def describe_recipe(plan: RunPlan, chosen: LabelPlan, *, num_images: int, observer_top1: float) -> dict[str, Any]:
    """Returns the recipe of a dataset: images, views, labels, training, and how the dataset was made."""
    config = plan.config
    teacher = load_planned(plan, "teacher")
    protocol = find_protocol(config.protocol)
    spec = load_planned(plan, "observer").spec
    student = spec.partition(":")[2] if spec.startswith(("rded:", "torchvision:")) else "resnet18"
    batch = label_batch_size(config, num_classes=len(plan.classes), num_images=num_images)
    return {
        "size": config.size,
        "mean": list(teacher.preprocessing.mean),
        "std": list(teacher.preprocessing.std),
        "interpolation": "bilinear, antialiased",
        "num_images": num_images,
        "num_classes": len(plan.classes),
        "ipc": config.ipc,
        "image_suffix": image_suffix(config.image_format),
        "epochs": config.label_epochs,
        "label_epochs": chosen.epochs,
        "label_codec": chosen.codec,
        **({"label_choice": chosen.why} if chosen.why else {}),
        "protocol": config.protocol,
        "views": {**asdict(view_recipe(config)), "crop_ratio": list(CROP_RATIO), "batch_size": batch},
        "temperature": label_temperature(config),
        "loss": "KL(teacher || student) between softmaxes at the temperature, mean over the batch",
        "optimiser": {
            "name": "AdamW",
            "betas": [0.9, 0.999],
            "weight_decay": WEIGHT_DECAY,
            "weight_decay_on_1d": 0.0,
            "lr": peak_learning_rate(student),
            "lr_by_student": LEARNING_RATES,
        },
        "schedule": {"name": "cosine", "stretch": protocol.lr_stretch, "per": "epoch"},
        "suggested_student": student,
        "selection": config.selection,
        "factor": config.factor,
        "selection_note": SELECTION_NOTES[config.selection].format(
            candidates=config.num_candidates, crops=config.num_crops, factor=config.factor
        ),
        "num_candidates": config.num_candidates,
        "num_crops": config.num_crops,
        "seed": config.seed,
        "observer": {**describe_network(load_planned(plan, "observer")), "top1": observer_top1},
        "teacher": describe_network(teacher),
        "algorithm_version": ALGORITHM_VERSION,
        "rded_version": __version__,
    }
