"""Rows of soft labels written and read per second, codec by codec, compared with plain Parquet columns of logits.

    python -m benchmarks.labels [--epochs 10] [--images 10000] [--classes 1000] [--work DIR]

Logits are synthetic: normal with standard deviation 3, plus 8 for the label's own class. Each codec runs in a separate
process, so that its peak memory can be measured. ``make s`` is the additional time to draw an epoch's views and encode
its labels. ``raw`` rows hold only one column of float16 logits, written like our tables.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from rded_core.io.device.threads import one_torch_thread
from rded_core.io.formats.soft_labels import EPOCHS_PER_FILE, LabelledBatch, LabelReader, write_soft_labels
from rded_core.io.layout.units import block_name, epoch_blocks
from rded_core.labels.batches import plan_batches
from rded_core.labels.codecs import Codec, find_codec
from rded_core.labels.views import ViewRecipe, draw_views
from rded_core.seeds import counter_generator

CODECS = ("float16", "int8", "int4", "topk:20", "features", "raw list<float16>", "raw fixed_size_list", "raw binary")
NUM_FEATURES = 512
RECIPE = ViewRecipe(size=224, factor=2, crop_scale_min=0.5, flip=True, mix="cutmix")
BATCH = 100


def draw_outputs(codec: Codec, images: int) -> torch.Tensor:
    """Returns synthetic teacher outputs for one epoch."""
    generator = counter_generator(0, "outputs")
    outputs = 3.0 * torch.randn(images, codec.num_outputs, generator=generator)
    if codec.name != "features":
        outputs[torch.arange(images), torch.arange(images) % codec.num_outputs] += 8.0
    return outputs


def make_epoch(codec: Codec, num_images: int) -> list[LabelledBatch]:
    """Returns the views of one epoch with their encoded synthetic labels."""
    outputs = draw_outputs(codec, num_images)
    return [
        (rows, draw_views(RECIPE, len(rows), counter_generator(0, int(rows[0]))), codec.encode(outputs[rows]))
        for rows in plan_batches(num_images, BATCH, counter_generator(0))
    ]


def write_ours(codec: Codec, work: Path, keys: list[str], epochs: int) -> tuple[float, float]:
    """Writes all tables, with the same labels in every epoch; returns the seconds to write and to make the labels."""
    started = time.perf_counter()
    epoch = make_epoch(codec, len(keys))
    made = time.perf_counter()
    for block in epoch_blocks(epochs, EPOCHS_PER_FILE):
        path = work / f"{block_name(block)}.parquet"
        entries = ((number, batch) for number in block for batch in epoch)
        classes = torch.arange(len(keys)) % 1000
        write_soft_labels(path, entries, keys=keys, class_indices=classes, codec=codec, metadata={})
    return time.perf_counter() - made, made - started


def read_ours(codec: Codec, work: Path, keys: list[str], epochs: int) -> float:
    """Reads and decodes all epochs; returns the seconds it took."""
    reader = LabelReader(keys, codec)
    started = time.perf_counter()
    for block in epoch_blocks(epochs, EPOCHS_PER_FILE):
        for number in range(len(block)):
            epoch = reader.read_epoch(work / f"{block_name(block)}.parquet", number)
            for start in range(0, len(keys), BATCH):
                codec.decode({name: part[start : start + BATCH] for name, part in epoch.encoded.items()})
    return time.perf_counter() - started


def raw_column(kind: str, images: int, classes: int) -> pa.Table:
    """Returns a table with one epoch's float16 logits in a single column."""
    halves = draw_outputs(find_codec("float16", num_classes=classes, temperature=1.0), images).half().numpy()
    flat = pa.array(halves.reshape(-1), type=pa.float16())
    if kind == "raw binary":
        width = pa.binary(2 * classes)
        column: Any = pa.Array.from_buffers(width, images, [None, pa.py_buffer(halves.reshape(-1))])
    elif kind == "raw list<float16>":
        column = pa.ListArray.from_arrays(np.arange(images + 1, dtype=np.int32) * classes, flat)
    else:
        column = pa.FixedSizeListArray.from_arrays(flat, classes)
    return pa.table({"logits": column})


def time_raw(kind: str, work: Path, images: int, classes: int, epochs: int) -> tuple[float, float]:
    """Writes and reads the epochs as row groups of one file; returns the seconds for each."""
    table, path = raw_column(kind, images, classes), work / "raw.parquet"
    started = time.perf_counter()
    settings: dict[str, Any] = {"compression": "zstd", "compression_level": 3, "write_page_checksum": True}
    with pq.ParquetWriter(path, table.schema, use_dictionary=False, write_statistics=False, **settings) as writer:
        for _ in range(epochs):
            writer.write_table(table)
    written = time.perf_counter()
    with pq.ParquetFile(path, page_checksum_verification=True) as opened:
        for number in range(epochs):
            opened.read_row_group(number)
    return written - started, time.perf_counter() - written


def measure(name: str, work: Path, *, images: int, classes: int, epochs: int) -> dict[str, Any]:
    """Returns the figures of one codec, measured in this process."""
    keys = [f"c{number % classes:05d}_i{number // classes:05d}" for number in range(images)]
    work.mkdir(parents=True)
    make_s = 0.0
    if name.startswith("raw"):
        write_s, read_s = time_raw(name, work, images, classes, epochs)
    else:
        head = (torch.randn(classes, NUM_FEATURES, generator=counter_generator(1)), torch.zeros(classes))
        codec = find_codec(name, num_classes=classes, temperature=20.0, head=head)
        write_s, make_s = write_ours(codec, work, keys, epochs)
        read_s = read_ours(codec, work, keys, epochs)
    rows = images * epochs
    return {
        "codec": name,
        "written_rows_per_s": rows / write_s,
        "make_s_per_epoch": make_s,
        "read_rows_per_s": rows / read_s,
        "read_s_per_epoch": read_s / epochs,
        "bytes_per_row": sum(path.stat().st_size for path in work.glob("*.parquet")) / rows,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Prints one line per codec; seconds are per epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--work", type=Path, help="by default a temporary folder")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = {"images": options.images, "classes": options.classes, "epochs": options.epochs}
    if options.only:
        with one_torch_thread():  # as the flow writes them
            print(json.dumps(measure(options.only, options.work, **sizes)))
        return
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    titles = (f"{title:>10}" for title in ("written/s", "read/s", "read s", "make s", "B a row", "peak MB"))
    print(f"{'codec':>20}", *titles)
    for name in CODECS:
        work = Path(tempfile.mkdtemp(dir=options.work)) / "tables"
        numbers = [text for field, size in sizes.items() for text in (f"--{field}", str(size))]
        command = [sys.executable, "-m", "benchmarks.labels", "--only", name, "--work", str(work), *numbers]
        figures = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        shutil.rmtree(work.parent)
        print(
            f"{name:>20} {figures['written_rows_per_s']:10.0f} {figures['read_rows_per_s']:10.0f} "
            f"{figures['read_s_per_epoch']:10.3f} {figures['make_s_per_epoch']:10.3f} "
            f"{figures['bytes_per_row']:10.0f} {figures['peak_mb']:10.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
