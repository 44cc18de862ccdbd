"""Directions kept in a folder: a page that shows each at several strengths, the edits, and the figures as JSON."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from edits.file import write_atomically
from rewrite.generator import Generator, Noise
from rewrite.navigation import Direction
from rewrite.navigation.calibration import accepts
from rewrite.progress import Progress, quiet
from rewrite.report import Section, Sheet, Table, compared, page, save_page, sheet, shrink
from rewrite.report.page import Download
from rewrite.report.sheets import pictures
from rewrite.report.verdict import heat

PAGE, FIGURES, FOLDER = "gallery.html", "gallery.json", "edits"
STRENGTHS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
SEEDS = (0, 1, 2)
SIZE = 128
HELD = 512 * 1024
"""Bytes of an edit that the page holds itself; a larger one it links to."""
FRAME = 120
"""Milliseconds."""
_MOVED = ("of the change", "of the image", "grows", "brighter", "redder", "yellower")


@dataclass(frozen=True)
class Shown:
    """How directions are shown."""

    seeds: Sequence[int] = SEEDS
    strengths: Sequence[float] = STRENGTHS
    size: int = SIZE
    """Longer side of an image in px."""
    truncation: float = 1.0
    noise: Noise = "const"
    strips: bool = False
    """Whether each direction is a PNG of its own too."""
    animated: bool = False
    """Whether each direction is a GIF of its own too."""


def gallery(
    generator: Generator, directions: Sequence[Direction], out: Path, *,
    title: str, about: str, facts: dict[str, Any], shown: Shown | None = None, progress: Progress = quiet,
) -> Path:  # fmt: skip
    """Write the page, `gallery.json` and the edits to the folder `out`; the page's path.

    Rows of a direction are seeds, columns strengths and, last, where the image changes from strength -1 to 1.
    """
    shown = shown or Shown()
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    sections, told = [], []
    for i, direction in enumerate(directions):
        progress("showing directions", i, len(directions))
        name = f"{i:02d}-{_slug(direction.name)}"
        path = out / FOLDER / f"{name}.safetensors"
        direction.edit.save(path)
        strengths = [one for one in dict.fromkeys(shown.strengths) if accepts(direction.edit, one)] or [0.0, 1.0]
        strips = _strips(generator, direction, strengths, shown)
        picture = _sheet(strips, strengths, shown)
        files = {"edit": f"{FOLDER}/{path.name}"}
        if shown.strips:
            files["strip"] = f"{name}.png"
            picture.save(out / files["strip"])
        if shown.animated:
            files["animation"] = f"{name}.gif"
            write_atomically(out / files["animation"], _animation(strips))
        sections.append(_section(direction, picture, path, strengths))
        told.append(direction.as_json() | {"files": files})
    progress("showing directions", len(directions), len(directions))
    content = json.dumps(facts | {"directions": told}, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(out / FIGURES, content.encode())
    save_page(page(title, about, sections, footer=f"{len(directions)} directions; figures in {FIGURES}"), out / PAGE)
    return out / PAGE


def _strips(
    generator: Generator, direction: Direction, strengths: Sequence[float], shown: Shown
) -> list[tuple[Tensor, Tensor]]:
    """Of each seed: images (S, 3, h, w) as levels by strength, and the change (1, 1, h, w) from -1 to 1."""
    ends = [one if accepts(direction.edit, one) else 0.0 for one in (-1.0, 1.0)]
    at = list(dict.fromkeys([*strengths, *ends]))
    variants = {f"{one:g}": [(direction.edit, one)] for one in at}
    rows = compared(
        generator, variants, shown.seeds, shown.size, truncation=shown.truncation, noise=shown.noise
    )  # fmt: skip
    images = torch.stack([images for _, images in rows], 1)
    low, high = (images[:, at.index(one)].float() / 255 for one in ends)
    change = (high - low).abs().mean(1, keepdim=True)
    return [(images[i, : len(strengths)], change[i : i + 1]) for i in range(len(shown.seeds))]


def _sheet(strips: Sequence[tuple[Tensor, Tensor]], strengths: Sequence[float], shown: Shown) -> Image.Image:
    maps = heat(torch.cat([change for _, change in strips]))
    rows = [
        (f"seed {seed}", torch.cat([images.float() / 127.5 - 1, maps[i : i + 1]]))
        for i, (seed, (images, _)) in enumerate(zip(shown.seeds, strips, strict=True))
    ]
    return sheet(rows, [*(f"{one:g}" for one in strengths), "where"], shown.size)


def _animation(strips: Sequence[tuple[Tensor, Tensor]]) -> bytes:
    """A GIF of all seeds side by side, there and back through the strengths."""
    steps = len(strips[0][0])
    frames = []
    for step in range(steps):
        across = torch.cat([images[step] for images, _ in strips], 2)
        frames += pictures(shrink(across[None], max(across.shape[1:])))
    stream = io.BytesIO()
    there, back = frames, frames[-2:0:-1]
    there[0].save(
        stream, "GIF", save_all=True, append_images=[*there[1:], *back], duration=FRAME, loop=0, optimize=False
    )
    return stream.getvalue()


def _section(direction: Direction, picture: Image.Image, path: Path, strengths: Sequence[float]) -> Section:
    calibration = direction.calibration
    rows = [(f"{one.strength:g}", f"{one.distance:.3g}", "–" if one.real is None else f"{one.real:.0%}")
            for one in calibration.curve]  # fmt: skip
    tables = [Table(("strength", "distance", "look real"), rows, "By strength", ("strength", "distance", "look real"))]
    if direction.label:
        classes = sorted(direction.label.classes.items(), key=lambda item: -item[1].share)
        tables.append(Table(
            ("class", *_MOVED),
            [(name, f"{one.share:.0%}", f"{one.area:.0%}", f"{one.grows:+.1%}", f"{one.brighter:+.2f}",
              f"{one.redder:+.2f}", f"{one.yellower:+.2f}") for name, one in classes if one.share >= 0.01],
            "From strength -1 to 1", _MOVED,
        ))  # fmt: skip
    intro = calibration.says + (f". The same as {', '.join(direction.same)}." if direction.same else ".")
    alt = f"{direction.title}: a row for each seed, strengths {', '.join(f'{one:g}' for one in strengths)}, last where"
    return Section(direction.title, intro, [Sheet(picture, alt=alt)], tables, [_download(path)])


def _download(path: Path) -> Download:
    content = path.read_bytes()
    url = f"{FOLDER}/{path.name}"
    if len(content) <= HELD:
        url = "data:application/octet-stream;base64," + base64.b64encode(content).decode()
    return Download(f"{path.name} ({len(content):,} bytes)", url, path.name)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:60] or "direction"
