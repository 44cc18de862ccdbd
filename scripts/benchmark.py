"""Speed as ratios, measured side by side in one run.

python scripts/benchmark.py rule                 closed form against the published descent
python scripts/benchmark.py stages               where the time of a rule on a real generator goes
python scripts/benchmark.py render               seconds per 1024 px image
python scripts/benchmark.py published --rosinality CHECKOUT --nvidia CHECKOUT
                                                 StyleGAN2 at 256 px beside the published PyTorch code, same weights
python scripts/benchmark.py runtime FOLDER       `ffhq` beside OpenVINO on the graphs that it was made from
python scripts/benchmark.py audit --dissect CHECKOUT
                                                 an audit beside davidbau/dissect, on the same generator
"""

from __future__ import annotations

import importlib
import os
import statistics
import sys
import time
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from peers import dissect
from rich.console import Console
from rich.table import Table
from torch import Tensor

import rewrite
from rewrite.background import background
from rewrite.checkpoints.foreign import Foreign, Network
from rewrite.concepts import segmenter
from rewrite.generator import Generator
from rewrite.memory import Change, canonical
from rewrite.models import recognise, stylegan2
from rewrite.rules import Recipe, parse
from rewrite.rules.context import context, directions
from rewrite.rules.evidence import gather
from rewrite.rules.gradient import descend
from rewrite.rules.judge import Judge, probe
from rewrite.rules.solve import penalty, solve, truncate
from rewrite.units import audit as ours
from rewrite.units.features import Site, sites

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
        latents = [generator.latents([seed]) for seed in range(images)]
        times = [seconds(partial(generator.synthesize, z), 1)[1] for z in latents]
    console.print(f"median {statistics.median(times):.3f} s, least {min(times):.3f} s, most {max(times):.3f} s")


Forward = Callable[[torch.Tensor], torch.Tensor]
"""Latents (1, z) to an image (1, 3, R, R), not clamped."""
BASE = 16384
"""Channels times pixels of a side: the width that both publish for 256 px."""


@app.command()
def published(
    rosinality: Annotated[Path | None, typer.Option(help="Checkout of rosinality/stylegan2-pytorch.")] = None,
    nvidia: Annotated[Path | None, typer.Option(help="Checkout of NVlabs/stylegan2-ada-pytorch.")] = None,
    resolution: Annotated[int, typer.Option(help="Of the images.")] = 256,
    images: Annotated[int, typer.Option(help="How many, one at a time, the implementations taking turns.")] = 15,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Forward time of one StyleGAN2, random weights, beside the published code on its way for the CPU."""
    torch.set_num_threads(threads)
    ours = stylegan2.StyleGAN2.random(
        0, resolution=resolution, channels=stylegan2.widths(resolution, base=BASE), noise=0.1
    )
    forwards: dict[str, Forward] = {"ours": ours}
    if rosinality is not None:
        forwards["rosinality, native operators"] = _rosinality(rosinality, ours)
    if nvidia is not None:
        forwards["NVIDIA, reference operators"] = _nvidia(nvidia, ours)
    _race(f"StyleGAN2, {resolution} px, {threads} threads", forwards, images)


@app.command()
def runtime(
    folder: Annotated[Path, typer.Argument(help="Holds MappingNetwork.xml and SynthesisNetwork.xml, with their .bin.")],
    images: Annotated[int, typer.Option(help="How many, one at a time, in turns.")] = 15,
    threads: Annotated[int, typer.Option(help="Threads of both.")] = 2,
) -> None:
    """Forward time of `ffhq` beside OpenVINO (pip install openvino) at full precision, on the same latents."""
    openvino = importlib.import_module("openvino")
    torch.set_num_threads(threads)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    mapping, synthesis = (
        openvino.Core().compile_model(str(folder / f"{part}Network.xml"), "CPU", settings)
        for part in ("Mapping", "Synthesis")
    )

    def original(z: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(synthesis([mapping([z.numpy()])[0]])[0].copy())

    _race(f"ffhq, 1024 px, {threads} threads", {"ours": rewrite.load("ffhq").module, "OpenVINO": original}, images)


def _race(title: str, forwards: Mapping[str, Forward], images: int) -> None:
    """Each image by each implementation in turn, so that what else the machine does slows all of them."""
    generator = torch.Generator().manual_seed(0)
    taken: dict[str, list[float]] = {name: [] for name in forwards}
    furthest = dict.fromkeys(forwards, 0.0)
    with torch.inference_mode():
        for i in range(images + 1):
            z = torch.randn(1, 512, generator=generator)
            made = {name: seconds(partial(run, z), 1) for name, run in forwards.items()}
            reference = made["ours"][0]
            for name, (image, spent) in made.items():
                furthest[name] = max(furthest[name], float((image - reference).abs().max()))
                taken[name] += [spent] if i else []  # The first warms up.
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    table = Table(
        "implementation", "median s", "least s", "median ratio to ours", "largest difference from ours",
        title=f"{title}, {images} images in turns; load average {busy} on {os.cpu_count()} cores",
    )  # fmt: skip
    for name, times in taken.items():
        ratio = statistics.median(t / mine for t, mine in zip(times, taken["ours"], strict=True))
        table.add_row(
            name, f"{statistics.median(times):.3f}", f"{min(times):.3f}", f"{ratio:.2f}", f"{furthest[name]:.1e}"
        )
    console.print(table)


def _rosinality(checkout: Path, ours: stylegan2.StyleGAN2) -> Forward:
    extension = importlib.import_module("torch.utils.cpp_extension")
    # It compiles for CUDA when it is imported, and on a CPU runs without what was compiled.
    extension.load = lambda *_, **__: None  # type: ignore[attr-defined]
    sys.path.insert(0, str(checkout))
    theirs = importlib.import_module("model").Generator(ours.geometry["resolution"], 512, 8, channel_multiplier=1)
    _give(theirs, ours)
    return lambda z: theirs([z], randomize_noise=False)[0]


def _nvidia(checkout: Path, ours: stylegan2.StyleGAN2) -> Forward:
    # Only its downloads need it.
    sys.modules.setdefault("requests", types.ModuleType("requests"))
    sys.path.insert(0, str(checkout))
    theirs = importlib.import_module("training.networks").Generator(
        z_dim=512, c_dim=0, w_dim=512, img_resolution=ours.geometry["resolution"], img_channels=3,
        mapping_kwargs={"num_layers": 8}, synthesis_kwargs={"channel_base": BASE, "num_fp16_res": 0},
    )  # fmt: skip
    _give(theirs, ours)
    return lambda z: theirs(z, None, noise_mode="const")


def _give(theirs: torch.nn.Module, ours: stylegan2.StyleGAN2) -> None:
    """Our weights, by their names."""
    state, mine = theirs.state_dict(), ours.state_dict()
    layout = recognise(Foreign("torch zip", {"": Network(state)}))
    assert layout is not None
    theirs.load_state_dict(state | layout.theirs({name: mine[name] for name in layout.keys}))
    theirs.eval().requires_grad_(False)


@app.command()
def audit(
    model: Annotated[str, typer.Argument(help="A model of images that the segmenter knows.")] = "scenes",
    concepts: Annotated[str, typer.Option("--segmenter", help="A segmenter.")] = "scenes",
    images: Annotated[int, typer.Option(help="Images that thresholds come from, and as many that are scored.")] = 200,
    layer: Annotated[list[str] | None, typer.Option(help="Its layers; all with feature maps if left out.")] = None,
    batch: Annotated[int, typer.Option(help="Images in a batch of the idealised way.")] = 8,
    checkout: Annotated[Path | None, typer.Option("--dissect", help="Folder of davidbau/dissect, to be run.")] = None,
) -> None:
    """IoU of every unit and concept the published way and ours, under the same protocol and in ours by default."""
    generator, judge = rewrite.load(model), segmenter(concepts)
    found = sites(generator, layer)
    asked: dict[str, Any] = {"segmenter": judge, "layers": list(found), "samples": images, "choose": images}

    def of_each(way: Callable[[Site], Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            return {name: way(site) for name, site in found.items()}

    def of_ours(method: str, **more: Any) -> dict[str, Tensor]:
        made = ours(generator, method=method, cache=False, **asked, **more)
        return {one.name: torch.tensor([unit.meaning.ious for unit in one.units]) for one in made.layers}

    ideal = partial(dissect.idealised, generator, judge=judge, images=images, batch=batch)
    ways: dict[str, Callable[[], dict[str, Tensor]]] = {
        "its definition, idealised": lambda: of_each(ideal),
        "ours, protocol dissect": lambda: of_ours("dissect", deals=1),
        "ours, protocol quantile (own cells)": lambda: of_ours("quantile", deals=1),
        "ours, protocol iqr with 1,000 deals": lambda: of_ours("iqr"),
    }
    if checkout:
        theirs = partial(dissect.published, dissect.imported(checkout), generator, judge=judge, images=images)
        ways = {"davidbau/dissect itself": lambda: of_each(theirs)} | ways
    made = {name: seconds(way, 1) for name, way in ways.items()}
    same, took = made["ours, protocol dissect"]
    table = Table(
        "way", "seconds", "over ours, protocol dissect", "largest difference of IoU from it",
        title=f"{model}: {len(found)} layers, {images} images to choose thresholds and {images} to score, "
        f"{torch.get_num_threads()} threads",
    )  # fmt: skip
    for name, (found_ious, taken) in made.items():
        apart = max(float((ious - found_ious[layer]).abs().max()) for layer, ious in same.items())
        table.add_row(name, f"{taken:.2f}", f"{taken / took:.2f}", f"{apart:.4f}")
    console.print(table)


if __name__ == "__main__":
    app()
