"""Put a trained generator into the package: its weights in half precision, and the moments that rules ask for.

python scripts/train_scenes.py export --out RUN --to scenes.safetensors
python scripts/ship_scenes.py scenes.safetensors
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track

import rewrite
from rewrite.background import STREAM, background, shipped
from rewrite.background.world import conditions
from rewrite.checkpoints import native
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.models import cached
from rewrite.rules.recipe import Recipe

MODEL = "scenes"
LAYERS = tuple(f"synthesis.b{name}" for name in ("8.conv0", "8.conv1", "16.conv0", "16.conv1", "32.conv0", "32.conv1"))
"""Where a rule on scenes has places and width enough."""
SAMPLES = Recipe.model_fields["samples"].default
SEEN = range(64)
PARITY = 2.0
"""Grey levels, of 255, by which a pixel may differ after rounding to half precision."""
ROOM = 8e6
"""Bytes that the weights, the segmenter and the moments may take together."""


def ship(
    checkpoint: Annotated[Path, typer.Argument(help="What `train_scenes.py export` wrote.")],
    folder: Annotated[Path | None, typer.Option(help="Instead of the package's own.")] = None,
    threads: int = 1,
) -> None:
    """The folder of the model, made anew."""
    torch.set_num_threads(threads)
    target = folder / "generator.safetensors" if folder else cached(MODEL)
    # The mapping is small, and what rounding does to it moves pixels most.
    native.write(target, native.halved(native.read(checkpoint), spared=lambda name: name.startswith("mapping")))
    whole, half = rewrite.load(checkpoint), rewrite.load(target)
    apart = (_images(whole) - _images(half)).abs() * 127.5
    typer.echo(f"half precision: {apart.mean():.3f} grey levels on average, {apart.max():.2f} at most")
    if apart.max() > PARITY:
        raise RewriteError(f"half precision moves a pixel by {apart.max():.2f} grey levels; ship float32 instead")
    for layer in track(LAYERS, "moments", console=Console(stderr=True)):
        wanted = conditions(half, half.layers[layer], SAMPLES, STREAM, 1.0, "const")
        world = background(half, half.layers[layer], samples=SAMPLES, cache=False)
        shipped.write(target.parent, half.layers[layer], wanted, world)
    files = [*target.parent.glob("*.safetensors"), Path(rewrite.__file__).parent / "concepts" / f"{MODEL}.safetensors"]
    for path in files:
        typer.echo(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
    if (total := sum(path.stat().st_size for path in files)) > ROOM:
        raise RewriteError(f"the model takes {total / 1e6:.1f} MB, and it may take {ROOM / 1e6:.0f}; name fewer layers")
    typer.echo(f"{total / 1e6:.2f} MB in all")


@torch.no_grad()
def _images(generator: Generator) -> torch.Tensor:
    return generator.synthesize(generator.latents(SEEN)).clamp(-1, 1)


if __name__ == "__main__":
    typer.run(ship)
