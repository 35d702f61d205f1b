"""Reads the recorded views of a distilled dataset, and the teacher's logits for them, from its files alone."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

images: dict[str, torch.Tensor] = {}
for tar in sorted(ROOT.glob("images/*.tar")):
    with tarfile.open(tar) as archive:
        for member in archive:
            key, suffix = member.name.split(".", 1)
            stream = archive.extractfile(member)
            if stream and suffix == recipe["image_suffix"]:
                picture = Image.open(stream).convert("RGB")
                images[key] = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


def window(row: dict[str, Any], kind: str) -> tuple[slice, slice]:
    top, left, height, width = (row[f"{kind}_{side}"] for side in ("top", "left", "height", "width"))
    return slice(top, top + height), slice(left, left + width)


def view_of(image: torch.Tensor, row: dict[str, Any]) -> torch.Tensor:
    image = image[:, :, torch.cat([cells[cell] for cell in row["column_order"]])]
    image = image[:, torch.cat([cells[cell] for cell in row["row_order"]])]
    image = image[(..., *window(row, "crop"))][None]
    image = functional.interpolate(image, size=(size, size), mode="bilinear", antialias=True)[0]
    return ((image.flip(-1) if row["flip"] else image) - mean) / std


if recipe["label_codec"].startswith("float16"):

    def logits_of(row: dict[str, Any]) -> torch.Tensor:
        return torch.tensor(row["logits"], dtype=torch.float32)

elif recipe["label_codec"].startswith("int8"):

    def logits_of(row: dict[str, Any]) -> torch.Tensor:
        codes = torch.frombuffer(bytearray(row["logit_codes"]), dtype=torch.uint8)
        return float(row["logit_offset"]) + float(row["logit_scale"]) * codes

elif recipe["label_codec"].startswith("int4"):

    def logits_of(row: dict[str, Any]) -> torch.Tensor:
        packed = torch.frombuffer(bytearray(row["logit_codes"]), dtype=torch.uint8)
        codes = torch.stack([packed & 15, packed >> 4], dim=1).flatten()[: recipe["num_classes"]]
        return float(row["logit_offset"]) + float(row["logit_scale"]) * codes

elif recipe["label_codec"].startswith("features"):
    head = pq.read_table(ROOT / "teacher_head.parquet")
    weight, bias = (torch.tensor(head[name].to_pylist()) for name in ("weight", "bias"))

    def logits_of(row: dict[str, Any]) -> torch.Tensor:
        codes = torch.frombuffer(bytearray(row["feature_codes"]), dtype=torch.uint8)
        return weight @ (float(row["feature_offset"]) + float(row["feature_scale"]) * codes) + bias

elif recipe["label_codec"].startswith("topk"):

    def logits_of(row: dict[str, Any]) -> torch.Tensor:
        num_others = recipe["num_classes"] - len(row["top_class"])
        even = recipe["temperature"] * (row["tail_logsumexp"] - float(np.log(num_others)))
        logits = torch.full((recipe["num_classes"],), even)
        logits[row["top_class"]] = torch.tensor(row["top_logit"], dtype=torch.float32)
        return logits

else:
    raise ValueError(f"unknown label codec {recipe['label_codec']!r}")


def recorded_batches(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields (views, teacher logits), batch by batch; one file holds ten epochs, one row group each."""
    table = sorted(ROOT.glob("soft_labels/*.parquet"))[epoch // 10]
    rows = pq.ParquetFile(table).read_row_group(epoch % 10).to_pylist()
    for number in range(rows[-1]["batch"] + 1):
        batch = [row for row in rows if row["batch"] == number]
        views = torch.stack([view_of(images[row["key"]], row) for row in batch])
        partners = views[[row["mix_position"] for row in batch]]
        for view, partner, row in zip(views, partners, batch, strict=True):
            place = (..., *window(row, "mix"))
            view[place] = partner[place]
            view.lerp_(partner, row["mix_weight"])
        yield views, torch.stack([logits_of(row) for row in batch])


def loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float = recipe["temperature"]
) -> torch.Tensor:
    student = functional.log_softmax(student_logits / temperature, dim=1)
    teacher = functional.softmax(teacher_logits / temperature, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean")
