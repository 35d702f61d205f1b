"""What commands print when they are done."""

import pytest

from deployments.cli.reports import print_evaluation, print_observer


@pytest.mark.parametrize(("num_classes", "is_shown"), [(3, False), (10, True)])
def test_top5_is_printed_if_it_can_fail(capsys: pytest.CaptureFixture[str], num_classes: int, is_shown: bool) -> None:
    measure = {"mean": 0.5, "std": 0.01}
    summary = dict.fromkeys(("last_top1", "best_top1", "last_top5"), measure)
    table = {"student": "convnet3", "protocol": "paper", "ipc": 1, "epochs": 2, "num_seeds": 2, "val_is_source": False}
    print_evaluation({**table, "num_classes": num_classes, "sets": {"distilled": summary}, "path": "results.json"})
    record = {"path": "o.safetensors", "num_images": 9, "num_classes": num_classes, "seconds": 1, "size": 64}
    print_observer({**record, "top1": 0.98765, "top5": 1.0, "arch": "convnet3", "source": "photos"})
    out = capsys.readouterr().out
    assert out.count("top-5") == (2 if is_shown else 0)
    assert "accuracy    top-1 98.77 %" + (", top-5 100.00 %\n" if is_shown else "\n") in out
