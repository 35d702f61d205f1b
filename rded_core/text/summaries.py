"""Summaries of a run and its results, as tables and text: for the terminal, and for Prefect's artifacts."""

import re
from collections.abc import Sequence
from typing import Any

from rded_core.text.wording import TOP5_CLASSES, counted, percent

MAX_REASONS = 3
"""Reasons listed one by one; the rest becomes ``...``."""

NOTHING = "–"


def format_size(num_bytes: int | float) -> str:
    """Returns a number of bytes with a suitable unit: ``999 B``, ``1.2 kB``."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"


def describe_kept(epochs: int, wanted: int) -> str:
    """Returns how many epochs of labels are stored, out of those students train for: ``10 of 300 epochs``."""
    return counted(epochs, "epoch") if epochs == wanted else f"{epochs} of {wanted} epochs"


def describe_stage(entry: dict[str, Any]) -> str:
    """Returns how many units of a stage were reused, made (with the reasons) and left out."""
    parts = [
        f"{entry['reused']} reused" if entry["reused"] else "",
        f"{entry['made']} made ({describe_reasons(entry['why'])})" if entry["made"] else "",
        f"{entry['left_out']} left out" if entry["left_out"] else "",
    ]
    return ", ".join(filter(None, parts))


def describe_reasons(why: dict[str, int]) -> str:
    """Lists the reasons why units were made, each with its count if there are several."""
    reasons = [reason if len(why) == 1 or count == 1 else f"{count} {reason}" for reason, count in why.items()]
    return "; ".join(reasons[:MAX_REASONS]) + ("; ..." if len(reasons) > MAX_REASONS else "")


def describe_rejected(rejected: dict[str, int]) -> str:
    """Lists rejected images by reason; ``0`` if there are none."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items())) or "0"


def mean_std(measure: dict[str, Any]) -> str:
    """Returns an accuracy in 0..1 over seeds as ``58.8 ± 0.4 %``, or ``58.8 %`` without a spread."""
    spread = "" if measure["std"] is None else f" ± {100 * measure['std']:.1f}"
    return f"{100 * measure['mean']:.1f}{spread} %"


def class_rows(
    classes: Sequence[dict[str, Any]], best: dict[int, float], work: dict[int, tuple[float, list[str]]]
) -> list[dict[str, Any]]:
    """Returns one table row per class.

    Args:
        classes: class entries of a dataset, with ``rejected`` and ``median_score_nats``.
        best: best realism score of each class's patches, in nats; empty for controls.
        work: seconds that each class took in this run, and the stages that were made for it.
    """
    return [
        {
            "class": _label_of(entry),
            "candidates": entry["num_candidates"],
            "rejected": describe_rejected(entry["rejected"]),
            "images": entry["num_images"],
            "best (nats)": _nats(best.get(entry["index"])),
            "median (nats)": _nats(entry["median_score_nats"]),
            "seconds": round(work[entry["index"]][0], 1),
            "made": ", ".join(work[entry["index"]][1]) or "reused",
        }
        for entry in classes
    ]


def _label_of(entry: dict[str, Any]) -> str:
    return entry["folder"] if entry["folder"] == entry["name"] else f"{entry['name']} ({entry['folder']})"


def _nats(score: float | None) -> str:
    return NOTHING if score is None else f"{score:.2g}"


def accuracy_rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns one table row per training set (the dataset and its controls), with its accuracies over seeds."""
    return [
        {
            "trained on": name,
            "top-1 last": mean_std(summary["last_top1"]),
            "top-1 best": mean_std(summary["best_top1"]),
            **({"top-5 last": mean_std(summary["last_top5"])} if table["num_classes"] >= TOP5_CLASSES else {}),
            "seeds": table["num_seeds"],
        }
        for name, summary in table["sets"].items()
    ]


def describe_evaluation(table: dict[str, Any]) -> str:
    """Returns what was trained, how, and on which images it was measured."""
    unfair = (
        " Measured on the images the dataset was distilled from: not a fair measure." if table["val_is_source"] else ""
    )
    return (
        f"{table['student']} trained on {table['dataset']} and its controls, {counted(table['epochs'], 'epoch')}, "
        f"protocol {table['protocol']}, ipc {table['ipc']}; measured on {table['val']}.{unfair}"
    )


def distilled_markdown(title: str, record: dict[str, Any]) -> str:
    """Returns a distillation's page in Markdown: its results, its location, and what was reused or made, and why."""
    return "\n\n".join([f"# {escape(title)}", *_outcome(record), "## Work of this run", _work_table(record["work"])])


def _outcome(record: dict[str, Any]) -> list[str]:
    if record["dataset"] is None:
        return [f"**Nothing published:** {escape(record['why_missing'])}. Run again without `only_classes`."]
    kept = describe_kept(record["label_epochs"], record["training_epochs"])
    source = counted(record["num_source"], "source image")
    rows = [
        (
            "images",
            f"{record['num_images']} in {record['num_classes']} classes, from {source}",
        ),
        ("bytes", f"images {format_size(record['image_bytes'])}, labels {format_size(record['label_bytes'])}"),
        ("labels", f"{kept}, {record['label_codec']}"),
        ("observer", f"top-1 {percent(record['observer_top1'])} on the candidates"),
        ("rejected", describe_rejected(record["rejected"])),
        ("dataset", in_code(record["dataset"])),
        ("report", in_code(f"{record['dataset']}/report/index.html")),
        ("next", in_code(f"rded evaluate {record['out']} --val VALIDATION_IMAGES --student NAME")),
    ]
    first, *others = (f"| {name} | {text} |" for name, text in rows)
    table = "\n".join([first, "|---|---|", *others])
    return [*(f"**Warning:** {escape(warning)}" for warning in record["warnings"]), table]


def _work_table(work: Sequence[dict[str, Any]]) -> str:
    lines = ["| stage | reused | made | left out | why made |", "|---|---:|---:|---:|---|"]
    for entry in work:
        why = escape(describe_reasons(entry["why"])) or NOTHING
        lines.append(f"| {entry['stage']} | {entry['reused']} | {entry['made']} | {entry['left_out']} | {why} |")
    return "\n".join(lines)


def escape(text: str) -> str:
    """Returns a text on one line, escaped so that Markdown shows it literally."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~])", r"\\\1", " ".join(text.split()))


def in_code(text: str) -> str:
    """Returns a path or command as inline Markdown code, safe inside a table."""
    return f"`{' '.join(text.split()).replace('`', '').replace('|', '')}`"


def artifact_key(name: str, digest: str, what: str) -> str:
    """Returns the key of a run folder's artifact, the same in every run: lower-case letters, digits and dashes.

    Args:
        name: name of the folder.
        digest: hexadecimal digest of its whole path, which distinguishes folders of the same name.
        what: content of the artifact.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"
    return f"{plain}-{digest[:6]}-{what}"
