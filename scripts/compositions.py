"""What rules lose in a plain sum and keep when they are resolved; what a hundred edits cost.

python scripts/compositions.py pairs faces64       pairs of overlapping rules: foreseen, measured, resolved
python scripts/compositions.py twenty faces64      twenty rules on one layer, put together in three ways
python scripts/compositions.py hundred ffhq        a hundred rank-one edits beside torch.load of the same bytes
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

import edits
import rewrite
from rewrite.composition import conflict, resolve, retention
from rewrite.concepts import Segmenter, labels, scenes
from rewrite.generator import Generator
from rewrite.rules import parse

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console(width=120)
LAYERS = {"faces64": "main.6", "scenes": "synthesis.b16.conv0", "ffhq": "layers.1.conv2"}
SEEDS = 2_000
"""Images that copies and pastes are drawn from."""
SIDES = 0.25, 0.45
"""Shortest and longest side of a box."""
SHIFT = 0.5
"""An overlapping box is moved by up to this share of its sides, so that it shares a quarter at least."""
Box = tuple[float, float, float, float]
Pairs = Sequence[tuple[edits.Edit, float]]

Model = Annotated[str, typer.Argument(help="A model's name, or a checkpoint.")]
Where = Annotated[str | None, typer.Option(help="The layer that all rules are written into.")]
Rank = Annotated[int, typer.Option(help="Of each rule.")]
Mu = Annotated[float, typer.Option(help="How dear a change elsewhere is to each rule.")]
Nu = Annotated[float, typer.Option(help="How dear a growth of the weight's norm is, where a layer demodulates.")]
Threads = Annotated[int, typer.Option(help="Threads that torch computes with.")]


@dataclass(frozen=True)
class Wishes:
    """Rules at random places of random images, all on one layer."""

    generator: Generator
    layer: str
    rank: int
    mu: float
    nu: float
    draw: np.random.RandomState
    pastes: int = 4

    def rule(self, box: Box) -> edits.Edit:
        """The rule that copies the box of one image to that of others."""
        copy, *pastes = (int(seed) for seed in self.draw.choice(SEEDS, self.pastes + 1, replace=False))
        recipe = {
            "layer": self.layer, "copy": {"seed": copy, "box": list(box)},
            "paste": [{"seed": seed, "box": list(box)} for seed in pastes],
            "rank": self.rank, "mu": self.mu, "nu": self.nu,
        }  # fmt: skip
        return rewrite.rule(self.generator, recipe)

    def box(self) -> Box:
        """Anywhere on the image."""
        width, height = self.draw.uniform(*SIDES, 2)
        x, y = self.draw.uniform(0, 1 - width), self.draw.uniform(0, 1 - height)
        return _rounded(x, y, x + width, y + height)

    def beside(self, box: Box) -> Box:
        """A box of the same size that overlaps another."""
        width, height = box[2] - box[0], box[3] - box[1]
        x, y = (
            float(np.clip(start + self.draw.uniform(-SHIFT, SHIFT) * side, 0, 1 - side))
            for start, side in ((box[0], width), (box[1], height))
        )
        return _rounded(x, y, x + width, y + height)


def opened(model: str, layer: str | None, rank: int, mu: float, nu: float, threads: int, seed: int) -> Wishes:
    """Rules for a model, drawn by a seed."""
    torch.set_num_threads(threads)
    layer = layer or LAYERS.get(model)
    if layer is None:
        raise typer.BadParameter("only a named model has a usual layer; say --layer")
    return Wishes(rewrite.load(model), layer, rank, mu, nu, np.random.RandomState(seed))


@app.command()
def pairs(
    model: Model,
    layer: Where = None,
    count: Annotated[int, typer.Option(help="Pairs.")] = 20,
    segment: Annotated[bool, typer.Option("--segment", help="Also look with the segmenter of `scenes`.")] = False,
    rank: Rank = 8,
    mu: Mu = 0.3,
    nu: Nu = 0.1,
    threads: Threads = 2,
) -> None:
    """Random pairs of overlapping rules: the loss foreseen and measured at the layer, and what is kept in images."""
    wishes = opened(model, layer, rank, mu, nu, threads, 1)
    segmenter = scenes.segmenter() if segment or model == "scenes" else None
    apart, rows = [], []
    for _ in track(range(count), "pairs", console=Console(stderr=True)):
        box = wishes.box()
        both = [(wishes.rule(place), 1.0) for place in (box, wishes.beside(box))]
        found = conflict(wishes.generator, both, try_resolve=False)
        foreseen = {party.content: loss for party, loss in zip(found.parties, found.losses_in_sum, strict=True)}
        companies: list[Pairs] = [both, [(resolve(wishes.generator, both), 1.0)]]
        measured = retention(wishes.generator, both, companies)
        for edit, _ in both:
            summed, resolved = (one.retention for one in measured if one.content == edit.content)
            apart.append(abs(foreseen[edit.content] - (1 - summed)))
            rows.append([summed, resolved, *in_images(wishes.generator, edit, companies, segmenter)])
    columns = list(zip(*rows, strict=True))
    table = Table(
        "kept of each rule", "in the sum", "worst", "resolved", "worst", title=_title(wishes, f"{count} pairs")
    )
    for name, (summed, resolved) in zip(
        ("at the layer", "in its pixels", "in its classes"), zip(columns[::2], columns[1::2], strict=True), strict=False
    ):
        known = [[value for value in column if value is not None] for column in (summed, resolved)]
        if known[0]:
            table.add_row(name, *(f"{of(column):.3f}" for column in known for of in (statistics.mean, min)))
    console.print(table)
    losses = sorted(1 - row[0] for row in rows)
    console.print(
        f"{len(losses)} losses in a sum from {losses[0]:.3f} to {losses[-1]:.3f}, median "
        f"{statistics.median(losses):.3f}; foreseen and measured differ by {100 * max(apart):.2g} points at most"
    )


@torch.no_grad()
def in_images(
    generator: Generator, edit: edits.Edit, companies: Sequence[Pairs], segment: Segmenter | None
) -> list[float | None]:
    """What is left, in each company, of what a rule alone does to its own paste images inside its paste regions.

    First of the change of pixels, 1 - ||x - x alone|| / ||x alone - x base||, for each company. With a segmenter then
    the share of the pixels whose class the rule alone turns that are of that class, None where it turns none.
    """
    recipe = parse(edit.recipe)
    inside = torch.stack([region.coverage((generator.resolution,) * 2) for region in recipe.paste])
    z = generator.latents([region.latent for region in recipe.paste])

    def shown(pushed: Pairs) -> Tensor:
        with edits.applied(generator.module, *pushed):
            return generator.synthesize(ws=generator.styles(z, truncation=recipe.truncation))

    base, alone = shown([]), shown([(edit, 1.0)])
    seen = [shown(company) for company in companies]
    size = _norm(alone - base, inside)
    kept: list[float | None] = [1 - _norm(images - alone, inside) / size for images in seen]
    if segment is None:
        return kept
    was, turned, *now = (labels(segment, images) for images in (base, alone, *seen))
    where = (turned != was) & (inside > 0.5)
    return kept + [float((found == turned)[where].double().mean()) if where.any() else None for found in now]


@app.command()
def twenty(
    model: Model,
    layer: Where = None,
    count: Annotated[int, typer.Option(help="Rules.")] = 20,
    orders: Annotated[int, typer.Option(help="How often the order is shuffled.")] = 10,
    removals: Annotated[int, typer.Option(help="How many of the rules are taken out, one at a time.")] = 20,
    rank: Rank = 8,
    mu: Mu = 0.3,
    nu: Nu = 0.1,
    threads: Threads = 2,
) -> None:
    """Many rules on one layer: in a sum, resolved, and one written after another; orders, and removal of any one."""
    wishes = opened(model, layer, rank, mu, nu, threads, 2)
    generator, name = wishes.generator, wishes.generator.layer(wishes.layer).weight
    rules = [(wishes.rule(wishes.box()), 1.0) for _ in track(range(count), "rules", console=Console(stderr=True))]
    started = time.perf_counter()
    resolved = resolve(generator, rules)
    taken = time.perf_counter() - started
    ways: dict[str, Pairs] = {
        "sum": rules,
        "resolve": [(resolved, 1.0)],
        "one after another": [(_after_another(wishes, rules), 1.0)],
    }
    table = Table("together", "kept, mean", "worst", "residual, mean", title=_title(wishes, f"{count} rules"))
    table.add_row(
        "(each alone)", "1.000", "1.000", f"{statistics.mean(edit.notes['residual'] for edit, _ in rules):.3f}"
    )
    for (way, _), found in zip(ways.items(), _by_company(generator, rules, list(ways.values())), strict=True):
        kept = [one.retention for one in found]
        left = statistics.mean(one.residual for one in found)
        table.add_row(way, f"{statistics.mean(kept):.3f}", f"{min(kept):.3f}", f"{left:.3f}")
    console.print(table)
    told = resolved.notes["layers"][0]
    console.print(
        f"background shift of the sum {told['background_shift_of_sum']:.3f}, resolved {told['background_shift']:.3f}; "
        f"resolved in {taken:.1f} s"
    )
    same = 0
    for order in track(range(orders), "orders", console=Console(stderr=True)):
        random.Random(order).shuffle(rules)
        same += _bytes(resolve(generator, rules)) == _bytes(resolved)
    console.print(f"{orders} other orders, the same bytes: {same}")
    exact = {"sum": 0, "resolve": 0}
    for gone, _ in track(rules[:removals], "removals", console=Console(stderr=True)):
        others = [pair for pair in rules if pair[0] is not gone]
        with edits.applied(generator.module, *others):
            expected = generator.module.state_dict()[name].clone()
        with edits.applied(generator.module, *rules) as stack:
            stack.remove(gone)
            exact["sum"] += torch.equal(generator.module.state_dict()[name], expected)
        left = [member for member in resolved.members if member[0].content != gone.content]
        exact["resolve"] += _bytes(resolve(generator, left)) == _bytes(resolve(generator, others))
    for way, number in exact.items():
        console.print(f"{len(rules[:removals])} removals of one, {way}, exact: {number}")


def _after_another(wishes: Wishes, rules: Pairs) -> edits.Edit:
    """All that rules do that are each made again on the weights that those before them left."""
    generator, layer = wishes.generator, wishes.generator.layer(wishes.layer)
    base = generator.module.state_dict()[layer.weight].clone()
    with edits.applied(generator.module) as stack:
        for edit, _ in rules:
            stack.push(rewrite.rule(generator, edit.recipe), 1.0, force=True)
        moved = generator.module.state_dict()[layer.weight] - base
    described = edits.describe(generator.module, [layer.weight], layer.upstream, generator.architecture)
    return edits.Edit({layer.weight: (edits.Add(layer.shape, edits.Dense(moved)),)}, described)


def _by_company(generator: Generator, rules: Pairs, companies: Sequence[Pairs]) -> Iterator[Sequence[Any]]:
    found = retention(generator, rules, companies)
    yield from (found[first : first + len(rules)] for first in range(0, len(found), len(rules)))


@app.command()
def hundred(
    model: Model,
    count: Annotated[int, typer.Option(help="Edits.")] = 100,
    repeats: Annotated[int, typer.Option(help="Times that each is measured; the median is told.")] = 3,
    threads: Threads = 2,
) -> None:
    """Rank-one edits: loading, checking and pushing, each in a process of its own, beside torch's load (Linux only)."""
    torch.set_num_threads(threads)
    with TemporaryDirectory() as folder:
        size = _write(rewrite.load(model), Path(folder), count)
        table = Table(f"{count} rank-one edits of {model}", "seconds", "peak memory, MB", title=f"{size:,} bytes")
        for name in WORKS:
            taken = [_in_a_process(name, model, folder, threads) for _ in range(repeats)]
            seconds, memory = (statistics.median(column) for column in zip(*taken, strict=True))
            table.add_row(name, f"{seconds:.3f}", f"{memory / 1e6:.1f}")
    console.print(table)


def _write(generator: Generator, folder: Path, count: int) -> int:
    """The edits, a file each, and all their tensors in one file of torch's; the bytes of the edits."""
    layers = [layer for layer in generator.layers.values() if not layer.refuses]
    bases = [
        edits.describe(generator.module, [layer.weight], layer.upstream, generator.architecture) for layer in layers
    ]
    every, size = {}, 0
    for number in range(count):
        at, draw = number % len(layers), torch.Generator().manual_seed(number)
        layer = layers[at]
        rest = tuple(axis for axis in range(len(layer.shape)) if axis != layer.in_axis)
        rows = int(np.prod([layer.shape[axis] for axis in rest]))
        left = 1e-4 * torch.randn(rows, 1, generator=draw)
        right = torch.randn(1, layer.in_features, generator=draw)
        add = edits.Add(layer.shape, edits.LowRank(left, right, rest, (layer.in_axis,)))
        edits.Edit({layer.weight: (add,)}, bases[at]).save(folder / f"{number}.safetensors")
        every[f"{number}.left"], every[f"{number}.right"] = left, right
        size += (folder / f"{number}.safetensors").stat().st_size
    torch.save(every, folder / "every.pt")
    return size


def _loaded(folder: Path) -> list[tuple[edits.Edit, float | None]]:
    return [(edits.load(path), None) for path in sorted(folder.glob("*.safetensors"))]


def _torch(_model: str, folder: Path) -> Callable[[], Any]:
    return lambda: torch.load(folder / "every.pt", weights_only=True)


def _load(_model: str, folder: Path) -> Callable[[], Any]:
    return lambda: _loaded(folder)


def _extend(model: str, folder: Path) -> Callable[[], Any]:
    stack, every = edits.Stack(rewrite.load(model).module), _loaded(folder)
    return lambda: stack.extend(every)


def _push(model: str, folder: Path) -> Callable[[], Any]:
    stack, every = edits.Stack(rewrite.load(model).module), _loaded(folder)
    return lambda: [stack.push(edit) for edit, _ in every]


def _clear(model: str, folder: Path) -> Callable[[], Any]:
    stack, every = edits.Stack(rewrite.load(model).module), _loaded(folder)
    stack.extend(every)
    return stack.clear


WORKS = {
    "torch.load of their tensors": _torch,
    "loading": _load,
    "checking and pushing, Stack.extend": _extend,
    "checking and pushing, one by one": _push,
    "taking off, Stack.clear": _clear,
}


def _in_a_process(name: str, model: str, folder: str, threads: int) -> tuple[float, int]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measured, name, model, folder, threads).result()


def measured(name: str, model: str, folder: str, threads: int) -> tuple[float, int]:
    """Seconds, and bytes of memory at the peak beyond those that were in use before."""
    torch.set_num_threads(threads)
    work = WORKS[name](model, Path(folder))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = _memory("VmRSS"), time.perf_counter()
    work()
    return time.perf_counter() - started, _memory("VmHWM") - before


def _memory(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def _norm(images: Tensor, inside: Tensor) -> float:
    return float((inside[:, None] * images.double() ** 2).sum().sqrt())


def _rounded(*sides: float) -> Box:
    x0, y0, x1, y1 = (round(float(side), 3) for side in sides)
    return x0, y0, x1, y1


def _bytes(edit: edits.Edit) -> bytes:
    return b"".join(edits.file.pack(edit))


def _title(wishes: Wishes, what: str) -> str:
    model = wishes.generator.name or "a checkpoint"
    return f"{what} on {wishes.layer} of {model}, rank {wishes.rank}, mu {wishes.mu:g}, nu {wishes.nu:g}"


if __name__ == "__main__":
    app()
