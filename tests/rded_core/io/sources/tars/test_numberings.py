"""Class numbers of tars: their order, and names that differ between tars."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rded_core.errors import InputError
from rded_core.io.formats.shards import write_shard
from rded_core.io.sources.base import Source
from rded_core.io.sources.spec import open_source

Named = tuple[int | str, str | None]
"""A label, and the name of its class."""


def write_named(path: Path, *samples: Named, in_cls: bool = False, ending: str = "jpg") -> None:
    """Writes a tar with a sample for each label and name; keys hold both."""
    entries: list[tuple[str, dict[str, bytes]]] = []
    for row, (label, name) in enumerate(samples):
        described = {} if name is None else {"class_name": name}
        files = {ending: b"x", "json": json.dumps({**described, "label": label}).encode()}
        files |= {"cls": str(label).encode()} if in_cls else {}
        entries.append((f"{path.stem}-{row}-{label}-{name}", files))
    write_shard(path, entries)


def classes(source: Source) -> dict[str, list[str]]:
    """Returns the keys of each class, without their endings."""
    pairs = zip(source.classes, source.items, strict=True)
    return {label.folder: [item.key.partition(".")[0] for item in items] for label, items in pairs}


@pytest.mark.parametrize("in_cls", [True, False])
def test_each_tar_numbers_its_classes_its_own_way(tmp_path: Path, in_cls: bool) -> None:
    write_named(tmp_path / "a.tar", (0, "zebra"), (1, "dog"), (2, "cow"), in_cls=in_cls)
    write_named(tmp_path / "b.tar", (0, "dog"), (1, "zebra"), (0, "dog"), in_cls=in_cls)
    write_named(tmp_path / "c.tar", (7, "cow"), (0, "zebra"), in_cls=in_cls)
    write_named(tmp_path / "d.tar", (1, "dog"), (2, "cow"), in_cls=in_cls)
    found = classes(open_source(str(tmp_path)))
    assert list(found) == ["zebra", "dog", "cow"], "the first tar's order"
    assert all(key.endswith(f"-{name}") for name, keys in found.items() for key in keys)
    assert sum(map(len, found.values())) == 10


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([(0, "cat"), (1, "dog")], [(0, "car"), (1, "bus")]),
        ([(0, "cat"), (1, "dog")], [(0, "Cat"), (1, "dog")]),
        ([(0, "cat")], [(0, "dog")]),
        ([(0, "cat"), (1, "dog"), (2, "dog")], [(0, "dog"), (1, "cat")]),
        ([(0, "cat"), (1, "dog")], [(0, "dog"), (1, "dog")]),
    ],
)
def test_tars_that_name_different_classes_are_an_error(tmp_path: Path, first: list[Named], second: list[Named]) -> None:
    write_named(tmp_path / "a.tar", *first)
    write_named(tmp_path / "b.tar", *second)
    with pytest.raises(
        InputError, match=r"a\.tar names class \d '.*', .*b\.tar names it '.*'; give each class one name"
    ):
        open_source(str(tmp_path))


def test_numbers_without_names_beside_different_names_are_an_error(tmp_path: Path) -> None:
    write_named(tmp_path / "a.tar", (0, "cat"), (1, "dog"))
    write_named(tmp_path / "b.tar", (0, "dog"), (1, "cat"))
    write_named(tmp_path / "c.tar", (0, None), (1, None))
    with pytest.raises(InputError, match=r"b\.tar names it 'dog', and .*c\.tar has numbers without names; give"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("first", "second", "folders"),
    [
        ([(0, "cat"), (1, "dog")], [(0, "cat"), (1, "dog")], ["cat", "dog"]),
        ([(0, "cat")], [(1, "dog")], ["cat", "dog"]),
        ([(134, "crane")], [(517, "crane")], ["134", "517"]),
        ([(0, "cat"), (1, "dog")], [(0, None), (1, None)], ["0", "1"]),
        ([("cat", "a"), ("dog", "b")], [("cat", "b"), ("dog", "a")], ["cat", "dog"]),
    ],
)
def test_tars_that_agree_are_read_as_before(
    tmp_path: Path, first: list[Named], second: list[Named], folders: list[str]
) -> None:
    write_named(tmp_path / "a.tar", *first)
    write_named(tmp_path / "b.tar", *second)
    assert list(classes(open_source(str(tmp_path)))) == folders


@pytest.mark.parametrize("captions_first", [True, False])
def test_captions_do_not_name_classes(tmp_path: Path, captions_first: bool) -> None:
    names = ("a", "b") if captions_first else ("b", "a")
    write_named(tmp_path / f"{names[0]}.tar", (0, "a cat on a mat"), (0, "a cat"), (1, "a dog"))
    write_named(tmp_path / f"{names[1]}.tar", (0, "two cats"), (1, "two dogs"))
    assert list(classes(open_source(str(tmp_path)))) == ["0", "1"]


def test_a_classes_json_goes_before_the_names_of_tars(tmp_path: Path) -> None:
    write_named(tmp_path / "a.tar", (0, "cat"), (1, "dog"))
    write_named(tmp_path / "b.tar", (0, "Cat"), (1, "Dog"))
    (tmp_path / "classes.json").write_text(json.dumps([{"index": 0, "folder": "x"}, {"index": 1, "folder": "y"}]))
    assert {name: len(keys) for name, keys in classes(open_source(str(tmp_path))).items()} == {"x": 2, "y": 2}


def test_what_is_left_out_counts_for_the_class_that_its_tar_names(tmp_path: Path) -> None:
    write_named(tmp_path / "a.tar", (0, "cat"), (1, "dog"))
    write_named(tmp_path / "b.tar", (0, "dog"), (1, "cat"))
    write_shard(tmp_path / "c.tar", [("x", {"xyz": b"x", "cls": b"0"})])
    write_shard(
        tmp_path / "b2.tar",
        [
            ("k0", {"jpg": b"x", "json": b'{"label": 0, "class_name": "dog"}'}),
            ("k1", {"heic": b"x", "json": b'{"label": 0, "class_name": "dog"}'}),
        ],
    )
    passed = {entry.first: entry.folder for entry in open_source(str(tmp_path)).passed_over}
    assert passed == {"b2.tar: k1.heic": "dog", "c.tar: x.cls": "cat"}


@pytest.mark.parametrize("in_cls", [True, False])
def test_numbers_of_any_length_are_ordered_as_numbers(tmp_path: Path, in_cls: bool) -> None:
    numbers = [1000000000, 5, 10**20, 999999999]
    write_named(tmp_path / "a.tar", *((number, None) for number in numbers), in_cls=in_cls)
    expected = [str(number) for number in sorted(numbers)]
    assert list(classes(open_source(str(tmp_path)))) == expected
    entries = [{"index": number, "folder": f"class {number}"} for number in numbers]
    (tmp_path / "classes.json").write_text(json.dumps(entries))
    assert list(classes(open_source(str(tmp_path)))) == [f"class {number}" for number in expected]


def test_long_numbers_with_zeros_before_them_are_text(tmp_path: Path) -> None:
    texts = ["0000000010", "0000000009", "1234567890"]
    write_named(tmp_path / "a.tar", *((text, None) for text in texts))
    assert list(classes(open_source(str(tmp_path)))) == sorted(texts)


def test_tars_and_tables_order_long_numbers_alike(tmp_path: Path) -> None:
    numbers = [1000000000, 5, 999999999]
    write_named(tmp_path / "tars" / "a.tar", *((number, None) for number in numbers))
    (tmp_path / "tables").mkdir()
    table = pa.table({"image": [b"x%d" % number for number in numbers], "label": numbers})
    pq.write_table(table, tmp_path / "tables" / "a.parquet")
    of_tars, of_tables = (list(classes(open_source(str(tmp_path / kind)))) for kind in ("tars", "tables"))
    assert of_tars == of_tables == ["5", "999999999", "1000000000"]
