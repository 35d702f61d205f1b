"""Secrets in text are recognised by their place or name and masked; other text is unchanged."""

import pytest

from rded_core.config import DistillConfig, EvaluateConfig, TrainObserverConfig
from rded_core.errors import InputError
from rded_core.text.secrets import has_secret, mask_secrets

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"s3://AKIA:{SECRET}@bucket/train",
        f"simplecache::ftp://user:{SECRET}@host/photos",
        f"ftp://user:a@{SECRET}@host/photos",
        f"https://{SECRET}@host/photos.tar",
        f"https://host/a.tar?X-Amz-Signature={SECRET}&X-Amz-Date=2",
        f"https://host/a.tar?sv=1&sig={SECRET}",
        f"403, url='https://host/a.tar?token={SECRET}'",
        f"{{'secret': '{SECRET} and more', 'anon': False}}",
        f"S3FileSystem(aws_secret_access_key={SECRET}, anon=False)",
        f"Authorization: Bearer {SECRET}-{SECRET}",
        f"https://a:{SECRET}@h/1 then https://b:{SECRET}@h/2",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    masked = mask_secrets(text)
    assert SECRET not in masked
    assert "***" in masked
    assert mask_secrets(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "score 0010-0019: 10 made, 1200 usable candidates, 3.2 s, /data/run/realism",
        "abfs://container@account.dfs.core.windows.net/photos",
        "https://host:8080/photos/a.tar?version=3",
        "class 'secretary': 12 images",
        "/data/token=abc/photos",
    ],
)
def test_other_text_is_unchanged(text: str) -> None:
    assert not has_secret(text)
    assert mask_secrets(text) == text or "://" not in text


def test_text_around_a_secret_is_unchanged() -> None:
    assert mask_secrets(f"s3://me:{SECRET}@bucket/a.tar is gone") == "s3://***@bucket/a.tar is gone"
    assert mask_secrets(f"https://h/a?sig={SECRET}&se=3") == "https://h/a?sig=***&se=3"


URL = f"https://user:{SECRET}@host/photos"


@pytest.mark.parametrize(
    ("config_class", "fields"),
    [
        (DistillConfig, {"source": URL, "observer": "rded:convnet3", "ipc": 1, "out": "run"}),
        (EvaluateConfig, {"dataset": "run", "val": URL, "student": "convnet3"}),
        (TrainObserverConfig, {"source": "photos", "val": URL, "arch": "convnet3", "out": "a.safetensors"}),
    ],
)
def test_configs_reject_passwords(config_class: type, fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"^(source|val) contains a password or token .* environment") as raised:
        config_class(**fields)
    assert SECRET not in str(raised.value)
