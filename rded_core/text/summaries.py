"""What a run did and what came of it, in tables and texts for people: the terminal's, and Prefect's artifacts."""

import re
from collections.abc import Sequence
from typing import Any

from rded_core.text.wording import counted

MOST_WHYS = 3
"""Reasons that are told one by one."""

NOTHING = "–"


def format_size(num_bytes: int | float) -> str:
    """Writes a number of bytes with a fitting unit."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"


def describe_kept(epochs: int, wanted: int) -> str:
    """Says how many epochs of labels there are, of how many that students train for."""
    return counted(epochs, "epoch") if epochs == wanted else f"{epochs} of {wanted} epochs"


def describe_stage(entry: dict[str, Any]) -> str:
    """Says how many units of a stage were reused, made and left out, and for which reasons made."""
    parts = [
        f"{entry['reused']} reused" if entry["reused"] else "",
        f"{entry['made']} made ({describe_whys(entry['why'])})" if entry["made"] else "",
        f"{entry['left_out']} left out" if entry["left_out"] else "",
    ]
    return ", ".join(filter(None, parts))


def describe_whys(why: dict[str, int]) -> str:
    """Lists the reasons for which units were made, each with its count where there are several."""
    whys = [reason if len(why) == 1 or count == 1 else f"{count} {reason}" for reason, count in why.items()]
    return "; ".join(whys[:MOST_WHYS]) + ("; ..." if len(whys) > MOST_WHYS else "")


def describe_rejected(rejected: dict[str, int]) -> str:
    """Lists rejected images by reason; ``0`` where there are none."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items())) or "0"


def mean_std(measure: dict[str, Any]) -> str:
    """Writes an accuracy in 0..1 over seeds: ``58.8 ± 0.4 %``."""
    spread = "" if measure["std"] is None else f" ± {100 * measure['std']:.1f}"
    return f"{100 * measure['mean']:.1f}{spread} %"


def class_rows(
    classes: Sequence[dict[str, Any]], best: dict[int, float], work: dict[int, tuple[float, list[str]]]
) -> list[dict[str, Any]]:
    """Returns a table of the classes.

    Args:
        classes: entries of a dataset's classes, with ``rejected`` and ``median_score_nats``.
        best: the best realism score of each class's patches, in nats; empty for controls.
        work: seconds that each class took in this run, and its stages that were made.
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
    """Returns an evaluation's table: each set, the dataset and its controls, with its accuracies over seeds."""
    return [
        {
            "trained on": name,
            "top-1 last": mean_std(summary["last_top1"]),
            "top-1 best": mean_std(summary["best_top1"]),
            "top-5 last": mean_std(summary["last_top5"]),
            "seeds": table["num_seeds"],
        }
        for name, summary in table["sets"].items()
    ]


def describe_evaluation(table: dict[str, Any]) -> str:
    """Says what was trained, how, and on what it was measured."""
    unfair = (
        " Measured on the images the dataset was distilled from: no fair measure." if table["val_is_source"] else ""
    )
    return (
        f"{table['student']} trained on {table['dataset']} and its controls, {counted(table['epochs'], 'epoch')}, "
        f"protocol {table['protocol']}, ipc {table['ipc']}; measured on {table['val']}.{unfair}"
    )


def distilled_markdown(title: str, record: dict[str, Any]) -> str:
    """Returns the page of a distillation: what came of it, where it lies, and what was reused, made, and why."""
    return "\n\n".join([f"# {escape(title)}", *_outcome(record), "## Work of this run", _work_table(record["work"])])


def _outcome(record: dict[str, Any]) -> list[str]:
    if record["dataset"] is None:
        return [f"**Nothing published:** {escape(record['why_missing'])}. Run it without `only_classes`."]
    kept = describe_kept(record["label_epochs"], record["training_epochs"])
    rows = [
        ("images", f"{record['num_images']} in {record['num_classes']} classes, from {record['num_source']}"),
        ("bytes", f"images {format_size(record['image_bytes'])}, labels {format_size(record['label_bytes'])}"),
        ("labels", f"{kept}, {record['label_codec']}"),
        ("observer", f"top-1 {record['observer_top1']:.1%} on the candidates"),
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
        why = escape(describe_whys(entry["why"])) or NOTHING
        lines.append(f"| {entry['stage']} | {entry['reused']} | {entry['made']} | {entry['left_out']} | {why} |")
    return "\n".join(lines)


def escape(text: str) -> str:
    """Returns a text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~])", r"\\\1", " ".join(text.split()))


def in_code(text: str) -> str:
    """Returns a path or command as Markdown's code, within a table."""
    return f"`{' '.join(text.split()).replace('`', '').replace('|', '')}`"


def artifact_key(name: str, digest: str, what: str) -> str:
    """Names what a run folder shows, the same in every run: lower-case letters, digits and dashes.

    Args:
        name: the folder's.
        digest: of its whole path, in hexadecimal, which keeps apart folders of one name.
        what: is shown.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"
    return f"{plain}-{digest[:6]}-{what}"
