"""Pictures for people: contact sheets of distilled images, and histograms as SVG."""

import html
import io
from collections.abc import Sequence

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

MAX_ROWS = 20
MAX_COLUMNS = 10
CELL_PX = 112
LABEL_PX = 190
SMALLEST_SHARE = 0.05


def contact_sheet(rows: Sequence[tuple[str, UInt8[Tensor, "_n 3 _s _s"]]]) -> bytes:
    """Returns a JPEG of the first images of the first classes, one class per row with its name.

    At most 20 classes of 10 images; images are drawn at 112 px, small ones enlarged without smoothing.
    """
    first_rows = rows[:MAX_ROWS]
    columns = min(MAX_COLUMNS, max(len(images) for _, images in first_rows))
    sheet = Image.new("RGB", (LABEL_PX + columns * (CELL_PX + 2), len(first_rows) * (CELL_PX + 2)), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=18)
    for row, (name, images) in enumerate(first_rows):
        top = row * (CELL_PX + 2)
        pen.text((8, top + CELL_PX // 2 - 9), name[:20], fill="black", font=font)
        for column, image in enumerate(images[:columns]):
            picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
            resample = Image.Resampling.NEAREST if image.shape[-1] < CELL_PX else Image.Resampling.LANCZOS
            sheet.paste(picture.resize((CELL_PX, CELL_PX), resample), (LABEL_PX + column * (CELL_PX + 2), top))
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()


def shrink_jpeg(data: bytes, max_bytes: int) -> bytes:
    """Returns a JPEG of at most `max_bytes`: unchanged if it fits, else recompressed, each time 1/8 smaller.

    At about 5 % of its sides it is returned even if it is still larger.
    """
    picture = Image.open(io.BytesIO(data)).convert("RGB") if len(data) > max_bytes else None
    share = 1.0
    while picture is not None and len(data) > max_bytes and share > SMALLEST_SHARE:
        buffer = io.BytesIO()
        size = (max(round(picture.width * share), 1), max(round(picture.height * share), 1))
        picture.resize(size, Image.Resampling.LANCZOS).save(buffer, format="JPEG", quality=80)
        data, share = buffer.getvalue(), share * 7 / 8
    return data


def histogram_svg(values: Sequence[float], *, label: str, num_bins: int = 30) -> str:
    """Returns a histogram as inline SVG, captioned with `label`; empty text if there are no values."""
    if not values:
        return ""
    low, high = min(values), max(values)
    width = (high - low) / num_bins or 1.0
    counts = [0] * num_bins
    for value in values:
        counts[min(int((value - low) / width), num_bins - 1)] += 1
    top = max(counts)
    bars = "".join(
        f'<rect x="{20 + 18 * index}" y="{130 - 110 * count / top:.1f}" width="16" height="{110 * count / top:.1f}">'
        f"<title>{low + index * width:.3g} to {low + (index + 1) * width:.3g}: {count}</title></rect>"
        for index, count in enumerate(counts)
    )
    right = 20 + 18 * num_bins
    return (
        f'<svg viewBox="0 0 {right + 20} 165" role="img" aria-label="{html.escape(label)}">'
        f'<g fill="#4a7fb5">{bars}</g><line x1="20" y1="130.5" x2="{right}" y2="130.5" stroke="#888"/>'
        f'<text x="20" y="146">{low:.3g}</text><text x="{right}" y="146" text-anchor="end">{high:.3g}</text>'
        f'<text x="{(20 + right) / 2}" y="160" text-anchor="middle">{html.escape(label)}</text></svg>'
    )
