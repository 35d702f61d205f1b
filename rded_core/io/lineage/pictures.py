"""The picture of `rded trace`: a distilled image, and next to it its source images with the boxes of its patches."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import isqrt
from pathlib import Path

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.lineage.picture_formats import FORMATS, require_picture_ending
from rded_core.io.storage.atomic import write_atomically
from rded_core.io.storage.files import kind_of
from rded_core.patches.tiling import cell_edges

MARK = "rded trace"
"""Comment in our pictures, which identifies them as ours."""

DISTILLED_PX = 448
GRID_PX = 1200
CELL_BOUNDS_PX = (180, 400)
GAP_PX = 16
LINE_PX = 20
FONT_PX = 15
BADGE_PX = 22
OUTLINE_PX = 3

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#00a5b5", "#f032e6", "#808000")
"""Colours of the quadrants, in turn."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedPatch:
    """One quadrant and its source.

    Attributes:
        caption: lines above the source image; long ones are shortened in the middle.
        box: top, left, height and width in pixels of the source image.
        image: the source image, None if it is unavailable.
        missing: why it is unavailable.
    """

    caption: tuple[str, ...]
    box: Box
    image: UInt8[Tensor, "3 _h _w"] | None
    missing: str = ""


def draw_lineage(title: str, distilled: UInt8[Tensor, "3 s s"], patches: Sequence[TracedPatch]) -> Image.Image:
    """Returns a picture: a distilled image on the left, its source images on the right, arranged like its quadrants.

    A quadrant and the box it was cut from have the same colour and number.
    """
    factor, cell_px = isqrt(len(patches)), _cell_px(len(patches))
    num_lines = max(len(patch.caption) for patch in patches)
    width = 3 * GAP_PX + DISTILLED_PX + factor * (cell_px + GAP_PX) - GAP_PX
    row_px = cell_px + num_lines * LINE_PX + GAP_PX
    height = max(factor * row_px, DISTILLED_PX + LINE_PX + GAP_PX) + GAP_PX
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    _write(pen, (GAP_PX, GAP_PX), title, width_px=DISTILLED_PX)
    _draw_distilled(sheet, pen, distilled, factor)
    for number, (patch, (row, column)) in enumerate(zip(patches, product(range(factor), repeat=2), strict=True)):
        left = 2 * GAP_PX + DISTILLED_PX + column * (cell_px + GAP_PX)
        top = GAP_PX + row * row_px
        for line, text in enumerate(patch.caption):
            _write(pen, (left, top + line * LINE_PX), text, width_px=cell_px)
        _draw_source(sheet, pen, patch, number, at=(left, top + num_lines * LINE_PX, cell_px))
    return sheet


def place_box(box: Box, height: int, width: int, cell_px: int) -> Box:
    """Returns a box of a source image scaled to its cell: top, left, bottom and right in pixels, all inclusive."""
    scale = cell_px / max(height, width)
    top, left, box_height, box_width = box
    edges = (top, left, top + box_height, left + box_width)
    first, second, third, fourth = (round(edge * scale) for edge in edges)
    return first, second, max(third - 1, first), max(fourth - 1, second)


def _cell_px(num_patches: int) -> int:
    fewest, most = CELL_BOUNDS_PX
    return min(max(GRID_PX // isqrt(num_patches), fewest), most)


def _draw_distilled(sheet: Image.Image, pen: ImageDraw.ImageDraw, distilled: Tensor, factor: int) -> None:
    left, top = GAP_PX, GAP_PX + LINE_PX
    sheet.paste(_scaled(distilled, DISTILLED_PX), (left, top))
    edges = cell_edges(DISTILLED_PX, factor)
    for number, (row, column) in enumerate(product(range(factor), repeat=2)):
        corners = (left + edges[column], top + edges[row], left + edges[column + 1] - 1, top + edges[row + 1] - 1)
        pen.rectangle(corners, outline=_colour(number), width=OUTLINE_PX)
        _badge(pen, corners[:2], number)


def _draw_source(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, patch: TracedPatch, number: int, *, at: tuple[int, int, int]
) -> None:
    left, top, cell_px = at
    if patch.image is None:
        pen.rectangle((left, top, left + cell_px - 1, top + cell_px - 1), fill="#dddddd")
        _write(pen, (left + GAP_PX, top + cell_px // 2), patch.missing, width_px=cell_px - 2 * GAP_PX)
        return
    picture = _scaled(patch.image, cell_px)
    sheet.paste(picture, (left, top))
    pen.rectangle((left, top, left + picture.width - 1, top + picture.height - 1), outline="#bbbbbb")
    height, width = patch.image.shape[1:]
    box_top, box_left, bottom, right = place_box(patch.box, height, width, cell_px)
    corners = (left + box_left, top + box_top, left + right, top + bottom)
    pen.rectangle(corners, outline=_colour(number), width=OUTLINE_PX)
    _badge(pen, corners[:2], number)


def _scaled(image: Tensor, cell_px: int) -> Image.Image:
    """Returns an image with its longer side fitted to a cell; small images are enlarged without smoothing."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    scale = cell_px / max(picture.size)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _badge(pen: ImageDraw.ImageDraw, corner: tuple[int, int], number: int) -> None:
    """Writes a quadrant's number into the upper left corner of its box."""
    left, top = corner
    pen.rectangle((left, top, left + BADGE_PX, top + BADGE_PX), fill=_colour(number))
    centre = (left + BADGE_PX // 2, top + BADGE_PX // 2)
    pen.text(centre, str(number), fill="white", font=ImageFont.load_default(size=FONT_PX), anchor="mm")


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, *, width_px: int) -> None:
    """Writes one line, with its middle left out if it is too long."""
    font = ImageFont.load_default(size=FONT_PX)
    line, kept = text, len(text)
    while kept > 1 and font.getlength(line) > width_px:
        kept -= 1
        line = f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
    pen.text(at, line, fill="black", font=font)


def require_picture_place(path: Path, *apart: Path) -> None:
    """Raises InputError if `path` has a wrong ending, is a file that is not ours, or lies in one of `apart`."""
    require_picture_ending(path)
    if folder := next((folder for folder in apart if path.resolve().is_relative_to(folder.resolve())), None):
        raise InputError(f"{path} lies inside {folder}, which may hold no other files; give a place outside it")
    if kind_of(path) and not _is_ours(path):
        raise InputError(f"{path} already exists and was not drawn by rded")


def _is_ours(path: Path) -> bool:
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            comment = image.info.get("comment", image.info.get("Comment", ""))
    except (OSError, UnidentifiedImageError, ValueError):
        return False
    return (comment.decode("latin-1") if isinstance(comment, bytes) else str(comment)) == MARK


def write_picture(path: Path, sheet: Image.Image) -> None:
    """Writes a picture in the format of its file ending, with the comment that marks it as ours."""
    buffer = io.BytesIO()
    if FORMATS[path.suffix.lower()] == "PNG":
        notes = PngImagePlugin.PngInfo()
        notes.add_text("Comment", MARK)
        sheet.save(buffer, format="PNG", pnginfo=notes)
    else:
        sheet.save(buffer, format="JPEG", quality=92, comment=MARK)
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getvalue()))
