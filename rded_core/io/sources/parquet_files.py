"""A folder of Hugging Face style Parquet files: one image and one label per row."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rded_core.errors import InputError
from rded_core.io.sources.base import PassedOver, Source, SourceItem, name_classes
from rded_core.io.sources.labels import Label, is_digits, read_label_at, unify_labels
from rded_core.io.sources.parquet.columns import (
    LABEL_COLUMNS,
    errors_of,
    find_column,
    find_image_column,
    find_label_names,
    holds_images,
    open_table,
    paths_only,
)
from rded_core.io.sources.parquet.partitions import partition_labels, require_one_configuration, without_partitions
from rded_core.io.sources.splits.files import files_of_split
from rded_core.io.storage.urls import join_path, stamp_of


@dataclass(frozen=True, slots=True)
class _Table:
    """A file of the source, the names that it gives to its label numbers, and its rows by label.

    `fractions` are the texts such as ``2.0`` that are class numbers, each with a row that holds it.
    """

    path: str
    relative: str
    names: list[str] | None
    by_label: Mapping[Label, list[SourceItem]]
    unlabelled: list[int]
    fractions: Mapping[str, int]
    stores_numbers: bool

    @property
    def has_numbers(self) -> bool:
        return any(isinstance(label, int) for label in self.by_label)

    def name_of(self, label: Label) -> Label:
        """Returns a label as this file's own names have it."""
        if self.names is None or isinstance(label, str):
            return label
        if label >= len(self.names):
            raise InputError(
                f"{self.path}: label {label} is not one of the {len(self.names)} classes in its metadata; fix the label"
            )
        return self.names[label]


def open_parquet_files(root: str, tables: list[str], *, split: str) -> Source:
    """Opens Parquet files with an image column (bytes, or a struct with ``bytes``) and a label column.

    Numbers are named by the Hugging Face metadata of their own file, if it has any; otherwise they stand for
    themselves. Text labels are sorted. Labels may also be Hive partitions (``label=cat/``). Files of other splits
    (``test-00000-of-00001.parquet``, ``split=test/``) are left out.

    Raises:
        InputError: a column is missing or unusable, no row has a label, files name different classes or belong to
            several configurations, or a file is damaged.
    """
    plain = without_partitions(tables)
    wanted = set(files_of_split(list(plain.values()), split))
    chosen = [table for table in tables if plain[table] in wanted]
    require_one_configuration(root, chosen)
    opened = list(_read_tables(root, chosen))
    labels, by_label = _merge(root, opened)
    return Source(
        spec=root,
        classes=name_classes([str(label) for label in labels]),
        items=tuple(tuple(by_label[label]) for label in labels),
        passed_over=_without_label(opened),
    )


def _without_label(tables: list[_Table]) -> tuple[PassedOver, ...]:
    rows = [f"{table.relative}#{row:08d}" for table in tables for row in table.unlabelled]
    return (PassedOver("rows without a label", "", len(rows), rows[0]),) if rows else ()


def _read_tables(root: str, chosen: list[str]) -> Iterator[_Table]:
    partitions = partition_labels(chosen, LABEL_COLUMNS)
    label, without_images = "", []
    for relative in chosen:
        path = join_path(root, relative)
        table = open_table(path)
        image = find_image_column(table.schema_arrow, path=path)
        without_images += [] if holds_images(table, image) else [paths_only(path, image)]
        if relative in partitions and not set(LABEL_COLUMNS) & set(table.schema_arrow.names):
            values, names = [partitions[relative]] * table.metadata.num_rows, None
        else:
            label = label or find_column(table.schema_arrow, LABEL_COLUMNS, what="a label", path=path)
            values, names = _read_labels(table, label, path=path), find_label_names(table.schema_arrow, label)
        yield _read_table(table, values, names, path=path, relative=relative)
    if len(without_images) == len(chosen):
        raise InputError(without_images[0])


def _read_labels(table: pq.ParquetFile, label: str, *, path: str) -> list[Any]:
    kind = table.schema_arrow.field(find_column(table.schema_arrow, (label,), what="a label", path=path)).type
    if pa.types.is_nested(kind):
        raise InputError(f"{path}: label column {label!r} holds {kind}; it must hold numbers or text")
    with errors_of(path):
        return table.read(columns=[label])[label].to_pylist()


def _read_table(
    table: pq.ParquetFile, values: list[Any], names: list[str] | None, *, path: str, relative: str
) -> _Table:
    stamp = stamp_of(path)
    num_bytes = sum(table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups))
    by_label: defaultdict[Label, list[SourceItem]] = defaultdict(list)
    unlabelled: list[int] = []
    known: dict[Any, Label | None] = {}
    fractions: dict[str, int] = {}
    for row, value in enumerate(values):
        if value not in known:
            stored = int(value) if isinstance(value, bool) and names else value
            known[value] = read_label_at(stored, f"{path}: row {row}")
            if isinstance(value, str | bytes) and isinstance(known[value], int):
                fractions[value if isinstance(value, str) else value.decode()] = row
        label = known[value]
        if label is None:
            unlabelled.append(row)
        else:
            by_label[label].append(SourceItem(f"{relative}#{row:08d}", path, row, num_bytes, stamp=stamp))
    is_stored = any(isinstance(label, int) and not isinstance(value, str | bytes) for value, label in known.items())
    return _Table(path, relative, names, by_label, unlabelled, fractions, is_stored)


def _merge(root: str, tables: list[_Table]) -> tuple[list[Label], Mapping[Label, list[SourceItem]]]:
    """Returns the labels of all files in class order, and the items of each."""
    order = _common_names(tables)
    by_label: defaultdict[Label, list[SourceItem]] = defaultdict(list)
    for table in tables:
        for label, items in table.by_label.items():
            by_label[table.name_of(label) if order else label] += items
    if not by_label:
        raise InputError(f"{root}: no row has a label; give a table with a number or a name in each row")
    places = {label: f"{items[0].path}: row {items[0].offset}" for label, items in by_label.items()}
    if order:
        if strays := [label for label in by_label if label not in order]:
            raise InputError(f"{places[strays[0]]}: label {strays[0]!r} is not one of the named classes; fix the label")
        return sorted(by_label, key=order.__getitem__), by_label
    _require_one_spelling(tables, places)
    final = unify_labels(places)
    unified: defaultdict[Label, list[SourceItem]] = defaultdict(list)
    for label, items in by_label.items():
        unified[final[label]] += items
    return sorted(unified, key=lambda label: (str(label) if isinstance(label, str) else "", label)), unified


def _require_one_spelling(tables: list[_Table], places: Mapping[Label, str]) -> None:
    """Raises InputError if texts are ``1`` and ``2.0``: one of the latter would make numbers, in another order, of all.

    Numbers that are stored as such decide the order of texts too, so nothing depends on the texts then.
    """
    digits = next((label for label in places if isinstance(label, str) and is_digits(label)), None)
    found = ((table.path, row, text) for table in tables for text, row in table.fractions.items())
    fraction = next((f"{path}: row {row} holds {text!r}" for path, row, text in found), "")
    if digits is not None and fraction and not any(table.stores_numbers for table in tables):
        raise InputError(
            f"numbers in text are written in two ways: {fraction}, {places[digits]} holds {digits!r}, and the order of "
            "the classes depends on it; write all as whole numbers"
        )


def _common_names(tables: list[_Table]) -> dict[Label, int]:
    """Returns the place of each class name in the first file's order; empty if no file names its numbers.

    Raises:
        InputError: files name different classes, or some name their numbers and others do not.
    """
    numbered = [table for table in tables if table.has_numbers]
    first = next((table for table in numbered if table.names), None)
    if first is None or not first.names:
        return {}
    for table in numbered:
        if set(table.names or ()) != set(first.names):
            raise InputError(_names_differ(first, table))
        if len(set(table.names or ())) < len(table.names or ()):
            raise InputError(f"{table.path}: its metadata names a class twice; give each class its own name")
    return {name: place for place, name in enumerate(first.names)}


def _names_differ(first: _Table, other: _Table) -> str:
    names, others = first.names or [], other.names or []
    if not others:
        return (
            f"{first.path} names its classes ({', '.join(names[:5])}), {other.path} has only numbers, which may mean "
            "other classes; give tables that all name them, or a folder with one kind"
        )
    only = [*sorted(set(names) - set(others))[:3]], [*sorted(set(others) - set(names))[:3]]
    shown = [", ".join(map(repr, part)) or "nothing" for part in only]
    return (
        f"{first.path} and {other.path} name different classes (only the first: {shown[0]}; only the second: "
        f"{shown[1]}); give a folder whose files name the same classes"
    )
