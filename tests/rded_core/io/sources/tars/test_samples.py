"""Tars as people write them: which image of a key, labels of all forms, links, what is left out."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from rded_core.errors import InputError
from rded_core.io.sources.base import Source, describe_passed_over
from rded_core.io.sources.reading import read_item
from rded_core.io.sources.spec import open_source

Entry = tuple[str, bytes | str]
"""A member: its name, and its bytes or (as text) what it links to."""


def write_tar(path: Path, *entries: Entry, link: bytes = tarfile.LNKTYPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = link, data
                archive.addfile(info)
            else:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def samples(*labels: Any, first: str = "s") -> list[Entry]:
    """Returns samples whose labels are bytes in .cls, or other values in .json."""
    entries: list[Entry] = []
    for row, label in enumerate(labels):
        in_cls = isinstance(label, bytes)
        text = label if in_cls else json.dumps({"label": label}).encode()
        entries += [(f"{first}{row}.jpg", b"image %d" % row), (f"{first}{row}.{'cls' if in_cls else 'json'}", text)]
    return entries


def folders(source: Source) -> list[str]:
    return [label.folder for label in source.classes]


def keys(source: Source) -> list[list[str]]:
    return [[item.key for item in items] for items in source.items]


@pytest.mark.parametrize("values", [[0.0, 2.0, 10.0], [b"0.0", b"2.0", b"10.0"], [0, b"2", "10.0"], [0, "2", 10]])
@pytest.mark.parametrize("missing", [[], [None], [float("nan"), -1, ""], [b"nan", b"None", b"null", b"-1", b""]])
def test_numbers_keep_their_order_whatever_their_form(tmp_path: Path, values: list[Any], missing: list[Any]) -> None:
    source = open_source(str(write_tar(tmp_path / "a.tar", *samples(*values, *missing))))
    assert folders(source) == ["0", "2", "10"]
    assert source.num_ignored_files == len(missing)
    lines = [f"samples without a label: {len(missing)} (the first: a.tar: s3.jpg)"] if missing else []
    assert describe_passed_over(source) == lines


def test_samples_without_a_label_are_no_class_of_names(tmp_path: Path) -> None:
    source = open_source(str(write_tar(tmp_path / "a.tar", *samples("bee", None, b"ant", b"None"))))
    assert folders(source) == ["ant", "bee"]


@pytest.mark.parametrize("place", ["shards/classes.json", "classes.json"])
@pytest.mark.parametrize("values", [[0.0, 2.0, -1], [b"0", b"2", b""], [0, 2, None]])
def test_classes_json_stays_in_force(tmp_path: Path, place: str, values: list[Any]) -> None:
    write_tar(tmp_path / "shards" / "a.tar", *samples(*values))
    (tmp_path / place).write_text(json.dumps([{"index": row, "folder": f"class {row}"} for row in range(3)]))
    assert folders(open_source(str(tmp_path / "shards"))) == ["class 0", "class 2"]


@pytest.mark.parametrize(
    ("names", "message"),
    [(["cat", "dog"], "has no class '2', but a sample has; add it"), (["cat"] * 3, "two classes the folder 'cat'")],
)
def test_a_classes_json_that_does_not_fit_is_an_error(tmp_path: Path, names: list[str], message: str) -> None:
    write_tar(tmp_path / "a.tar", *samples(0, 1, 2))
    entries = [{"index": row, "folder": name} for row, name in enumerate(names)]
    (tmp_path / "classes.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ([1], r"a\.tar: s2\.json: label \[1\] is a list"), (b"[1]", r"a\.tar: s2\.cls: label '\[1\]' is not one value"),
        ({"id": 1}, "is a dict"), (1.5, "label 1.5 is not a class number"), (b"1.5", "label 1.5 is not a class number"),
        (-2, "label -2 is not"), ("cat", r"s0\.jpg holds the number 0, .*s2\.jpg holds 'cat'; write all labels as"),
        (b"caf\xe9", r"s2\.cls: label .* is not UTF-8 text"),
    ],
)  # fmt: skip
def test_unexpected_labels_are_errors_that_name_file_and_key(tmp_path: Path, odd: Any, message: str) -> None:
    write_tar(tmp_path / "a.tar", *samples(0, 1, odd))
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path))


def test_a_name_among_numbers_in_text_does_not_change_their_order(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", *samples(b"2", b"10", b"cat"))
    with pytest.raises(InputError, match=r"labels have several types: .* holds the number 2, .* holds 'cat'"):
        open_source(str(tmp_path))
    write_tar(tmp_path / "a.tar", *samples(b"9", b"1", b"A"))
    assert folders(open_source(str(tmp_path))) == ["1", "9", "A"], "characters"


def test_two_spellings_of_a_number_are_an_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", *samples(b"07", b"7", b"1"))
    with pytest.raises(InputError, match="labels '07' and '7' are one number; write each number in one way"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("photo", ["a.jpg", "a.JPG", "a.jp2"])
@pytest.mark.parametrize("mask", ["a.mask.png", "a.seg.jpg", "a.0.png"])
@pytest.mark.parametrize("mask_first", [True, False])
def test_the_image_of_a_key_has_an_image_ending_and_nothing_else(
    tmp_path: Path, photo: str, mask: str, mask_first: bool
) -> None:
    pair = [(photo, b"photo"), (mask, b"mask")]
    write_tar(tmp_path / "a.tar", *(reversed(pair) if mask_first else pair), ("a.cls", b"1"), *samples(b"0"))
    assert keys(open_source(str(tmp_path))) == [["s0.jpg"], [photo]]


@pytest.mark.parametrize(
    "pair", [("a.jpg", "a.png"), ("x/a.jpg", "x/a.webp"), ("a.left.jpg", "a.right.jpg"), ("a.jpg", "a.JPG")]
)
def test_two_images_of_one_key_are_an_error_in_any_order(tmp_path: Path, pair: tuple[str, str]) -> None:
    label = (pair[0].split(".")[0] + ".cls", b"1")
    for names in (pair, pair[::-1]):
        write_tar(tmp_path / "a.tar", *((name, b"x") for name in names), label, *samples(b"0"))
        with pytest.raises(
            InputError, match=rf"a\.tar: .*{names[0]} and {names[1]} are two images of one key .*; keep"
        ):
            open_source(str(tmp_path))


@pytest.mark.parametrize("label", ["cls", "json", "cls.txt"])
def test_keys_with_dots_are_samples_if_they_have_labels(tmp_path: Path, label: str) -> None:
    entries: list[Entry] = []
    for row in range(4):
        text = b"%d" % (row % 2)
        entries += [(f"v1.{row}.jpg", b"x"), (f"v1.{row}.{label}", b'{"cls": %s}' % text if label == "json" else text)]
    write_tar(tmp_path / "a.tar", *entries)
    assert keys(open_source(str(tmp_path))) == [["v1.0.jpg", "v1.2.jpg"], ["v1.1.jpg", "v1.3.jpg"]]


@pytest.mark.parametrize(("label", "form"), [("cls", b"%d"), ("cls.txt", b"%d"), ("json", b'{"label": %d}')])
@pytest.mark.parametrize("reverse", [False, True])
def test_keys_with_dots_are_samples_beside_shorter_keys(tmp_path: Path, label: str, form: bytes, reverse: bool) -> None:
    entries: list[Entry] = []
    for number, name in enumerate(("v1", "v1.5", "v1.5.2", "v2")):
        entries += [(f"{name}.jpg", b"x"), (f"{name}.{label}", form % (number % 2)), (f"{name}.mask.png", b"mask")]
    entries = [("v2.jpg", b"x"), *(entry for entry in entries if entry[0] != "v2.jpg")][:: -1 if reverse else 1]
    source = open_source(str(write_tar(tmp_path / "a.tar", *entries)))
    assert keys(source) == [["v1.5.2.jpg", "v1.jpg"], ["v1.5.jpg", "v2.jpg"]]


def test_a_label_of_a_shorter_key_does_not_go_to_a_longer_one(tmp_path: Path) -> None:
    entries = [("v1.cls", b"0"), ("v1.5.jpg", b"x"), ("v1.5.cls", b"1"), *samples(b"0")]
    source = open_source(str(write_tar(tmp_path / "a.tar", *entries)))
    assert keys(source) == [["s0.jpg"], ["v1.5.jpg"]]
    assert describe_passed_over(source) == ["samples without an image: 1 (the first: a.tar: v1.cls)"]


@pytest.mark.parametrize(
    "pair",
    [
        [("a.cls", b"0"), ("a.cls.txt", b"cat")], [("a.cls", b"0"), ("a.cls", b"1")],
        [("a.cls", b"0"), ("a.CLS", b"1")], [("a.json", b'{"label": 0}'), ("a.json", b'{"label": 1}')],
        [("v.1.jpg", b"x"), ("v.1.cls", b"0"), ("v.1.cls.txt", b"1")], [("a.cls", b""), ("a.cls.txt", b"1")],
    ],
)  # fmt: skip
@pytest.mark.parametrize("reverse", [False, True])
def test_two_labels_of_one_key_are_an_error_in_any_order(tmp_path: Path, pair: list[Entry], reverse: bool) -> None:
    write_tar(tmp_path / "a.tar", *samples(b"0", b"1"), ("a.jpg", b"x"), *pair[:: -1 if reverse else 1])
    with pytest.raises(
        InputError, match=r"a\.tar: .*(holds the label .* holds .*|appears twice, .*); keep one of them"
    ):
        open_source(str(tmp_path))


def test_one_label_in_two_files_is_fine(tmp_path: Path) -> None:
    entries = [("a.jpg", b"x"), ("a.cls", b"1"), ("a.cls.txt", b"1\n"), ("a.cls", b"1"), *samples(b"0")]
    assert keys(open_source(str(write_tar(tmp_path / "a.tar", *entries)))) == [["s0.jpg"], ["a.jpg"]]


@pytest.mark.parametrize("link", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_inside_a_tar_are_resolved(tmp_path: Path, link: bytes) -> None:
    here = "" if link == tarfile.SYMTYPE else "x/"
    entries: list[Entry] = [
        ("x/b.jpg", f"{here}c.jpg"), ("x/b.cls", f"{here}a.cls"), ("x/c.jpg", f"{here}a.jpg"), ("x/c.cls", b"1"),
        ("x/a.jpg", b"stored once"), ("x/a.cls", b"0"),
    ]  # fmt: skip
    source = open_source(str(write_tar(tmp_path / "a.tar", *entries, link=link)))
    assert keys(source) == [["x/a.jpg", "x/b.jpg"], ["x/c.jpg"]]
    assert {read_item(item) for items in source.items for item in items} == {b"stored once"}


def test_hard_links_as_tar_stores_them_are_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.cls").write_text(name)
    (tmp_path / "a.jpg").write_bytes(b"same")
    (tmp_path / "b.jpg").hardlink_to(tmp_path / "a.jpg")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("a.cls", "a.jpg", "b.cls", "b.jpg"):
            archive.add(tmp_path / name, name)
    assert keys(open_source(f"{tmp_path}/x.tar")) == [["a.jpg"], ["b.jpg"]]


@pytest.mark.parametrize("link", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("/elsewhere/a.jpg", "a link to a file that is not in the tar"),
        ("s9.jpg", "a link to a file that is not in the tar"),
        ("../../s0.jpg", "a link to a file that is not in the tar"),
        ("c.jpg", "a link that leads to itself"),
    ],
)
def test_links_to_nowhere_are_counted(tmp_path: Path, target: str, what: str, link: bytes) -> None:
    entries = [*samples(b"0", b"1"), ("c.cls", b"1"), ("c.jpg", target)]
    source = open_source(str(write_tar(tmp_path / "a.tar", *entries, link=link)))
    assert describe_passed_over(source) == [f"samples whose image is {what}: 1 (the first: a.tar: c.jpg)"]


def test_a_sparse_tar_is_refused_for_the_true_reason(tmp_path: Path) -> None:
    info = tarfile.TarInfo("c.jpg")
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1"}
    info.size = 1
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(InputError, match=r"member 'c\.jpg' is sparse: stored without its holes\); pack it again"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("c.xyz", b"x"), ("c.cls", b"1")], r"samples without an image of a known ending \(with \.xyz\)"),
        ([("c.txt", b"x"), ("c.cls", b"1")], "samples without an image"),
        ([("README", b"x")], "samples without an image"),
        ([("c.jpg", b"x"), ("c.json", b"no json")], "samples without a label"),
    ],
)
def test_what_is_left_out_is_counted_by_reason(tmp_path: Path, entries: list[Entry], reason: str) -> None:
    source = open_source(str(write_tar(tmp_path / "a.tar", *samples(b"0", b"1"), *entries)))
    (line,) = describe_passed_over(source)
    assert line.startswith(f"{reason}: 1 ".replace("\\", ""))


def test_a_class_all_of_whose_images_are_left_out_is_an_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", *samples(b"0", b"1"), ("c.xyz", b"x"), ("c.cls", b"2"))
    with pytest.raises(InputError, match=r"1 of 1 files of class '2' are left out .*\.xyz.*so the class would vanish;"):
        open_source(str(tmp_path))
    assert folders(open_source(str(tmp_path), classes=("0", "1"))) == ["0", "1"]


def test_a_class_that_shrinks_too_far_is_an_error(tmp_path: Path) -> None:
    lost = [(f"c{row}.{ending}", b"1") for row in range(4) for ending in ("xyz", "cls")]
    write_tar(tmp_path / "a.tar", *samples(b"0", *[b"1"] * 10), *lost)
    with pytest.raises(InputError, match=r"4 of 14 files of class '1' are left out .*more than --max-rejected 0.1;"):
        open_source(str(tmp_path), max_rejected=0.1)
    assert open_source(str(tmp_path), max_rejected=0.3).num_ignored_files == 4


@pytest.mark.parametrize("odd", ["two\nlines", "tab\t", "nul\0x", "\x1b[0m"])
def test_names_with_control_characters_are_one_line(tmp_path: Path, odd: str) -> None:
    write_tar(tmp_path / "a.tar", *samples("ant\0b", f"x{odd}x"), (f"{odd.replace(chr(0), '')}.jpg", b"x"))
    source = open_source(str(tmp_path))
    assert folders(source) == ["ant\0b", f"x{odd}x"], "labels stay as they are"
    (line,) = describe_passed_over(source)
    assert line.isprintable()
    with pytest.raises(InputError, match="is not a class of") as caught:
        open_source(str(tmp_path), classes=("bee",))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("ending", ["cls", "jpg", "png"])
def test_errors_about_members_are_one_line(tmp_path: Path, ending: str) -> None:
    key = "a\nb"
    write_tar(tmp_path / "a.tar", *samples(0, 1), (f"{key}.jpg", b"x"), (f"{key}.cls", b"0"), (f"{key}.{ending}", b"1"))
    with pytest.raises(InputError, match=r"a\\nb\.\w+.* appears twice|are two images of one key") as caught:
        open_source(str(tmp_path))
    assert str(caught.value).isprintable()


def test_hidden_files_are_not_samples(tmp_path: Path) -> None:
    hidden = [("._s0.jpg", b"x"), ("._s1.jpg", b"x"), (".DS_Store", b"x")]
    source = open_source(str(write_tar(tmp_path / "a.tar", *samples(b"0", b"1"), *hidden)))
    assert (source.num_items, source.passed_over) == (2, ())
