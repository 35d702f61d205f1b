"""The report of a distilled dataset: one HTML page that needs no file but the picture next to it."""

import html
from collections.abc import Collection, Sequence
from typing import Any

from rded_core.io.dataset.images import StoredImages
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.report.pictures import MAX_COLUMNS, MAX_ROWS, contact_sheet, histogram_svg
from rded_core.io.storage.atomic import write_atomically, write_text
from rded_core.text.wording import percent

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; } th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } img { max-width: 100%; } svg { max-width: 38rem; font-size: 12px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { color: #666; } dd { margin: 0; }
.warn { background: #fff3d6; padding: .5rem 1rem; } .note { color: #666; }
"""


def write_report(
    folder: DatasetFolder,
    *,
    stored: StoredImages,
    classes: list[dict[str, Any]],
    recipe: dict[str, Any],
    scores: Sequence[float],
    notes: Sequence[str],
    harmless: Collection[str] = (),
) -> None:
    """Writes report/index.html and report/mosaics.jpg.

    Args:
        folder: the dataset.
        stored: its images.
        classes: the entries of classes.json, with ``rejected`` (reason to count) and ``median_score_nats`` added.
        recipe: recipe.json.
        scores: realism score of every patch kept, in nats; empty for controls.
        notes: sentences that a reader should see first (classes with too few images, rejected images).
        harmless: the notes that ask for nothing, which are not highlighted.
    """
    groups = [(entry["name"], stored.images[stored.class_indices == entry["index"]]) for entry in classes[:MAX_ROWS]]
    picture = contact_sheet([(name, images) for name, images in groups if len(images)])
    write_atomically(folder.mosaics, lambda temporary: temporary.write_bytes(picture))
    facts = {
        "images": f"{recipe['num_images']} of {recipe['size']} px, {recipe['ipc']} per class",
        "selection": recipe["selection_note"],
        "observer": f"{recipe['observer']['spec']}, top-1 {_percent(recipe['observer']['top1'])} on the candidates",
        "teacher": f"{recipe['teacher']['spec']}, {describe_labels(recipe)}, protocol {recipe['protocol']}",
    }
    write_text(folder.report, _page(facts, classes, scores, _notes(notes, harmless)))


def describe_labels(recipe: dict[str, Any]) -> str:
    """Returns what labels a dataset holds, in words that need no escaping in HTML."""
    return f"{recipe['label_epochs']} epochs of labels as {recipe['label_codec']}"


def _notes(notes: Sequence[str], harmless: Collection[str]) -> str:
    return "".join(f'<p class="{"note" if note in harmless else "warn"}">{html.escape(note)}</p>' for note in notes)


def _page(facts: dict[str, str], classes: list[dict[str, Any]], scores: Sequence[float], notes: str) -> str:
    listed = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.items())
    chart = histogram_svg(scores, label="realism score of the patches kept (nats, higher is more realistic)")
    rows = "".join(_class_row(entry) for entry in classes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Distilled dataset</title><style>{STYLE}</style></head><body>
<h1>Distilled dataset</h1>{notes}<dl>{listed}</dl>
<h2>Images</h2><p>First {min(len(classes), MAX_ROWS)} of {len(classes)} classes, up to {MAX_COLUMNS} images each.</p>
<img src="mosaics.jpg" alt="distilled images, one class per row">
<h2>Scores</h2>{chart or "<p>This set is a control: its patches were not scored.</p>"}
<h2>Classes</h2><table><tr><th>class</th><th>folder</th><th>in source</th><th>candidates</th><th>rejected</th>
<th>images</th><th>median score (nats)</th></tr>{rows}</table>
</body></html>
"""


def _class_row(entry: dict[str, Any]) -> str:
    rejected = ", ".join(f"{count} {reason}" for reason, count in sorted(entry["rejected"].items())) or "0"
    score = entry["median_score_nats"]
    cells = [
        html.escape(entry["name"]),
        html.escape(entry["folder"]),
        entry["num_source"],
        entry["num_candidates"],
        html.escape(rejected),
        entry["num_images"],
        "–" if score is None else f"{score:.2g}",
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _percent(share: float | None) -> str:
    return "not measured" if share is None else percent(share)
