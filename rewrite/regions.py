"""Regions of an image: boxes, polygons and painted masks, as coverage in [0, 1] at any resolution."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, UnidentifiedImageError
from torch import Tensor

from edits.file import read_regular
from rewrite.errors import RewriteError

PNG_URL = "data:image/png;base64,"
MASK_BYTES = 2 * 2**20
MASK_SIDE = 4096
CANVAS = 1024
"""Polygons are drawn on at least so many pixels a side, and counted per cell."""


def box_coverage(box: Sequence[float], resolution: tuple[int, int]) -> Tensor:
    """Share of each cell (H, W) that lies in the box [x0, y0, x1, y1], fractions of the image; exact."""
    x0, y0, x1, y1 = box
    height, width = resolution
    return torch.outer(_overlap(y0, y1, height), _overlap(x0, x1, width))


def polygon_coverage(points: Sequence[Sequence[float]], resolution: tuple[int, int]) -> Tensor:
    """Share of each cell (H, W) inside the polygon of (x, y) fractions, to a thousandth of the image's side."""
    height, width = (side * -(-CANVAS // side) for side in resolution)
    canvas = Image.new("L", (width, height))
    corners = [(x * width - 0.5, y * height - 0.5) for x, y in points]
    ImageDraw.Draw(canvas).polygon(corners, fill=255)
    return _to_cells(canvas, resolution)


def mask_coverage(mask: str, resolution: tuple[int, int]) -> Tensor:
    """Mean brightness times opacity in each cell (H, W) of a PNG mask given as a data URL."""
    picture = _open(decode(mask)).convert("RGBA")
    pixels = np.asarray(picture, dtype=np.float32) / 255
    painted = pixels[..., :3].mean(-1) * pixels[..., 3]
    return _to_cells(Image.fromarray((painted * 255).round().astype(np.uint8)), resolution)


def inline(mask: str, folder: Path) -> str:
    """A mask as a PNG data URL: one already, or the file of that name below `folder`."""
    if mask.startswith("data:"):
        decode(mask)
        return mask
    try:
        content = read_regular(folder / Path(mask).expanduser(), MASK_BYTES)
    except (OSError, RuntimeError) as error:  # The latter is a ~user that there is not.
        reason = getattr(error, "strerror", None) or "there is no such user"
        raise RewriteError(f"mask {mask!r} cannot be read ({reason}); give the path of a small PNG") from None
    _open(content)
    return PNG_URL + base64.b64encode(content).decode()


def decode(url: str) -> bytes:
    """The PNG bytes of a data URL; RewriteError where it is not one."""
    if not url.startswith(PNG_URL):
        raise RewriteError(f"a mask begins with {url[:24]!r}; expected a PNG file or a {PNG_URL} URL")
    try:
        content = base64.b64decode(url[len(PNG_URL) :], validate=True)
    except ValueError as error:
        raise RewriteError(f"a mask URL is not valid base64 ({error}); save the mask again as a PNG") from None
    if len(content) > MASK_BYTES:
        raise RewriteError(f"a mask has more than {MASK_BYTES} bytes; save it as a smaller PNG")
    return content


def bounds(coverage: Tensor) -> tuple[int, int, int, int]:
    """Top, left, bottom, right (exclusive) of the cells that are covered at all; RewriteError if none is."""
    rows, columns = (torch.nonzero(coverage.sum(axis)).flatten() for axis in (1, 0))
    if not len(rows):
        raise RewriteError("a region covers nothing; draw it inside the image and make it larger than a point")
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _overlap(start: float, stop: float, cells: int) -> Tensor:
    edges = torch.arange(cells + 1, dtype=torch.float64) / cells
    low, high = edges[:-1].clamp(min=start), edges[1:].clamp(max=stop)
    return (high - low).clamp(min=0) * cells


def _to_cells(picture: Image.Image, resolution: tuple[int, int]) -> Tensor:
    height, width = resolution
    cells = picture.convert("F").resize((width, height), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(cells, dtype=np.float64) / 255).clamp(0, 1)


def _open(content: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(content), formats=["PNG"])
        if max(picture.size) > MASK_SIDE:
            raise RewriteError(f"a mask is {picture.size} pixels; at most {MASK_SIDE} a side")
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise RewriteError("a mask is not a readable PNG; save it again as one") from None
    return picture
