"""The SQL of docs/labels.md, run as printed, gives the logits that students learn from."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rded_core.config import DistillConfig
from rded_core.io.dataset.distilled import DistilledDataset

PAGE = Path(__file__).parents[4] / "docs" / "labels.md"
QUERIES = dict(re.findall(r"```sql\n-- (\w+)[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))


def test_the_page_shows_every_codec() -> None:
    assert list(QUERIES) == ["macros", "int8", "int4", "topk", "features", "then"]


@pytest.mark.parametrize("codec", ["int8", "int4", "topk:2", "features"])
def test_printed_sql_decodes(
    make_config: Callable[..., DistillConfig],
    run_undecorated: Callable[[DistillConfig], Path],
    tmp_path: Path,
    codec: str,
) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is a dev extra")
    folder = run_undecorated(make_config(tmp_path / "run", label_codec=codec))
    opened = duckdb.connect()
    opened.execute(QUERIES["macros"])
    opened.execute(QUERIES[codec.partition(":")[0]].replace("'dataset/", f"'{folder}/"))
    rows = opened.execute("SELECT epoch, logits, key FROM labels ORDER BY epoch, batch, position").fetchall()
    dataset = DistilledDataset(folder)
    batches = [(epoch, batch) for epoch in range(12) for batch in dataset.recorded_batches(epoch)]
    logits = torch.cat([batch[2] for _, batch in batches])
    torch.testing.assert_close(torch.tensor([row[1] for row in rows]), logits, rtol=1e-5, atol=1e-5)
    keys = [dataset.images.keys[row] for _, batch in batches for row in batch[0].tolist()]
    assert [row[2] for row in rows] == keys
    assert len(opened.execute(QUERIES["then"]).fetchall()) == 3
