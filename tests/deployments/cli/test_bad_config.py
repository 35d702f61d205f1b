"""Invalid configs and command lines, which are rejected before any flow starts.

All cases run in one separate process: under pytest, jaxtyping would reject wrong types before the code does.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ACCEPTED = 99

RUNNER = f"""
import contextlib, io, json, sys, traceback, types
import rded_core.io.preflight
from deployments.cli.main import main

rded_core.io.preflight.check_inputs = lambda *_: None  # no path here exists

def accept(config, **rerun):
    sys.exit({ACCEPTED})

for name in ("distill", "evaluate", "train_observer"):
    sys.modules[f"flows.{{name}}"] = types.SimpleNamespace(**{{name: accept}})
for name in ("run.prepare", "training.evaluate", "training.train_observer"):
    sys.modules[f"tasks.{{name}}"] = types.SimpleNamespace(check_ahead=lambda *_: None)
results = []
for arguments in json.load(sys.stdin):
    sys.argv, code = ["rded", *arguments], 1
    with contextlib.redirect_stderr(io.StringIO()) as stderr, contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code
        except Exception:
            traceback.print_exc()
    results.append([code, stderr.getvalue()])
json.dump(results, sys.stdout)
"""

DISTILL = ("distill", "s", "--observer", "rded:convnet3", "--ipc", "1", "--out", "o")
EVALUATE = ("evaluate", "d", "--val", "v", "--student", "convnet3")
TRAIN = ("train-observer", "s", "--arch", "convnet3", "--out", "x.safetensors")

COMMAND_LINES: list[tuple[tuple[str, ...], str]] = [
    (("distill",), "missing: SOURCE --observer --ipc --out; see --help"),
    (("distill", "x", "--observer", "o", "--out", "r"), "missing: --ipc; see --help"),
    (("evaluate",), "Missing argument 'DATASET'"),
    (("evaluate", "x"), "missing: --val --student"),
    (("train-observer", "x"), "missing: --arch --out"),
    ((*DISTILL, "--no-such-flag"), "no-such-flag"),
    ((*DISTILL, "--ipc"), "--ipc"),
    ((*DISTILL, "--ipc", "ten"), "--ipc.*valid integer"),
    ((*DISTILL, "y"), "y"),
    (("distil", "x"), "distil"),
]

FLAGS: list[tuple[tuple[str, ...], str]] = [
    ((*DISTILL, "--ipc", "0"), "ipc must be >= 1, got 0"),
    ((*DISTILL, "--num-crops", "0"), "num_crops must be >= 1"),
    ((*DISTILL, "--num-candidates", "3"), "num_candidates must be >= .*raise --num-candidates"),
    ((*DISTILL, "--factor", "0"), "factor must be in 1..16"),
    ((*DISTILL, "--factor", "5", "--size", "32"), "patches of at least 8 px, got 5 at size 32"),
    ((*DISTILL, "--size", "4"), "size must be >= 8"),
    ((*DISTILL, "--max-rejected", "101%"), r"max_rejected must be in 0..1, got 1.01"),
    ((*DISTILL, "--max-rejected", "few"), "'few' is not a number"),
    ((*DISTILL, "--redo", "score,polish"), "redo must be one of draw, check, score, select, .*; got 'polish'"),
    ((*DISTILL, "--crop-scale-min", "0"), r"crop_scale_min must be in \(0, 1\], got 0.0"),
    ((*DISTILL, "--crop-scale-min", "1.5"), "crop_scale_min must be in"),
    ((*DISTILL, "--crop-scale-min", "nan"), "crop_scale_min must be in"),
    ((*DISTILL, "--image-quality", "101"), r"image_quality must be in 1\.\.100"),
    ((*DISTILL, "--image-format", "gif"), "image_format must be one of jpeg, png, webp; got 'gif'"),
    ((*DISTILL, "--protocol", "hard"), "protocol must be one of paper, standard"),
    ((*DISTILL, "--temperature", "0"), "temperature must be > 0"),
    ((*DISTILL, "--mix", "paste"), "mix must be one of cutmix, mixup, none"),
    ((*DISTILL, "--selection", "best"), "selection must be one of realism, mosaic, random"),
    ((*DISTILL, "--label-epochs", "0"), "label_epochs must be >= 1"),
    ((*DISTILL, "--label-batch-size", "1"), "label_batch_size must be >= 2"),
    ((*DISTILL, "--seed", "-1"), "seed must be >= 0"),
    ((*DISTILL, "--workers", "0"), "workers must be >= 1"),
    ((*EVALUATE, "--seeds", "0"), "seeds must be >= 1"),
    ((*EVALUATE, "--epochs", "0"), "epochs must be >= 1"),
    ((*EVALUATE, "--looks", "0"), "looks must be >= 1"),
    ((*EVALUATE, "--lr", "0"), "lr must be > 0"),
    ((*EVALUATE, "--lr", "nan"), "lr must be > 0"),
    ((*EVALUATE, "--protocol", "best"), "protocol must be one of paper, standard, hard"),
    ((*EVALUATE, "--loss", "mse"), "loss must be one of kl, gift"),
    ((*EVALUATE, "--controls", "herding"), "controls must be random, mosaic, both"),
    ((*TRAIN, "--out", "x.pth"), "out must end in .safetensors, got 'x.pth'"),
    ((*TRAIN, "--lr", "-1"), "lr must be > 0"),
    ((*TRAIN, "--lr", "nan"), "lr must be > 0"),
    ((*TRAIN, "--weight-decay", "-1"), "weight_decay must be >= 0"),
    ((*TRAIN, "--batch-size", "1"), "batch_size must be >= 2"),
    ((*TRAIN, "--epochs", "0"), "epochs must be >= 1"),
]

FILES: list[tuple[str, str]] = [
    ("{", "cannot read the config .*give a run.json or a JSON object of fields"),
    ("", "cannot read the config"),
    ("[1]", "is not a JSON object of fields; give a run.json"),
    ('{"config": 3}', "is not a JSON object of fields"),
    ('{"ipcs": 1}', "unknown field 'ipcs'; known: .*ipc"),
    ('{"num_crops": "two"}', "num_crops"),
    ('{"num_crops": 1.5}', "num_crops"),
    ('{"num_crops": null}', "num_crops"),
    ('{"weights": 3}', "weights"),
    ('{"force": "no"}', "force"),
    ('{"crop_scale_min": "small"}', "crop_scale_min"),
]

ACCEPTED_LINES = [
    DISTILL,
    EVALUATE,
    TRAIN,
    (*DISTILL, "--no-flip", "--classes", "a,b", "--crop-scale-min", "1"),
    (*DISTILL, "--max-rejected", "1%", "--crop-scale-min", "8%"),
    (*DISTILL, "--only-classes", "a,b", "--redo", "score,label"),
    (*DISTILL, "--redo", "relabel"),
]

Outcomes = dict[tuple[str, ...], tuple[int, str]]


def _file_of(folder: Path, content: str) -> Path:
    return folder / f"config{[entry[0] for entry in FILES].index(content)}.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    for content, _ in FILES:
        _file_of(folder, content).write_text(content)
    return folder


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> Outcomes:
    lines = [*ACCEPTED_LINES, *(arguments for arguments, _ in [*COMMAND_LINES, *FLAGS])]
    lines += [(*DISTILL, "-c", str(_file_of(folder, content))) for content, _ in FILES]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], cwd=ROOT, input=json.dumps(lines), capture_output=True, text=True, check=True
    )
    return {line: (code, err) for line, (code, err) in zip(lines, json.loads(done.stdout), strict=True)}


def _check(outcome: tuple[int, str], pattern: str) -> None:
    code, err = outcome
    assert code != ACCEPTED, "the flow was started"
    assert "Traceback" not in err
    assert code == 2
    assert re.fullmatch(rf"rded: error: .*({pattern}).*\n", err), err


@pytest.mark.parametrize("arguments", ACCEPTED_LINES, ids=" ".join)
def test_valid_command_line_reaches_its_flow(outcomes: Outcomes, arguments: tuple[str, ...]) -> None:
    code, err = outcomes[arguments]
    assert code == ACCEPTED
    assert re.fullmatch(r"(.*starting Prefect .*\n)?", err)


@pytest.mark.parametrize(("arguments", "pattern"), COMMAND_LINES)
def test_invalid_command_line(outcomes: Outcomes, arguments: tuple[str, ...], pattern: str) -> None:
    _check(outcomes[arguments], pattern)


@pytest.mark.parametrize(("arguments", "pattern"), FLAGS)
def test_value_out_of_range(outcomes: Outcomes, arguments: tuple[str, ...], pattern: str) -> None:
    _check(outcomes[arguments], pattern)


@pytest.mark.parametrize(("content", "pattern"), FILES)
def test_bad_config_file(outcomes: Outcomes, folder: Path, content: str, pattern: str) -> None:
    _check(outcomes[(*DISTILL, "-c", str(_file_of(folder, content)))], pattern)
