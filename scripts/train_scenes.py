"""Train the built-in generator on painted scenes and the latents that stand for them.

python scripts/train_scenes.py sheet --out scenes.png               what the scenes look like, and their labels
python scripts/train_scenes.py lesson --out RUN                     the mapping alone: which latent is which scene
python -m torch.distributed.run --nproc-per-node 2 scripts/train_scenes.py train --out RUN --images 200000
python scripts/train_scenes.py export --out RUN --to scenes.safetensors

Each resumes after any stop, with the same command. RUN is a folder outside the work tree. It receives lesson.pt and
state.pt (everything needed to go on), log.jsonl, and sheets: scenes that no training sees, each with what is painted
from its latent.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from scenes import pairs, peers, render
from scenes.classes import coloured
from scenes.contest import Contest
from scenes.discriminator import GROUP
from scenes.lesson import Lesson
from scenes.settings import Settings, Shape
from torch import Tensor

from rewrite import models
from rewrite.cli import heap
from rewrite.errors import RewriteError
from rewrite.models import stylegan2
from rewrite.models.stylegan2 import StyleGAN2
from rewrite.report import sheets

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
SHOWN = range(2_000_000, 2_000_060)
"""Scenes of the sheets: always the same, and none that training sees."""
MEAN_OF = 100_000
DEFAULT, FORM = Settings(), Shape()

Out = Annotated[Path, typer.Option(help="Folder of the run.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]


@app.command()
def sheet(out: Annotated[Path, typer.Option(help="A PNG.")], first: int = 0) -> None:
    """64 scenes that were not picked, then the label maps of the first 16."""
    images, labels = render(range(first, first + 64))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheets.save(sheets.grid(_floats(np.concatenate([images, coloured(labels[:16])])), size=128, across=16), out)


@app.command()
def lesson(
    out: Out,
    latents: Annotated[int, typer.Option(help="The plan, over all stretches.")] = 20_000_000,
    form: Annotated[str, typer.Option(help="Of the mapping: widths of z and w, layers.")] = "128,256,4",
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints, each with a line.")] = 500,
    threads: int = 1,
) -> None:
    """Teach the mapping which latent is which scene: minutes on one core."""
    torch.set_num_threads(threads)
    path, shape = out / "lesson.pt", _formed(form)
    taught = Lesson.resume(path, shape) if path.exists() else Lesson.begin(shape)
    steps = 0
    with _asked_to_stop() as stop:
        while taught.latents < latents and not stop:
            left, steps = taught.step(latents), steps + 1
            if steps % save_every == 0 or taught.latents >= latents:
                taught.save(path)
                print(json.dumps({"latents": taught.latents, "unexplained": round(float(left), 4)}), flush=True)
    taught.save(path)


@app.command()
def train(
    out: Out,
    minutes: Annotated[float | None, typer.Option(help="The plan: minutes, over all stretches.")] = None,
    images: Annotated[int | None, typer.Option(help="Or images, over all stretches.")] = None,
    form: Annotated[str, typer.Option(help="Of the mapping, as the lesson's.")] = "128,256,4",
    channels: Annotated[str, typer.Option(help="Of the generator at 4 to 64 px.")] = ",".join(map(str, FORM.channels)),
    critic: Annotated[str, typer.Option(help="Of the discriminator at 32 to 4 px.")] = ",".join(map(str, FORM.critic)),
    batch: int = DEFAULT.batch,
    rate: float = DEFAULT.rate,
    gamma: float = DEFAULT.gamma,
    decay: float = DEFAULT.decay,
    alone: Annotated[int, typer.Option(help="Images until which no discriminator judges.")] = DEFAULT.alone,
    weight: Annotated[float, typer.Option(help="Of the likeness, beside its verdict.")] = DEFAULT.pairs,
    save_every: Annotated[float, typer.Option(help="Minutes between checkpoints, each with a sheet.")] = 4.0,
    log_every: Annotated[int, typer.Option(help="Steps between lines of the log.")] = 50,
    device: Device = "cpu",
    threads: Annotated[int, typer.Option(help="Of each process.")] = 1,
    half: Annotated[bool | None, typer.Option(help="bfloat16; if left out, where a CPU has it in hardware.")] = None,
) -> None:
    """Train until the plan is done, or until stopped: Ctrl-C saves first."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    heap.keep()
    peers.join()
    lead = peers.rank() == 0
    if batch % (least := GROUP * peers.count()):
        raise RewriteError(f"a batch is {batch}, and {peers.count()} processes need a multiple of {least}")
    shape = replace(_formed(form), channels=_numbers(channels), critic=_numbers(critic))
    settings = Settings(
        batch=batch, rate=rate, gamma=gamma, decay=decay, images=images, minutes=minutes, alone=alone, pairs=weight
    )
    state, taught = out / "state.pt", out / "lesson.pt"
    if state.exists():
        contest = Contest.resume(state, settings, device, shape)
    elif taught.exists():
        contest = Contest.begin(shape, settings, device, Lesson.resume(taught, shape).mapping)
    else:
        raise RewriteError(f"{out} holds no lesson.pt; run `train_scenes.py lesson --out {out}` first")
    half = _has_bfloat16(device) if half is None else half
    if lead:
        print(json.dumps({"from": contest.images, "half": half, "parameters": _count(contest), **asdict(settings)}))
    began, before, saved = time.monotonic(), contest.minutes, time.monotonic()
    marked, marked_at = contest.images, began
    with _asked_to_stop() as stop:
        while True:
            contest.minutes, stopped = peers.agree(before + (time.monotonic() - began) / 60, bool(stop))
            if stopped or settings.progress(contest.images, contest.minutes) >= 1:
                break
            share = batch // peers.count()
            first = pairs.TRAINED + contest.images + peers.rank() * share
            figures = contest.step(*_pair(range(first, first + share), shape.z, device), settings, half=half)
            if contest.steps % log_every == 0:
                line = {name: round(float(figure), 4) for name, figure in figures.items()}
                if not all(map(math.isfinite, line.values())):
                    raise RewriteError(f"the training diverged at {contest.images} images; {state} is as last saved")
                speed = (contest.images - marked) / (time.monotonic() - marked_at)
                marked, marked_at = contest.images, time.monotonic()
                if lead:
                    _log(out, contest, line | {"images_per_s": round(speed, 1)})
            if lead and time.monotonic() - saved > 60 * save_every:
                _keep(out, contest, device)
                saved = time.monotonic()
    if lead:
        _keep(out, contest, device)
    peers.leave()


@app.command()
def export(
    out: Out,
    to: Annotated[Path, typer.Option(help="The checkpoint file.")],
    earlier: Annotated[Path | None, typer.Option(help="A state.pt of before the discriminator judged.")] = None,
    share: Annotated[float, typer.Option(help="Of the newest weights, 0 to 1; the rest is the earlier ones'.")] = 0.85,
) -> None:
    """Write the averaged generator as a checkpoint of ours, with its mean style and a card.

    The discriminator sharpens outlines, then rings them. On the straight line between the weights of before and after,
    the halos fade sooner than the sharpness does (Wortsman et al. 2022, of classifiers).
    """
    contest = Contest.resume(out / "state.pt", DEFAULT, "cpu")
    module = contest.average
    if earlier is not None:
        _blend(Contest.resume(earlier, DEFAULT, "cpu", contest.shape).average, module, share)
    z = torch.from_numpy(np.random.RandomState(0).standard_normal((MEAN_OF, contest.shape.z)).astype(np.float32))
    with torch.no_grad():
        module.mapping.w_avg.copy_(sum(module.map(part)[:, 0].sum(0) for part in z.split(10_000)) / MEAN_OF)
    card = {
        "origin": "trained by scripts/train_scenes.py on painted scenes and the latents that stand for them",
        "licence": "MIT",
        "images": contest.images,
        "minutes": round(contest.minutes),
        "noise": "none: trained without, all strengths are 0",
        "mean style": f"over {MEAN_OF} draws",
    }
    plain = module.to(memory_format=torch.contiguous_format)
    models.save(stylegan2.generator(plain, name="scenes", card=card), to)


@torch.no_grad()
def _blend(before: StyleGAN2, after: StyleGAN2, share: float) -> None:
    """`after` becomes that `share` of itself."""
    for old, new in zip(before.parameters(), after.parameters(), strict=True):
        new.copy_(old.lerp(new, share))


def _formed(text: str) -> Shape:
    z, w, depth = _numbers(text)
    return Shape(z=z, w=w, depth=depth)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _pair(seeds: range, z: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, and the images and label maps of their scenes."""
    images, labels = render(seeds)
    # An index is of 64 bits.
    return pairs.latents(seeds, z).to(device), _floats(images, device), torch.from_numpy(labels).to(device).long()


def _count(contest: Contest) -> dict[str, int]:
    return {name: sum(p.numel() for p in getattr(contest, name).parameters()) for name in ("G", "D")}


def _has_bfloat16(device: str) -> bool:
    """Emulated, it is several times slower than float32; on a GPU a network this small waits for launches anyway."""
    return device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _floats(images: np.ndarray, device: str = "cpu") -> Tensor:
    """uint8 to [-1, 1], channels last."""
    moved = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
    return moved.float() / 127.5 - 1


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that fills when the process is asked to end: a step is always finished first."""
    asked: list[int] = []
    handlers = {s: signal.signal(s, lambda number, _: asked.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _log(out: Path, contest: Contest, figures: dict[str, float]) -> None:
    line = {"minutes": round(contest.minutes, 2), "images": contest.images, **figures}
    with open(out / "log.jsonl", "a") as stream:
        stream.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


@torch.no_grad()
def _keep(out: Path, contest: Contest, device: str) -> None:
    """The state, and a sheet."""
    contest.save(out / "state.pt")
    z, scenes, _ = _pair(SHOWN, contest.shape.z, device)
    both = torch.stack([scenes, contest.average(z, noise="none").clamp(-1, 1)], 1).flatten(0, 1)
    sheets.save(sheets.grid(both, size=96, across=12), out / f"samples-{contest.images // 1000:05d}k.png")


if __name__ == "__main__":
    app()
