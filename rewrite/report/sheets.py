"""Contact sheets: rows of images with labels to their left and captions above."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from edits.file import write_atomically
from rewrite.errors import RewriteError

Row = tuple[str, Tensor]
"""A label and images (N, 3, H, W), in [-1, 1] or as levels: bytes, a quarter of the memory."""

PAPER, INK, FAINT = (255, 255, 255), (28, 28, 30), (110, 110, 115)
GUTTER = 4
MARGIN = 12
LEAST_LABEL_WIDTH = 96
PIXEL_LIMIT = 400_000_000

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def sheet(rows: Sequence[Row], columns: Sequence[object] = (), size: int = 128) -> Image.Image:
    """A sheet of rows; `columns` are captions above (seeds, say), `size` is the longer side of an image."""
    if not rows or any(len(images) == 0 for _, images in rows):
        raise RewriteError("a sheet was given no images; expected one row of one image at least")
    small = [shrink(images, size) for _, images in rows]
    width, height = small[0].shape[3], small[0].shape[2]
    label_font, caption_font = _label_font(size), _caption_font(size)
    labels = [_wrapped(label, label_font, max(size, LEAST_LABEL_WIDTH)) for label, _ in rows]
    left = MARGIN + max(math.ceil(label_font.getlength(line)) for lines in labels for line in lines)
    left += MARGIN if left > MARGIN else 0
    top = MARGIN + (_line(caption_font) + 2 * GUTTER if columns else 0)
    across = max(len(images) for images in small)
    right, bottom = left + across * (width + GUTTER), top + len(rows) * (height + GUTTER)
    canvas = Image.new("RGB", (right - GUTTER + MARGIN, bottom - GUTTER + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, caption in enumerate(columns[:across]):
        at = left + i * (width + GUTTER) + width / 2, top - 2 * GUTTER
        draw.text(at, _fitted(str(caption), caption_font, width), FAINT, caption_font, anchor="ms")
    for j, (lines, images) in enumerate(zip(labels, small, strict=True)):
        y = top + j * (height + GUTTER)
        draw.text((MARGIN, y + height / 2), "\n".join(lines), INK, label_font, anchor="lm", spacing=3)
        for i, picture in enumerate(pictures(images)):
            canvas.paste(picture, (left + i * (width + GUTTER), y))
    return canvas


def grid(images: Tensor, captions: Sequence[object] = (), size: int = 256, across: int | None = None) -> Image.Image:
    """Images (N, 3, H, W) in reading order, `across` in a line (a square if left out), with captions."""
    if len(images) == 0:
        raise RewriteError("a grid was given no images; expected one at least")
    small, font = shrink(images, size), _caption_font(size)
    across = min(across or math.ceil(math.sqrt(len(small))), len(small))
    width, height = small.shape[3], small.shape[2]
    pitch = height + GUTTER + (_line(font) + GUTTER if captions else 0)
    right, bottom = MARGIN + across * (width + GUTTER), MARGIN + math.ceil(len(small) / across) * pitch
    canvas = Image.new("RGB", (right - GUTTER + MARGIN, bottom - GUTTER + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, picture in enumerate(pictures(small)):
        x, y = MARGIN + i % across * (width + GUTTER), MARGIN + i // across * pitch
        canvas.paste(picture, (x, y))
        if i < len(captions):
            text = _fitted(str(captions[i]), font, width)
            draw.text((x + width / 2, y + height + GUTTER), text, FAINT, font, anchor="ma")
    return canvas


def check_room(seeds: int, size: int, rows: int = 1) -> None:
    """RewriteError if so many images would make a picture too large to be held, or to be looked at."""
    if seeds * rows * size**2 > PIXEL_LIMIT:
        fewer, smaller = PIXEL_LIMIT // (rows * size**2), math.isqrt(PIXEL_LIMIT // (seeds * rows))
        raise RewriteError(
            f"{seeds * rows} images of {size} px make a picture of over {PIXEL_LIMIT // 10**6} megapixels; ask for "
            f"{fewer} seeds at most, or for a size of {smaller}"
        )


def levels(images: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes; bytes as they are."""
    if images.dtype == torch.uint8:
        return images
    return ((images.detach().cpu().float().clamp(-1, 1) + 1) * 127.5).round().byte()


def shrink(images: Tensor, size: int) -> Tensor:
    """Images whose longer side is `size` px: resized once, antialiased; themselves if they have that size."""
    height, width = images.shape[2:]
    if max(height, width) == size:
        return images
    scale = size / max(height, width)
    target = max(1, round(height * scale)), max(1, round(width * scale))
    if images.dtype == torch.uint8:
        images = images / 127.5 - 1
    return F.interpolate(images, target, mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)


def pictures(images: Tensor) -> list[Image.Image]:
    """PIL images of (N, 3, H, W), in [-1, 1] or bytes."""
    painted = rearrange(levels(images), "n c h w -> n h w c").numpy()
    return [Image.fromarray(np.ascontiguousarray(image)) for image in painted]


def save(image: Image.Image, path: Path) -> None:
    """Write a PNG, whole or not at all; the same image gives the same bytes."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    write_atomically(path, stream.getvalue())


def _label_font(size: int) -> Font:
    """Letters grow with the images, so that a sheet can be read at any scale."""
    return ImageFont.load_default(size=max(13, size // 9))


def _caption_font(size: int) -> Font:
    return ImageFont.load_default(size=max(11, size // 12))


def _line(font: Font) -> int:
    return math.ceil(font.getbbox("Xg")[3])


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """Lines of whole words that fit the width where words do."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _fitted(text: str, font: Font, width: int) -> str:
    """As much of the text as fits, so that captions do not run into each other."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text.rstrip("…")[:-1] + "…"
    return text
