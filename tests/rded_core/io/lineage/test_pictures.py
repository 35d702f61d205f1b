"""The picture of a trace: boxes lie where patches were cut, and files of others are never overwritten."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageColor

from rded_core.errors import InputError
from rded_core.io.lineage.pictures import (
    CELL_BOUNDS_PX,
    COLOURS,
    DISTILLED_PX,
    GAP_PX,
    LINE_PX,
    TracedPatch,
    draw_lineage,
    place_box,
    require_picture_place,
    write_picture,
)

CELL_PX = CELL_BOUNDS_PX[1]
GREY = torch.full((3, 60, 100), 128, dtype=torch.uint8)
BOXES = ((0, 0, 60, 100), (10, 20, 30, 30), (30, 50, 30, 50), (59, 99, 1, 1))


def _sheet(num_patches: int = 4, *, missing: int | None = None) -> Image.Image:
    patches = [
        TracedPatch(
            caption=(f"class/{number}.jpg", "rank"),
            box=BOXES[number % 4],
            image=None if number == missing else GREY,
            missing="gone",
        )
        for number in range(num_patches)
    ]
    return draw_lineage("key", torch.full((3, 32, 32), 200, dtype=torch.uint8), patches)


def _cell(number: int) -> tuple[int, int]:
    """Returns left and top of a source image on a sheet of four."""
    row, column = divmod(number, 2)
    top = GAP_PX + row * (CELL_PX + 2 * LINE_PX + GAP_PX) + 2 * LINE_PX
    return 2 * GAP_PX + DISTILLED_PX + column * (CELL_PX + GAP_PX), top


@pytest.mark.parametrize("number", range(4))
def test_box_is_drawn_where_it_was_cut(number: int) -> None:
    sheet = _sheet()
    left, top = _cell(number)
    box_top, box_left, bottom, right = place_box(BOXES[number], 60, 100, CELL_PX)
    colour = ImageColor.getrgb(COLOURS[number])
    for x in (box_left, right):
        for y in (box_top, bottom):
            assert sheet.getpixel((left + x, top + y)) == colour
    scale = CELL_PX / 100
    y, x, height, width = (edge * scale for edge in BOXES[number])
    assert (box_top, box_left) == (round(y), round(x))
    assert abs(bottom + 1 - (y + height)) <= 1 and abs(right + 1 - (x + width)) <= 1


def test_nothing_is_drawn_inside_a_box() -> None:
    sheet = _sheet()
    left, top = _cell(1)
    box_top, box_left, bottom, right = place_box(BOXES[1], 60, 100, CELL_PX)
    assert sheet.getpixel((left + (box_left + right) // 2, top + (box_top + bottom) // 2)) == (128, 128, 128)
    assert sheet.getpixel((left + box_left - 5, top + box_top - 5)) == (128, 128, 128)


def test_quadrants_have_the_colours_of_their_boxes() -> None:
    sheet = _sheet()
    for number in range(4):
        row, column = divmod(number, 2)
        corner = (GAP_PX + (column + 1) * DISTILLED_PX // 2 - 1, GAP_PX + LINE_PX + (row + 1) * DISTILLED_PX // 2 - 1)
        assert sheet.getpixel(corner) == ImageColor.getrgb(COLOURS[number])


def test_size_fits_all_parts_and_grows_with_the_quadrants() -> None:
    assert _sheet().size == (
        3 * GAP_PX + DISTILLED_PX + 2 * CELL_PX + GAP_PX,
        2 * (CELL_PX + 2 * LINE_PX + 2 * GAP_PX) - GAP_PX,
    )
    assert _sheet(1).size[0] == 3 * GAP_PX + DISTILLED_PX + CELL_PX
    assert max(_sheet(256).size) < 5000


def test_unavailable_image_leaves_a_grey_cell() -> None:
    left, top = _cell(2)
    assert _sheet(missing=2).getpixel((left + 3, top + 3)) == (221, 221, 221)


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "png"])
def test_our_own_picture_is_replaced(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    for _ in range(2):
        require_picture_place(path, tmp_path / "run")
        write_picture(path, _sheet(1))
    assert Image.open(path).size == _sheet(1).size


@pytest.mark.parametrize("content", [b"", b"notes", None])
def test_other_files_are_never_replaced(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.jpg"
    if content is None:
        Image.new("RGB", (4, 4)).save(path, comment="mine")
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"x.jpg already exists and was not drawn by rded"):
        require_picture_place(path)


def test_wrong_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in .jpg or .jpeg or .png"):
        require_picture_place(tmp_path / "x.gif")
    with pytest.raises(InputError, match=r"x.jpg lies inside .*run, which may hold no other files"):
        require_picture_place(tmp_path / "run" / "work" / "x.jpg", tmp_path / "data", tmp_path / "run")
