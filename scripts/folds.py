"""How exactly moves of codes fold into weights: images of the moved code beside those of the edited weights.

python scripts/folds.py stylegan2              a random StyleGAN2 of 64 px
python scripts/folds.py faces64                DCGAN
python scripts/folds.py ffhq --seeds 8         MobileStyleGAN; a second or more an image

What does not fold there is listed with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

import rewrite
from rewrite.generator import Generator
from rewrite.models import stylegan2
from rewrite.navigation.latent.channels import styled, styles
from rewrite.navigation.latent.continuous import continuous
from rewrite.navigation.latent.fold import Moves, difference, everywhere, fold
from rewrite.navigation.latent.ganspace import ganspace
from rewrite.navigation.latent.interfacegan import higan, interfacegan
from rewrite.navigation.latent.moves import ChannelScale, ChannelSet, ChannelShift, affine, set_along, shift
from rewrite.navigation.latent.regional import lowrankgan, resefa
from rewrite.navigation.latent.sefa import sefa
from rewrite.navigation.latent.sites import sites
from rewrite.navigation.latent.steerability import steerability
from rewrite.navigation.latent.stylespace import stylespace
from rewrite.navigation.latent.walk import Walk, codes, found
from rewrite.navigation.methods import Options
from rewrite.navigation.where import box

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console(width=160)
RANDOM: dict[str, Any] = {
    "resolution": 64,
    "channels": (32, 32, 32, 16, 16),
    "z": 64,
    "w": 64,
    "depth": 4,
    "noise": 0.1,
}
METHODS: dict[str, tuple[Callable[[Generator, Options], list[Walk]], dict[str, Any]]] = {
    "sefa": (sefa, {"more": {}}),
    "ganspace": (ganspace, {"more": {"samples": 2_000}}),
    "interfacegan": (
        interfacegan,
        {"more": {"samples": 64, "share": 0.25, "scores": lambda images: images.mean((1, 2, 3))}},
    ),
    "higan": (
        higan,
        {"more": {"samples": 64, "share": 0.25, "rescored": 8, "scores": lambda images: images.mean((1, 2, 3))}},
    ),
    "stylespace": (stylespace, {"more": {"samples": 500, "probes": 1}, "region": box([0, 0, 1, 0.5]), "latents": 4}),
    "steerability": (steerability, {"more": {"transforms": ("brightness",), "steps": 4}}),
    "lowrankgan": (lowrankgan, {"more": {"syntheses": 1, "side": 16, "relax": 48}, "region": box([0, 0, 1, 0.5])}),
    "resefa": (resefa, {"more": {"syntheses": 1, "side": 16}, "region": box([0, 0, 1, 0.5])}),
    "continuous": (continuous, {"more": {"transforms": ("shift_x",), "codes": 8, "steps": 2}}),
}


@app.command()
def folds(
    model: Annotated[str, typer.Argument(help="stylegan2 (random), a model's name, or a checkpoint.")],
    seeds: Annotated[int, typer.Option(help="Latents that are compared.")] = 64,
    only: Annotated[str, typer.Option(help="Only rows whose name holds this.")] = "",
    threads: Annotated[int, typer.Option(help="Threads that torch computes with.")] = 1,
) -> None:
    torch.set_num_threads(threads)
    if model == "stylegan2":
        generator = stylegan2.generator(stylegan2.StyleGAN2.random(0, **RANDOM), name="random stylegan2")
    else:
        generator = rewrite.load(model)
    table = Table("move", "largest difference", "largest effect", "seeds", title=generator.name)
    for name, made in _rows(generator):
        if only not in name:
            continue
        try:
            moves, edit = made()
            batch = 8 if generator.resolution < 256 else 1
            measured = difference(generator, edit, moves, range(seeds), batch=batch)
            row = [name, f"{measured.largest:.1e}", f"{measured.effect:.2f}", str(measured.seeds)]
        except rewrite.RewriteError as error:
            row = [name, f"refused: {error}", "", ""]
        table.add_row(*row)
        print("  ".join(row), flush=True)
    console.print(table)


def _rows(generator: Generator) -> Iterator[tuple[str, Callable[[], tuple[Moves, Any]]]]:
    """Names of moves, and what makes each with its edit."""

    def plain(make: Callable[[], Moves]) -> Callable[[], tuple[Moves, Any]]:
        return lambda: (moves := make(), fold(generator, moves))

    def drawn() -> Tensor:
        return codes(generator, 512)

    def direction(seed: int, *shape: int) -> Tensor:
        """Of the length of one standard deviation of codes, over all their numbers."""
        width = drawn().shape[1]
        draw = torch.randn(*shape, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return draw * drawn().std(0).mean()

    def turned() -> Tensor:
        basis = torch.linalg.qr(direction(0, 2).T).Q
        turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double() - torch.eye(2)
        return torch.eye(len(basis), dtype=torch.float64) + basis @ turn @ basis.T

    def channel(kind: Any, value: Callable[[Tensor], Tensor]) -> Moves:
        site = styled(generator, sites(generator))[2]
        return [(site, kind((0, 3), value(styles(generator, site, drawn())[:, [0, 3]])))]

    yield "w shifted, all layers", plain(lambda: everywhere(sites(generator), shift(direction(0))))
    yield "w shifted, rows 2-4", plain(lambda: everywhere(sites(generator, layers=["2-4"]), shift(direction(0))))
    yield "w projected to 0 along 2", plain(lambda: everywhere(sites(generator), set_along(direction(0, 2))))
    yield (
        "w set along 2",
        plain(lambda: everywhere(sites(generator), set_along(direction(0, 2), float(drawn().std()) * 2))),
    )
    yield "w turned in a plane", plain(lambda: everywhere(sites(generator), affine(turned())))
    yield "s shifted", plain(lambda: channel(ChannelShift, lambda s: 3 * s.std(0)))
    yield "s scaled", plain(lambda: channel(ChannelScale, lambda s: torch.full_like(s[0], 3.0)))
    yield "s set", plain(lambda: channel(ChannelSet, lambda s: s.mean(0) + 3 * s.std(0)))
    yield "z shifted", plain(lambda: everywhere(sites(generator, "z"), shift(direction(0))))
    for name, (method, options) in METHODS.items():
        for form in ("shift", "projective") if name in ("sefa", "ganspace", "interfacegan") else (None,):

            def made(
                method: Any = method, options: dict[str, Any] = options, form: str | None = form
            ) -> tuple[Moves, Any]:
                more = options["more"] | ({"form": form} if form else {})
                if form == "projective" and generator.architecture == "dcgan" and method is interfacegan:
                    more |= {"target": None}
                if generator.architecture == "dcgan" and method is ganspace:
                    more |= {"activations": "main.3", "samples": 128}
                walk, *_ = method(generator, Options(count=1, **(options | {"more": more})))
                return walk.moves, found(generator, [walk])[0].edit

            yield f"{name} {form}" if form else name, made


if __name__ == "__main__":
    app()
