"""Speed as ratios, measured side by side in one run.

python scripts/benchmark.py rule                 closed form against the published descent
python scripts/benchmark.py stages               where the time of a rule on a real generator goes
python scripts/benchmark.py render               seconds per 1024 px image
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

import rewrite
from rewrite.background import background
from rewrite.generator import Generator
from rewrite.memory import Change, canonical
from rewrite.models import stylegan2
from rewrite.rules import Recipe, parse
from rewrite.rules.context import context, directions
from rewrite.rules.evidence import gather
from rewrite.rules.gradient import descend
from rewrite.rules.judge import Judge, probe
from rewrite.rules.solve import penalty, solve, truncate

app = typer.Typer(add_completion=False, help=__doc__)
console = Console(width=120)
REPEATS = 5
BISECTIONS = 40


def seconds(work: Callable[[], Any], repeats: int = REPEATS) -> tuple[Any, float]:
    """The result of some work, and the median of its times."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        taken.append(time.perf_counter() - started)
    return result, statistics.median(taken)


@dataclass(frozen=True)
class Method:
    """What one method made of a request, judged on the true layer."""

    name: str
    change: Change
    seconds: float
    judge: Judge

    def row(self, slowest: float) -> list[str]:
        found = self.judge.measure(self.change)
        norm = float(self.change.dense().norm() / self.judge.weight.norm())
        return [
            self.name,
            f"{self.seconds:.4g}",
            f"{slowest / self.seconds:,.0f}",
            f"{found.residual:.4f}",
            f"{found.background:.4f}",
            f"{found.drift:.4f}",
            f"{norm:.3f}",
        ]


def compare(name: str, generator: Generator, recipe: Recipe, steps: int) -> Table:
    """Both methods on one request and context; the closed form at the mu where residuals are equal."""
    layer = generator.layer(str(recipe.layer))
    weight = canonical(layer, generator.module.state_dict()[layer.weight])
    world = background(generator, layer, samples=recipe.samples, truncation=recipe.truncation)
    evidence = gather(generator, layer, recipe, world)
    judge = Judge(layer, weight, evidence, probe(generator, layer, recipe.truncation), 0.0)
    read = context(directions(evidence, world.moments.at((0, 0)), recipe.eps), int(recipe.rank))

    slow, slow_seconds = seconds(lambda: descend(layer, weight, evidence.placed, read, steps=steps), repeats=1)
    wanted = judge.measure(slow).residual
    nu = float(recipe.nu) if layer.gain else 0.0

    def closed(mu: float) -> Change:
        return solve(evidence, layer, read, penalty(layer, weight, world, read, recipe.eps).matrix(mu, nu))

    low, high = 1e-9, 1e6
    for _ in range(BISECTIONS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if judge.measure(closed(middle)).residual < wanted else (low, middle)
    fast, fast_seconds = seconds(lambda: closed(low))
    table = Table(
        "method", "seconds", "times faster", "residual", "background shift", "gain drift", "|dW|/|W|",
        title=f"{name}: {layer.name}, rank {recipe.rank}, one paste example, mu {low:.3g}, nu {nu:g}",
    )  # fmt: skip
    for method in (
        Method(f"published descent, {steps} steps", slow, slow_seconds, judge),
        Method("closed form, equal residual", fast, fast_seconds, judge),
    ):
        table.add_row(*method.row(slow_seconds))
    return table


def request(model: str, layer: str, rank: int, nu: float) -> Recipe:
    """One copy, one paste."""
    return parse(
        {
            "model": model,
            "layer": layer,
            "copy": {"seed": 3, "box": [0.3, 0.3, 0.7, 0.6]},
            "paste": [{"seed": 5, "box": [0.3, 0.3, 0.7, 0.6]}],
            "rank": rank,
            "mu": 0.1,
            "nu": nu,
            "samples": 128,
            "method": "gradient",
        }
    )


@app.command()
def rule(
    rank: Annotated[int, typer.Option(help="Rank of both methods.")] = 1,
    steps: Annotated[int, typer.Option(help="Steps of the descent; 2001 is what was published.")] = 2001,
    nu: Annotated[float, typer.Option(help="Weight of the norm term, on the layer with a gain.")] = 0.1,
) -> None:
    """Closed form against the published descent, really run: `faces64`, and 512 channels at 32 px of a StyleGAN2."""
    console.print(compare("faces64", rewrite.load("faces64"), request("faces64", "main.6", rank, nu), steps))
    module = stylegan2.StyleGAN2.random(0, resolution=256, channels=stylegan2.widths(256), noise=0.1)
    large = stylegan2.generator(module, name="stylegan2-256")
    console.print(
        compare("StyleGAN2, 256 px, random", large, request(large.name, "synthesis.b32.conv1", rank, nu), steps)
    )


@app.command()
def stages(
    layer: Annotated[str, typer.Option(help="Layer of `ffhq`.")] = "layers.1.conv2",
    pastes: Annotated[int, typer.Option(help="Paste examples.")] = 8,
) -> None:
    """Keys, moments (cold, cached) and solves of a rule on `ffhq`."""
    generator = rewrite.load("ffhq")
    box = [0.22, 0.36, 0.78, 0.58]
    paste = [{"seed": seed, "box": box} for seed in (0, 5, 9, 14, 20, 30, 32, 33, 51, 59, 64, 72)[:pastes]]
    recipe = parse({"layer": layer, "copy": {"seed": 42, "box": box}, "paste": paste, "rank": 1, "mu": 0.1})
    place = generator.layer(layer)
    weight = canonical(place, generator.module.state_dict()[place.weight])
    table = Table("step", "seconds", title=f"a rule with {pastes} paste examples on {layer} of ffhq")

    def moments(cache: bool) -> Callable[[], Any]:
        return lambda: background(generator, place, samples=recipe.samples, cache=cache)

    world, taken = seconds(moments(False), repeats=3)
    table.add_row(f"moments of {recipe.samples} images, cold", f"{taken:.3f}")
    moments(True)()
    table.add_row("moments, cached", f"{seconds(moments(True))[1]:.3f}")
    evidence, taken = seconds(lambda: gather(generator, place, recipe, world))
    table.add_row("keys and targets", f"{taken:.3f}")
    covariance = world.moments.at((0, 0))
    found, taken = seconds(lambda: directions(evidence, covariance, recipe.eps))
    table.add_row("context directions", f"{taken:.3f}")
    for rank in (1, 8, 64, None):

        def solved(rank: int | None = rank) -> Change:
            read = None if rank is None else context(found, rank)
            change = solve(evidence, place, read, penalty(place, weight, world, read, recipe.eps).matrix(0.1, 0.0))
            return change if rank else truncate(change, covariance, recipe.eps)[0]

        table.add_row(f"solve, rank {rank or 'full'}", f"{seconds(solved)[1]:.4f}")
    console.print(table)


@app.command()
def render(images: Annotated[int, typer.Option(help="How many.")] = 10) -> None:
    """Seconds per 1024 px image of `ffhq`, one at a time."""
    generator = rewrite.load("ffhq")
    with torch.no_grad():
        generator.synthesize(generator.latents([0]))
        times = [seconds(lambda s=seed: generator.synthesize(generator.latents([s])), 1)[1] for seed in range(images)]
    console.print(f"median {statistics.median(times):.3f} s, least {min(times):.3f} s, most {max(times):.3f} s")


if __name__ == "__main__":
    app()
