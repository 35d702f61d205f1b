"""The small files of a dataset: classes, recipe, README, croissant metadata, checksums."""

from typing import Any

from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.report.label_readers import READERS, STORED, kind_of_codec
from rded_core.io.storage.atomic import write_text

README = """---
pretty_name: Distilled image classification dataset
task_categories:
- image-classification
size_categories:
- {size_category}
tags:
- dataset-distillation
configs:
- config_name: soft_labels
  data_files: soft_labels/*.parquet
- config_name: lineage
  data_files: lineage/*.parquet
---
# Distilled image classification dataset

{num_images} images of {size} px in {num_classes} classes ({names}),
{ipc} per class, with the teacher's soft labels for {label_epochs} epochs of recorded views (label codec {label_codec}).
Images: {selection_note}.

| file | what it holds |
|---|---|
| `classes.json` | class index, name, WordNet id, source folder, counts; **the order of the logits** |
| `recipe.json` | size, mean and std, view recipe, temperature, loss, optimiser, schedule |
| `images/*.tar` | WebDataset shards: `<key>.{image_suffix}`, `<key>.cls` (class index), `<key>.json` |
| `soft_labels/*.parquet` | one row per view: its parameters and {stored}; one row group per epoch |{head_row}
| `lineage/*.parquet` | one row per patch: source image, its SHA-256, box, realism score in nats |
| `report/index.html` | pictures and distributions |
| `SHA256SUMS` | `sha256sum -c SHA256SUMS` checks all of it |

## Train on it

A view is: patch shuffle ({views[factor]} x {views[factor]} cells: output column c shows input column `column_order[c]`,
then rows likewise) -> crop box -> bilinear antialiased resize to {size} px -> flip -> normalise with the recipe's mean
and std -> paste the box `mix_*` of the view at `mix_position` of the same batch (or blend it, where `mix_weight` > 0).
Minimise KL(teacher || student) between softmaxes at temperature {temperature:g}. Every parameter is a column; nothing
has to be drawn again. Training takes {epochs} epochs; where fewer are recorded, they are walked again and again. In
PyTorch, with nothing but these files:

```python
{example}```

Or, with rded: `rded evaluate DIR --val VALIDATION_IMAGES --student {suggested_student} --controls none`.

Made with rded {rded_version} (algorithm version {algorithm_version}), after RDED
(Sun et al., CVPR 2024, arXiv 2312.03526).
The images are cut from the source's images; their licence is the source's.
"""


EXAMPLE = """import json
import math
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.nn import functional

ROOT = Path(".")  # this folder
recipe = json.loads((ROOT / "recipe.json").read_text())
size, factor = recipe["size"], recipe["views"]["factor"]
mean, std = (torch.tensor(recipe[name]).view(3, 1, 1) for name in ("mean", "std"))
edges = [cell * size // factor for cell in range(factor + 1)]
cells = [torch.arange(edges[cell], edges[cell + 1]) for cell in range(factor)]

images = {}
for tar in sorted(ROOT.glob("images/*.tar")):
    with tarfile.open(tar) as archive:
        for member in archive:
            key, ending = member.name.split(".", 1)
            if ending == recipe["image_suffix"]:
                picture = Image.open(archive.extractfile(member)).convert("RGB")
                images[key] = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


def window(row, kind):
    top, left, height, width = (row[f"{kind}_{side}"] for side in ("top", "left", "height", "width"))
    return slice(top, top + height), slice(left, left + width)


def view_of(image, row):
    image = image[:, :, torch.cat([cells[cell] for cell in row["column_order"]])]
    image = image[:, torch.cat([cells[cell] for cell in row["row_order"]])]
    image = image[(..., *window(row, "crop"))][None]
    image = functional.interpolate(image, size=(size, size), mode="bilinear", antialias=True)[0]
    return ((image.flip(-1) if row["flip"] else image) - mean) / std


LOGITS_OF
def recorded_batches(epoch):
    \"\"\"Yields (views, teacher logits), batch by batch; one file holds ten epochs, one row group each.\"\"\"
    table = sorted(ROOT.glob("soft_labels/*.parquet"))[epoch // 10]
    rows = pq.ParquetFile(table).read_row_group(epoch % 10).to_pylist()
    for number in range(rows[-1]["batch"] + 1):
        batch = [row for row in rows if row["batch"] == number]
        views = torch.stack([view_of(images[row["key"]], row) for row in batch])
        partners = views[[row["mix_position"] for row in batch]]
        for view, partner, row in zip(views, partners, batch):
            place = (..., *window(row, "mix"))
            view[place] = partner[place]
            view.lerp_(partner, row["mix_weight"])
        yield views, torch.stack([logits_of(row) for row in batch])


def loss(student_logits, teacher_logits, temperature=recipe["temperature"]):
    student = functional.log_softmax(student_logits / temperature, dim=1)
    teacher = functional.softmax(teacher_logits / temperature, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean")
"""
"""What README.md shows: a reader of its own, which a test holds to the one in `rded_core.io.dataset.distilled`.

``LOGITS_OF`` stands for what the dataset's codec needs.
"""

HEAD_ROW = "\n| `teacher_head.parquet` | weight and bias of the teacher's last layer, a row a class |"


def write_readme(folder: DatasetFolder, *, recipe: dict[str, Any], classes: list[dict[str, Any]]) -> None:
    """Writes the dataset's own README: what it holds, how to read it with nothing but its files, how it was made.

    Its first lines tell the Hugging Face Hub, and ``datasets.load_dataset(folder, "soft_labels")``, which files make up
    a table.
    """
    names = ", ".join(entry["name"] for entry in classes[:12]) + (" ..." if len(classes) > 12 else "")
    kind = kind_of_codec(recipe["label_codec"])
    example = EXAMPLE.replace("LOGITS_OF\n", f"{READERS[kind].lstrip()}\n\n")
    example = example if "math." in example else example.replace("import math\n", "")
    told = {"stored": STORED[kind], "head_row": HEAD_ROW if kind == "features" else "", "example": example}
    told["size_category"] = size_category(recipe["num_images"])
    write_text(folder.readme, README.format(names=names, **told, **recipe))


def size_category(num_images: int) -> str:
    """Names a number of images as the Hugging Face Hub sorts its datasets by size."""
    bounds = ((10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"))
    above = [number for number, (bound, _) in enumerate(bounds) if num_images >= bound]
    if not above:
        return f"n<{bounds[0][1]}"
    low = above[-1]
    return f"n>{bounds[low][1]}" if low + 1 == len(bounds) else f"{bounds[low][1]}<n<{bounds[low + 1][1]}"
