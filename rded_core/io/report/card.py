"""README.md of a dataset: its card, with front matter for the Hugging Face Hub."""

from typing import Any

from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.report.label_readers import STORED, kind_of_codec, read_template, reader_of
from rded_core.io.storage.atomic import write_text

HEAD_ROW = "\n| `teacher_head.parquet` | weight and bias of the teacher's last layer, one row per class |"


def write_readme(folder: DatasetFolder, *, recipe: dict[str, Any], classes: list[dict[str, Any]]) -> None:
    """Writes README.md: what the dataset holds, how to train on it with nothing but its files, how it was made.

    From the front matter, the Hugging Face Hub and ``datasets.load_dataset(folder, "soft_labels")`` learn which files
    make up a table.
    """
    kind = kind_of_codec(recipe["label_codec"])
    texts = {
        "size_category": size_category(recipe["num_images"]),
        "names": ", ".join(entry["name"] for entry in classes[:12]) + (" ..." if len(classes) > 12 else ""),
        "stored": STORED[kind],
        "head_row": HEAD_ROW if kind == "features" else "",
        "reader": reader_of(recipe["label_codec"]),
    }
    write_text(folder.readme, read_template("card.md").format(**texts, **recipe))


def size_category(num_images: int) -> str:
    """Returns the Hugging Face Hub's size category for a number of images."""
    bounds = ((10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"))
    above = [number for number, (bound, _) in enumerate(bounds) if num_images >= bound]
    if not above:
        return f"n<{bounds[0][1]}"
    low = above[-1]
    return f"n>{bounds[low][1]}" if low + 1 == len(bounds) else f"{bounds[low][1]}<n<{bounds[low + 1][1]}"
