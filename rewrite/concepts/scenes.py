"""The segmenter of the built-in scenes: a small network, shipped with what it is known to confuse.

It is trained by scripts/train_segmenter.py on the renderer's own labels, and travels as one safetensors file whose
metadata hold the class names, the training and its confusions on scenes that it never saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from edits.file import open_regular, write_atomically
from edits.finite import finite
from rewrite.concepts.confusion import Confusion
from rewrite.errors import RewriteError
from rewrite.unfilled import unfilled

KEY = "segmenter"
SHIPPED = "scenes.safetensors"
MULTIPLE = 8
"""Heights and widths of images are multiples of this."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
Width = Annotated[int, Field(ge=1, le=1024)]
Name = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class HeldOut(_Strict):
    """How the scenes of seeds `first` to `first + scenes - 1`, none of them trained on, were labelled."""

    first: Count
    scenes: Count
    counts: tuple[tuple[Count, ...], ...]
    """Pixels, as in `Confusion.counts`."""


class Facts(_Strict):
    """What the file says beside the weights."""

    format: Literal[1] = 1
    classes: tuple[Name, ...]
    """In the order of the logits and of the renderer's labels."""
    widths: tuple[Width, Width, Width]
    """Channels at H / 2, H / 4 and H / 8."""
    training: dict[str, int | float | str]
    held_out: tuple[HeldOut, ...]
    """Disjoint stretches of seeds, small ones first: a part can be measured again without the whole."""

    @model_validator(mode="after")
    def _fits(self) -> Facts:
        size = len(self.classes)
        if len(set(self.classes)) < max(2, size):
            raise ValueError(f"the classes are {', '.join(self.classes)[:80]}; expected two or more distinct names")
        for part in self.held_out:
            if [len(row) for row in part.counts] != [size] * size:
                raise ValueError(f"a confusion is no square of {size} classes")
        return self


class Block(nn.Module):
    """A 3 x 3 convolution and ReLU; `norm` is between them while the network is trained, and folded in after."""

    def __init__(self, wide_in: int, wide_out: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(wide_in, wide_out, 3, stride, 1)
        self.norm: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class UNet(nn.Module):
    """Images (N, 3, H, W) to logits (N, K, H, W); H and W are multiples of 8.

    Ronneberger et al. 2015, with skips that are added, not concatenated. Each 2 x 2 pixels are the channels of one
    cell (Shi et al. 2016): a CPU is several times faster with few wide cells than with many narrow ones.
    """

    def __init__(self, classes: int, widths: tuple[int, int, int]):
        super().__init__()
        steps = tuple(pairwise(widths))
        self.stem = nn.Sequential(Block(12, widths[0]), Block(widths[0], widths[0]))
        self.down = nn.ModuleList(
            nn.Sequential(Block(fine, coarse, 2), Block(coarse, coarse)) for fine, coarse in steps
        )
        self.across = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in steps)
        self.up = nn.ModuleList(Block(fine, fine) for fine, _ in steps)
        self.head = nn.Conv2d(widths[0], 4 * classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        cells = F.pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last)
        levels = [self.stem(cells)]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for across, up in zip(reversed(self.across), reversed(self.up), strict=True):
            x = up(levels.pop() + F.interpolate(across(x), scale_factor=2.0))
        return F.pixel_shuffle(self.head(x), 2)


@dataclass(frozen=True)
class SceneSegmenter:
    """A `Segmenter` whose confusions are known."""

    network: UNet
    facts: Facts

    @property
    def classes(self) -> tuple[str, ...]:
        return self.facts.classes

    @property
    def confusion(self) -> Confusion:
        """On all held-out scenes that it was measured on."""
        parts = (Confusion(self.classes, torch.tensor(part.counts)) for part in self.facts.held_out)
        return reduce(Confusion.merge, parts, Confusion.empty(self.classes))

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, K, H, W) of images (N, 3, H, W) in [-1, 1]; RewriteError unless H and W are multiples of 8."""
        height, width = images.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise RewriteError(
                f"the images are {height} x {width} pixels; the scenes segmenter takes multiples of {MULTIPLE} a side, "
                f"so resize or pad them"
            )
        found: Tensor = self.network(images)
        return found


def segmenter(path: Path | None = None, *, device: str = "cpu") -> SceneSegmenter:
    """The shipped segmenter, or that of another file; its weights are frozen, and gradients flow to the images.

    RewriteError, in one sentence, for a file that is not what `write` writes.
    """
    if path is None:
        with as_file(files("rewrite.concepts") / SHIPPED) as shipped:
            return segmenter(shipped, device=device)
    try:
        with open_regular(path), safe_open(path, "pt") as file:
            facts = _facts(path, file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise RewriteError(
            f"{path} cannot be read as safetensors ({reason}); install rewrite again, or train a segmenter"
        ) from None
    with unfilled():
        network = UNet(len(facts.classes), facts.widths)
    _check(path, network, tensors)
    # Copies: what was read may be a view of the file.
    copies = {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
    network.load_state_dict(copies, assign=True)
    return SceneSegmenter(network.requires_grad_(False).eval().to(device), facts)


def write(path: Path, segmenter: SceneSegmenter, dtype: torch.dtype) -> None:
    """Write the segmenter with weights of type `dtype`, float16 or float32: whole or not at all."""
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in segmenter.network.state_dict().items()}
    write_atomically(path, save(tensors, {KEY: segmenter.facts.model_dump_json()}))


def _facts(path: Path, metadata: dict[str, str]) -> Facts:
    if set(metadata) != {KEY}:
        raise RewriteError(
            f"{path} has the metadata {sorted(metadata)}; expected {KEY!r} alone, so it is no segmenter of scenes"
        )
    try:
        return Facts.model_validate_json(metadata[KEY])
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, detail["loc"]))
        said = detail["msg"].removeprefix("Value error, ")
        raise RewriteError(
            f"{path} has unsound metadata ({f'{where}: ' if where else ''}{said}); install rewrite again, or train "
            f"the segmenter again"
        ) from None


def _check(path: Path, network: nn.Module, tensors: dict[str, Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wrong := sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name)):
        raise RewriteError(
            f"{path} has {wrong[0]} of shape {found.get(wrong[0])}; its classes and widths ask for "
            f"{shapes.get(wrong[0])}, so train the segmenter again"
        )
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float16, torch.float32) or not finite(tensor):
            raise RewriteError(
                f"{name} in {path} is {tensor.dtype} or not finite; expected finite float16 or float32, so install "
                f"rewrite again, or train the segmenter again"
            )
