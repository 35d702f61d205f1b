"""JPEG decoding on a device, here torchvision's decoder on the CPU: order, and files that do not decode."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.device import jpegs as device_jpegs
from rded_core.io.device.jpegs import decode_jpegs, require_jpeg_decoder
from rded_core.io.formats.images import RejectedImage, decode_image, jpeg_size

CPU = torch.device("cpu")


def _jpeg(height: int, width: int, mode: str = "RGB") -> bytes:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 3, columns * 2, rows + columns], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def test_images_are_in_order_and_within_a_few_levels() -> None:
    files = [_jpeg(30, 40), _jpeg(17, 9, "L"), _jpeg(64, 64)]
    for data, image in zip(files, decode_jpegs(files, CPU), strict=True):
        assert isinstance(image, Tensor)
        assert (image.int() - decode_image(data).int()).abs().max() <= 3


def test_a_broken_file_is_rejected_and_the_others_decode() -> None:
    files = [_jpeg(30, 40), b"\xff\xd8\xff rubbish", _jpeg(20, 20)]
    first, broken, last = decode_jpegs(files, CPU)
    assert isinstance(broken, RejectedImage)
    assert broken.reason in {"not_an_image", "truncated"}
    assert isinstance(first, Tensor) and isinstance(last, Tensor)
    assert torch.equal(last, decode_image(files[2]))


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (_jpeg(30, 40), (30, 40)),
        (_jpeg(17, 9, "L"), (17, 9)),
        (_jpeg(8, 8, "CMYK"), None),
        (b"", None),
        (b"GIF89a", None),
    ],
    ids=["colour", "grey", "cmyk", "empty", "gif"],
)
def test_size_is_read_from_the_header(data: bytes, size: tuple[int, int] | None) -> None:
    assert jpeg_size(data) == size


def test_a_device_without_a_decoder_is_refused() -> None:
    with pytest.raises(InputError, match="decoder cuda needs --device cuda, got cpu; give --decoder cpu"):
        require_jpeg_decoder(CPU)


def test_full_memory_is_not_mistaken_for_a_broken_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(device_jpegs, "decode_jpeg", full)
    with pytest.raises(torch.OutOfMemoryError):
        decode_jpegs([_jpeg(8, 8)], CPU)


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError, TypeError])
def test_a_valid_file_that_the_device_refuses_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    odd, plain = device_jpegs.decode_jpeg, _jpeg(9, 9)

    def refusing(files: list[Tensor], **options: object) -> list[Tensor]:
        if any(len(data) != len(plain) for data in files):
            raise error("unsupported")
        return odd(files, **options)  # pyright: ignore

    monkeypatch.setattr(device_jpegs, "decode_jpeg", refusing)
    first, second = decode_jpegs([plain, _jpeg(40, 30)], CPU)
    assert isinstance(first, Tensor) and isinstance(second, Tensor)
    assert caplog.text.count(f"cpu cannot decode a JPEG ({error('unsupported')}); decoding it on the CPU") == 1
