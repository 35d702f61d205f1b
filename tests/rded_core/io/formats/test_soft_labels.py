"""Soft-label tables: round trip, layout, other readers, damage."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.formats.soft_labels import LabelledBatch, LabelReader, split_batches, write_soft_labels
from rded_core.labels.codecs import HalfCodec
from rded_core.labels.views import ViewRecipe, Views, draw_views

NUM_CLASSES = 5
KEYS = [f"c{index:05d}_i00000" for index in range(7)]
CLASS_INDICES = torch.tensor([4, 0, 1, 1, 2, 3, 4])
OPTIONS = {"keys": KEYS, "class_indices": CLASS_INDICES, "codec": HalfCodec(NUM_CLASSES)}


def read_epoch(path: Path, row_group: int, keys: list[str] = KEYS) -> list[LabelledBatch]:
    return split_batches(LabelReader(keys, HalfCodec(NUM_CLASSES)).read_epoch(path, row_group))


def drawn_epochs(mix: str = "cutmix") -> dict[int, list[LabelledBatch]]:
    """Draws two epochs of seven images in batches of three."""
    recipe = ViewRecipe(size=16, factor=2, crop_scale_min=0.3, flip=True, mix=mix)
    epochs: dict[int, list[LabelledBatch]] = {}
    for epoch in (21, 20):
        generator = torch.Generator().manual_seed(epoch)
        batches = torch.randperm(len(KEYS), generator=generator).split(3)
        epochs[epoch] = [
            (rows, draw_views(recipe, len(rows), generator), torch.randn(len(rows), NUM_CLASSES, generator=generator))
            for rows in batches
        ]
    return {
        epoch: [(rows, views, {"logits": (20 * logits).half()}) for rows, views, logits in batches]
        for epoch, batches in epochs.items()
    }


def write(path: Path, mix: str = "cutmix") -> dict[int, list[LabelledBatch]]:
    epochs = drawn_epochs(mix)
    stream = ((epoch, batch) for epoch, batches in sorted(epochs.items()) for batch in batches)
    write_soft_labels(path, stream, **OPTIONS, metadata={"seed": 3})
    return epochs


def parts(views: Views) -> list[Tensor]:
    return [getattr(views, name) for name in Views.__dataclass_fields__]


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
def test_epochs_round_trip(tmp_path: Path, mix: str) -> None:
    epochs = write(tmp_path / "t.parquet", mix)
    for row_group, epoch in enumerate((20, 21)):
        read = read_epoch(tmp_path / "t.parquet", row_group)
        assert len(read) == 3
        for (rows, views, logits), (old_rows, old_views, old_logits) in zip(read, epochs[epoch], strict=True):
            assert torch.equal(rows, old_rows)
            assert logits["logits"].dtype == torch.float16
            assert torch.equal(logits["logits"], old_logits["logits"])
            for new, old in zip(parts(views), parts(old_views), strict=True):
                assert new.dtype == old.dtype
                assert torch.equal(new, old)


def test_rows_follow_the_datasets_own_order_of_keys(tmp_path: Path) -> None:
    epochs = write(tmp_path / "t.parquet")
    shifted = [f"other_{number}" for number in range(100)] + KEYS
    assert torch.equal(read_epoch(tmp_path / "t.parquet", 0, shifted)[1][0], epochs[20][1][0] + 100)


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_one_row_group_an_epoch_sorted_by_batch_and_position(tmp_path: Path) -> None:
    epochs = write(tmp_path / "t.parquet")
    opened = pq.ParquetFile(tmp_path / "t.parquet")
    assert opened.num_row_groups == 2
    for row_group, epoch in enumerate((20, 21)):
        rows = opened.read_row_group(row_group).to_pylist()
        places = [(row["epoch"], row["batch"], row["position"]) for row in rows]
        assert places == [(epoch, number // 3, number % 3) for number in range(7)]
        order = torch.cat([batch[0] for batch in epochs[epoch]]).tolist()
        assert [row["key"] for row in rows] == [KEYS[number] for number in order]
        assert [row["class_index"] for row in rows] == CLASS_INDICES[order].tolist()


def test_metadata_names_codec_and_version(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet")
    described = json.loads(pq.read_schema(tmp_path / "t.parquet").metadata[b"rded"])
    assert described == {"codec": "float16", "schema_version": 1, "seed": 3}


def test_epochs_are_written_before_later_ones_are_made(tmp_path: Path) -> None:
    batch = drawn_epochs()[20][0]
    written: list[int] = []

    def stream() -> Iterator[tuple[int, LabelledBatch]]:
        for epoch in range(20):
            written.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
            yield epoch, batch

    write_soft_labels(tmp_path / "t.parquet", stream(), **OPTIONS, metadata={})
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 20
    per_epoch = written[-1] / 20
    assert written[-1] > 0
    assert written[10] > 4 * per_epoch, "at most a few of eleven epochs may be in memory"


def test_labels_that_fail_halfway_leave_no_file(tmp_path: Path) -> None:
    batch = drawn_epochs()[20][0]

    def stream() -> Iterator[tuple[int, LabelledBatch]]:
        yield from ((epoch, batch) for epoch in range(6))
        raise ValueError("the teacher gave up")

    with pytest.raises(ValueError, match="gave up"):
        write_soft_labels(tmp_path / "t.parquet", stream(), **OPTIONS, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_only_search_columns_have_statistics_and_only_logits_lack_a_dictionary(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet")
    group = pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    for column in columns:
        plain = column.path_in_schema.startswith("logits")
        assert column.is_stats_set == (column.path_in_schema in ("epoch", "batch", "key", "class_index"))
        assert ("RLE_DICTIONARY" in column.encodings) != (plain or column.physical_type == "BOOLEAN")


def flat_logits(epochs: dict[int, list[LabelledBatch]]) -> list[list[float]]:
    return [row for epoch in (20, 21) for batch in epochs[epoch] for row in batch[2]["logits"].float().tolist()]


def test_duckdb_reads_the_plain_codec(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is a dev extra")
    epochs = write(tmp_path / "t.parquet")
    query = (
        f"SELECT logits, key, crop_top, flip FROM read_parquet('{tmp_path}/t.parquet') ORDER BY epoch, batch, position"
    )
    rows = duckdb.connect().execute(query).fetchall()
    assert [[float(value) for value in row[0]] for row in rows] == flat_logits(epochs)
    assert [row[1] for row in rows[:3]] == [KEYS[number] for number in epochs[20][0][0].tolist()]
    assert [row[2] for row in rows[:3]] == epochs[20][0][1].crop_box[:, 0].tolist()
    assert [row[3] for row in rows[:3]] == epochs[20][0][1].flip.tolist()


def test_polars_reads_the_plain_codec(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars", reason="polars is a dev extra")
    epochs = write(tmp_path / "t.parquet")
    frame = polars.read_parquet(tmp_path / "t.parquet")
    assert [[float(value) for value in row] for row in frame["logits"].to_list()] == flat_logits(epochs)
    assert frame["column_order"].to_list()[:3] == epochs[20][0][1].column_order.tolist()
    assert frame["mix_width"].to_list()[:3] == epochs[20][0][1].mix_box[:, 3].tolist()


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "empty"])
def test_damaged_tables_are_errors(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.parquet"
    write(path)
    contents = {"truncated": path.read_bytes()[:-100], "text": b"not a table", "empty": b""}
    path.unlink()
    if damage in contents:
        path.write_bytes(contents[damage])
    with pytest.raises(InputError, match=r"t\.parquet cannot be read"):
        read_epoch(path, 0)


def test_a_missing_epoch_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="cannot be read"):
        read_epoch(tmp_path / "t.parquet", 2)


def test_a_key_of_another_dataset_is_an_error_that_names_it(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet")
    fewer = [key for key in KEYS if key != KEYS[3]]
    with pytest.raises(
        InputError, match=f"does not belong to these images: '{KEYS[3]}' is not one of their keys; fetch both from"
    ):
        read_epoch(tmp_path / "t.parquet", 0, fewer)


def test_a_table_without_a_required_column_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    for missing in ("key", "batch", "logits", "crop_top"):
        pq.write_table(table.drop_columns([missing]), tmp_path / "other.parquet")
        with pytest.raises(InputError, match=missing):
            read_epoch(tmp_path / "other.parquet", 0)


def test_flipped_bytes_give_labels_or_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write(path)
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 4))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(data))
        try:
            read_epoch(path, 0)
        except InputError:
            refused += 1
    assert refused > 10
