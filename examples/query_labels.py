"""Queries a dataset's soft labels with DuckDB; needs ``pip install duckdb``.

python examples/query_labels.py DATASET

The queries are in query_labels.sql; this script converts each codec's columns to logits in SQL.
"""

import argparse
from pathlib import Path

import duckdb

from rded_core import DistilledDataset

LOGITS = {
    "float16": "logits",
    "int8": "[logit_offset + logit_scale * {byte} for i in range({classes})]",
    "int4": "[logit_offset + logit_scale * {half_byte} for i in range({classes})]",
    "topk": "[coalesce(top_logit[list_position(top_class, i)], "
    "{temperature} * (tail_logsumexp - ln({classes} - len(top_class)))) for i in range({classes})]",
    "features": "(SELECT list(list_dot_product(weight, features) + bias ORDER BY class_index) FROM "
    "(SELECT class_index, bias, CAST(weight AS FLOAT[]) AS weight FROM '{folder}/teacher_head.parquet'))",
}
BYTE = "CAST('0x' || substr(hex({codes}), 2 * i + 1, 2) AS INTEGER)"
HALF_BYTE = "CAST('0x' || substr(hex(logit_codes), i + 2 - 2 * (i % 2), 1) AS INTEGER)"
FEATURES = "[CAST(feature_offset + feature_scale * {byte} AS FLOAT) for i in range(octet_length(feature_codes))]"


def create_views(connection: duckdb.DuckDBPyConnection, dataset: DistilledDataset) -> None:
    """Creates the view that query_labels.sql reads: epoch, key, class_index, logits."""
    kind, folder = dataset.codec.name.partition(":")[0], dataset.folder.root
    features = FEATURES.format(byte=BYTE.format(codes="feature_codes")) if kind == "features" else "NULL"
    logits = LOGITS[kind].format(
        classes=len(dataset.classes),
        temperature=dataset.recipe["temperature"],
        byte=BYTE.format(codes="logit_codes"),
        half_byte=HALF_BYTE,
        folder=folder,
    )
    rows = f"(SELECT *, {features} AS features FROM '{folder}/soft_labels/*.parquet')"
    connection.execute(f"CREATE VIEW views AS SELECT epoch, key, class_index, {logits} AS logits FROM {rows}")


def main() -> None:
    """Prints the results of all queries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="a run folder or a dataset folder")
    dataset = DistilledDataset(parser.parse_args().dataset)
    connection = duckdb.connect()
    create_views(connection, dataset)
    for statement in connection.extract_statements(Path(__file__).with_suffix(".sql").read_text()):
        connection.execute(statement)
        if rows := connection.fetchall():
            print(*(column[0] for column in connection.description or ()), sep="\t")
            for row in rows:
                print(dataset.classes[row[0]].name, *row[1:], sep="\t")


if __name__ == "__main__":
    main()
