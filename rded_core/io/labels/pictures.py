"""The picture of `rded labels --describe`: entropy and agreement by class, and views of one image with their labels."""

from collections.abc import Sequence
from math import log

from PIL import Image, ImageDraw, ImageFont

from rded_core.io.labels.description import LabelDescription, ShownView
from rded_core.text.wording import percent

MAX_CLASSES = 20
TOP = 3
GAP_PX = 16
NAME_PX = 190
BAR_PX = 250
LINE_PX = 24
VIEW_PX = 160
FONT_PX = 15
PANELS = ("entropy at temperature 1 (nats)", "entropy at temperature {:g} (nats)", "agreement with the class shown")
COLOURS = ("#4a7fb5", "#7fa8d1", "#5a9e6f")
OTHER = "#c9b458"
"""Bar colour of classes that are neither the image's nor its partner's."""


def draw_labels(
    title: str,
    description: LabelDescription,
    *,
    names: Sequence[str],
    temperature: float,
    image: tuple[str, int],
    views: Sequence[ShownView],
) -> Image.Image:
    """Returns a picture: bars of the first classes, and below them views of one image with their top classes.

    Args:
        title: one line of text.
        description: statistics of the labels.
        names: class names.
        temperature: temperature of the students' loss; the labels under the views are shown at 1.
        image: key and class of the image whose views are shown.
        views: views of that image.
    """
    num_bars = min(len(names), MAX_CLASSES)
    bars_px = GAP_PX + 3 * LINE_PX + num_bars * LINE_PX
    width = max(2 * GAP_PX + NAME_PX + 3 * (BAR_PX + GAP_PX), GAP_PX + len(views) * (VIEW_PX + GAP_PX))
    sheet = Image.new("RGB", (width, bars_px + 2 * LINE_PX + VIEW_PX + (TOP + 2) * LINE_PX + GAP_PX), "white")
    pen = ImageDraw.Draw(sheet)
    _write(pen, (GAP_PX, GAP_PX), title, width - 2 * GAP_PX)
    _draw_bars(pen, description, names[:num_bars], temperature, top=GAP_PX + 2 * LINE_PX)
    key, own = image
    _write(
        pen,
        (GAP_PX, bars_px + LINE_PX),
        f"{key} ({names[own]}): its views, and the softmax of their labels at temperature 1",
        width,
    )
    for number, view in enumerate(views):
        left = GAP_PX + number * (VIEW_PX + GAP_PX)
        _draw_view(sheet, pen, view, names, own, at=(left, bars_px + 2 * LINE_PX + GAP_PX))
    return sheet


def _draw_bars(
    pen: ImageDraw.ImageDraw, description: LabelDescription, names: Sequence[str], temperature: float, *, top: int
) -> None:
    sums = description.sums
    seen = sums.views.clamp(min=1.0)
    full = log(max(len(sums.views), 2))
    columns = ((sums.sharp / seen, full), (sums.soft / seen, full), (sums.agree / seen, 1.0))
    for place, ((values, most), panel, colour) in enumerate(zip(columns, PANELS, COLOURS, strict=True)):
        left = GAP_PX + NAME_PX + place * (BAR_PX + GAP_PX)
        _write(pen, (left, top - LINE_PX), panel.format(temperature), BAR_PX)
        for row, name in enumerate(names):
            if place == 0:
                _write(pen, (GAP_PX, top + row * LINE_PX), name, NAME_PX - GAP_PX)
            value = float(values[row])
            text = "none" if not sums.views[row] else percent(value, 0) if place == 2 else f"{value:.3g}"
            _bar(pen, (left, top + row * LINE_PX), value / most, text, colour)


def _draw_view(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    view: ShownView,
    names: Sequence[str],
    own: int,
    *,
    at: tuple[int, int],
) -> None:
    left, top = at
    picture = Image.fromarray(view.pixels.permute(1, 2, 0).contiguous().numpy())
    resample = Image.Resampling.NEAREST if picture.width < VIEW_PX else Image.Resampling.LANCZOS
    sheet.paste(picture.resize((VIEW_PX, VIEW_PX), resample), at)
    mixed = "" if view.partner is None else f", {percent(view.share, 0)} {names[view.partner]}"
    _write(pen, (left, top + VIEW_PX + 4), f"epoch {view.epoch}{mixed}", VIEW_PX)
    shares, classes = view.logits.softmax(dim=0).topk(min(TOP, len(names)))
    for place, (share, index) in enumerate(zip(shares.tolist(), classes.tolist(), strict=True)):
        colour = COLOURS[2] if index == own else COLOURS[0] if index == view.partner else OTHER
        corner = (left, top + VIEW_PX + 4 + (place + 1) * LINE_PX)
        _bar(pen, corner, share, f"{percent(share, 0)} {names[index]}", colour, width_px=VIEW_PX)


def _bar(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], share: float, text: str, colour: str, width_px: int = BAR_PX
) -> None:
    """Draws one bar, `share` of the width long, over a pale bar of the full width, with its text on top."""
    left, top = at
    pen.rectangle((left, top, left + width_px - 1, top + LINE_PX - 4), fill="#eeeeee")
    if filled := round(width_px * min(max(share, 0.0), 1.0)):
        pen.rectangle((left, top, left + filled - 1, top + LINE_PX - 4), fill=colour)
    _write(pen, (left + 4, top + 1), text, width_px - 8)


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width_px: int) -> None:
    """Writes one line, cut if it is too long."""
    font = ImageFont.load_default(size=FONT_PX)
    line = text
    while len(line) > 1 and font.getlength(line) > width_px:
        line = line[:-4] + "..." if line.endswith("...") else line[:-1] + "..."
    pen.text(at, line, fill="black", font=font)
