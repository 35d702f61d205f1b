"""Files that claim more than they hold: each is refused in little time and memory."""

import io
import json
import resource
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from rded_core.errors import InputError
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.formats import tables
from rded_core.io.formats.images import RejectedImage, decode_image
from rded_core.io.formats.schemas import CANDIDATES
from rded_core.io.formats.shards import read_shard
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.networks.weights import read_weights
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source

HUGE = 8 << 30
DEEP = "[" * 100_000


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Limits this process to 2 GB more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (2 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Returns a tar header with any size, in base 256 if octal has no room for it, and a valid checksum."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT)[:512])
    block[124:136] = b"%011o\0" % size if 0 <= size < 8**11 else (size % 256**12).to_bytes(12, "big")
    if size >= 8**11:
        block[124] = 0x80
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def sound(name: str, data: bytes) -> bytes:
    return header(name, len(data)) + data + bytes(-len(data) % 512)


def sparse(name: str, size: int) -> bytes:
    """Returns a GNU sparse member that is one hole of `size` bytes."""
    block = bytearray(header(name, 0, tarfile.GNUTYPE_SPARSE))
    block[483:495] = size.to_bytes(12, "big")
    block[483] = 0x80
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(**fields: str) -> bytes:
    """Returns an extended header for the member after it."""
    lines = [f" {name.replace('__', '.')}={value}\n".encode() for name, value in fields.items()]
    data = b"".join(b"%d%b" % (len(line) + len(str(len(line) + 2)), line) for line in lines)
    return header("pax", len(data), tarfile.XHDTYPE) + data + bytes(-len(data) % 512)


BEFORE = sound("a.jpg", b"bytes") + sound("a.cls", b"0") + sound("b.jpg", b"bytes") + sound("b.cls", b"1")
END = bytes(1024)
TARS = {
    "a size below zero": BEFORE + header("c.jpg", -2048) + END,
    "a size below zero first": header("c.jpg", -512) + BEFORE + END,
    "an image of 8 GB": BEFORE + header("c.jpg", HUGE) + END,
    "a label of 8 GB": BEFORE + header("c.json", HUGE) + END,
    "a label of 2**80 bytes": BEFORE + header("c.json", 2**80) + END,
    "a label of 8 GB by pax": BEFORE + pax(size=str(HUGE)) + sound("c.json", b"1") + END,
    "a size below zero by pax": BEFORE + pax(size="-1024") + sound("c.json", b"1") + END,
    "a hole of 8 GB": BEFORE + sparse("c.json", HUGE) + END,
    "a hole of 8 GB by pax": BEFORE + pax(GNU__sparse__map="0,0", GNU__sparse__size=str(HUGE)) + sound("c.json", b"1"),
    "a map that is not a number": BEFORE + pax(GNU__sparse__map="x,y") + sound("c.json", b"1") + END,
    "a long name of 8 GB": BEFORE + header("././@LongLink", HUGE, tarfile.GNUTYPE_LONGNAME) + END,
    "a long name below zero": BEFORE + header("././@LongLink", -512, tarfile.GNUTYPE_LONGNAME) + END,
    "an extended header of 8 GB": BEFORE + header("pax", HUGE, tarfile.XHDTYPE) + END,
    "names upon names": BEFORE + header("././@LongLink", 0, tarfile.GNUTYPE_LONGNAME) * 5000 + END,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("data", TARS.values(), ids=TARS)
def test_a_tar_that_claims_too_much_is_damaged(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(tarfile.TarError):
        list(read_shard(tmp_path / "a.tar"))
    with pytest.raises(InputError, match=r"is not a plain tar|is damaged or cut off at byte \d+: "):
        open_source(str(tmp_path))


@pytest.mark.parametrize("num_bytes", [512, 1023])
def test_a_tar_shorter_than_its_end_is_damaged(tmp_path: Path, num_bytes: int) -> None:
    (tmp_path / "a.tar").write_bytes((header("a.cls", 0) + bytes(1024))[:num_bytes])
    with pytest.raises(tarfile.TarError, match="the end-of-archive marker is missing"):
        list(read_shard(tmp_path / "a.tar"))


@pytest.mark.parametrize("label", ["²", "٣", "1" * 5000])
def test_labels_of_odd_digits_are_names(tmp_path: Path, label: str) -> None:
    (tmp_path / "a.tar").write_bytes(BEFORE + sound("c.jpg", b"x") + sound("c.cls", label.encode()) + END)
    assert label in [each.folder for each in open_source(str(tmp_path)).classes]


def test_deeply_nested_json_is_not_a_label(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(BEFORE + sound("c.jpg", b"x") + sound("c.json", DEEP.encode()) + END)
    (tmp_path / "classes.json").write_text(DEEP)
    source = open_source(str(tmp_path))
    assert [each.folder for each in source.classes] == ["0", "1"]
    assert source.num_ignored_files == 1


def claim_rows(data: bytes, held: int, claimed: int, *, only_last: bool = False) -> bytes:
    """Replaces the 64-bit row counts `held` in a Parquet footer; the last one is the row group's."""
    (length,) = struct.unpack("<I", data[-8:-4])
    body, footer = data[: -8 - length], data[-8 - length : -8]
    old = b"\x16" + varint(held)
    assert old in footer
    kept, footer = footer[: footer.rfind(old)] if only_last else b"", footer[footer.rfind(old) if only_last else 0 :]
    footer = kept + footer.replace(old, b"\x16" + varint(claimed))
    return body + footer + struct.pack("<I", len(footer)) + b"PAR1"


def varint(number: int) -> bytes:
    out, remaining = b"", 2 * number
    while remaining > 127:
        out += bytes([remaining & 127 | 128])
        remaining >>= 7
    return out + bytes([remaining])


def hub_table(path: Path, **columns: list[object]) -> bytes:
    pq.write_table(
        pa.table({"image": [b"x%d" % row for row in range(37)], "label": [row % 2 for row in range(37)], **columns}),
        path,
    )
    return path.read_bytes()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("only_last", [True, False])
@pytest.mark.parametrize("claimed", [10**6, HUGE, 2**62])
def test_a_table_that_claims_too_many_rows_is_damaged(tmp_path: Path, claimed: int, only_last: bool) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(claim_rows(hub_table(path), 37, claimed, only_last=only_last))
    with pytest.raises(InputError, match=r"is damaged: it claims \d+ rows|cannot be read"):
        open_source(str(tmp_path))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("only_last", [True, False])
@pytest.mark.parametrize("claimed", [10**6, HUGE, 2**62])
def test_rows_of_ours_that_claim_too_many_are_damaged(tmp_path: Path, claimed: int, only_last: bool) -> None:
    row = dict.fromkeys(CANDIDATES.names, "t") | dict.fromkeys(("offset", "num_bytes", "position"), 1)
    tables.write_rows(tmp_path / "a.parquet", [row | {"in_tar": True}] * 37, CANDIDATES)
    (tmp_path / "a.parquet").write_bytes(
        claim_rows((tmp_path / "a.parquet").read_bytes(), 37, claimed, only_last=only_last)
    )
    with pytest.raises(InputError, match="cannot be read"):
        tables.read_rows(tmp_path / "a.parquet", CANDIDATES)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [[1], [2]] * 18 + [[1]]}, "holds list<.*>; it must hold numbers or text"),
        ({"label": [0, 5] * 18 + [0]}, "label 5 is not one of the 2 classes"),
        ({"label": [0, -2] * 18 + [0]}, "label -2 is not a class number"),
    ],
)
def test_unusable_labels_are_errors(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    hub_table(tmp_path / "a.parquet", **columns)
    features = {"label": {"names": ["cat", "dog"]}}
    table = pq.read_table(tmp_path / "a.parquet")
    described = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(described, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path))


def test_labels_of_two_types_are_an_error(tmp_path: Path) -> None:
    hub_table(tmp_path / "a.parquet")
    hub_table(tmp_path / "b.parquet", label=["cat"] * 37)
    with pytest.raises(InputError, match=r"labels have several types: .* holds the number 0"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    "text", ["no json", "[]", '{"info": []}', '{"info": {"features": {"label": {"names": [1]}}}}', DEEP]
)
def test_hub_metadata_of_unknown_form_gives_no_class_names(tmp_path: Path, text: str) -> None:
    hub_table(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet").replace_schema_metadata({"huggingface": text})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [label.folder for label in open_source(str(tmp_path)).classes] == ["0", "1"]


def test_a_damaged_row_group_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    hub_table(path)
    source = open_source(str(tmp_path))
    start = pq.ParquetFile(path).metadata.row_group(0).column(0).dictionary_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 12] = b"\xff" * 12
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cannot be read as Parquet: [^\n]*; fetch it again$"):
        read_item(source.items[0][0])


@pytest.mark.parametrize("size", [b"\xff" * 8, struct.pack("<Q", HUGE), struct.pack("<Q", 2**40)])
def test_weights_that_claim_too_much_are_refused(tmp_path: Path, size: bytes) -> None:
    from safetensors.torch import save

    whole = save({"fc.weight": torch.ones(3, 4)})
    (tmp_path / "a.safetensors").write_bytes(size + whole[8:])
    (tmp_path / "b.safetensors").write_bytes(whole.replace(b"[3,4]", b"[3,9]"))
    for name in ("a", "b"):
        with pytest.raises(InputError, match="holds no weights that can be read safely"):
            read_weights(str(tmp_path / f"{name}.safetensors"))


RECIPE = '{"num_images": 6, "label_epochs": 2}'
CLASSES = '[{"index": 0, "name": "a", "wnid": null, "folder": "a"}]'


@pytest.mark.parametrize(
    ("recipe", "classes"),
    [
        *(
            (recipe, CLASSES)
            for recipe in ("[]", "3", "{}", DEEP, '{"num_images": -1, "label_epochs": 2}', '{"num_images": 6}')
        ),
        *(
            (RECIPE, classes)
            for classes in ("{}{", "3", '["a"]', "[{}]", DEEP, CLASSES.replace("0", "1"), CLASSES.replace('"a"', "7"))
        ),
    ],
)
def test_a_dataset_of_other_json_is_damaged(tmp_path: Path, recipe: str, classes: str) -> None:
    (tmp_path / "recipe.json").write_text(recipe)
    (tmp_path / "classes.json").write_text(classes)
    with pytest.raises(InputError, match=r"repair its run \(rded repair\), or fetch it again$"):
        DistilledDataset(DatasetFolder(tmp_path))


def claimed_sides(image_format: str, side: int) -> bytes:
    """Returns a tiny picture whose header claims a different size."""
    buffer = io.BytesIO()
    Image.new("RGB", (7, 5), (9, 99, 199)).save(buffer, format=image_format)
    data = buffer.getvalue()
    if image_format == "PNG":
        chunk = b"IHDR" + struct.pack(">II", side, side) + data[24:29]
        return data[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    forms = {"JPEG": ">HH", "GIF": "<HH", "BMP": "<ii"}
    order = (5, 7) if image_format == "JPEG" else (7, 5)
    form = forms[image_format]
    return data.replace(struct.pack(form, *order), struct.pack(form, side, side))


@pytest.mark.parametrize("image_format", ["PNG", "GIF", "BMP"])
def test_an_image_that_claims_missing_pixels_is_truncated(image_format: str) -> None:
    with pytest.raises(RejectedImage) as caught:
        decode_image(claimed_sides(image_format, 9000))
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF", "BMP"])
def test_an_image_that_claims_too_many_pixels_is_rejected(image_format: str) -> None:
    with pytest.raises(RejectedImage) as caught:
        decode_image(claimed_sides(image_format, 30_000))
    assert caught.value.reason == "too_many_pixels"
