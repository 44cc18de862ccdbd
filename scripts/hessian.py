"""The top eigenvectors of the perceptual Hessian of a small layer of `scenes`, beside a dense reference.

python scripts/hessian.py                              an image layer of 384 numbers, 16 vectors, 16 latents
python scripts/hessian.py --latents 4 --count 8        small
python scripts/hessian.py --layer synthesis.b8.conv1 --ansatz 6

The reference is the whole matrix E[J' J], of a Jacobian of all columns, by forward derivatives of one image at a time;
ours sees it in products with blocks only. Both on the same latents.
"""

from __future__ import annotations

import time
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.func import jvp, vmap

import rewrite
from rewrite.navigation.hessian import Basis, basis
from rewrite.navigation.methods import Options

VECTORS, LATENTS, ITERATIONS = 64, 512, 20
"""What was published (Cherepkov et al. 2021): each iteration of each vector differs two gradients a latent."""
COLUMNS = 32
"""Of the reference's Jacobian, at once."""


def dense(found: Basis) -> Tensor:
    """E[J' J] (d, d) float64 over the same latents, in the same space."""
    answer, space = found.answer, found.space
    columns = space.changes(torch.eye(space.dimension, dtype=torch.float64)).to(answer.weight)
    total = torch.zeros(space.dimension, space.dimension, dtype=torch.float64)
    for done, seed in enumerate(answer.seeds):
        flow = answer.flow([seed])

        def seen(weight: Tensor, flow: rewrite.generator.Flow = flow) -> Tensor:
            return answer.metric.embed(answer.images(weight, flow))[0]

        with torch.no_grad():
            along = vmap(lambda column, seen=seen: jvp(seen, (answer.weight,), (column,))[1])
            jacobian = torch.cat([along(part) for part in columns.split(COLUMNS)]).double()
        total += jacobian @ jacobian.T
        if (done + 1) % 8 == 0:
            print(f"dense reference: latent {done + 1} of {len(answer.seeds)}", flush=True)
    return total / len(answer.seeds)


def hessian(
    layer: Annotated[str, typer.Option(help="A small layer, or any with an ansatz.")] = "synthesis.b16.torgb",
    count: Annotated[int, typer.Option(help="Eigenvectors.")] = 16,
    latents: Annotated[int, typer.Option(help="Latents, of both.")] = 16,
    ansatz: Annotated[int | None, typer.Option(help="Rank of the subspace; the full kernel if left out.")] = None,
    net: Annotated[str, typer.Option(help="What change is measured by.")] = "pd-lite0",
    tolerance: Annotated[float, typer.Option(help="Of residuals, as a share of the eigenvalue.")] = 0.005,
    threads: Annotated[int, typer.Option(help="Threads that torch computes with.")] = 2,
) -> None:
    """Eigenvalues, captured energy, and what they cost."""
    torch.set_num_threads(threads)
    generator = rewrite.load("scenes")
    options = Options(
        layers=(layer,), latents=latents, net=net, ansatz=ansatz, count=count,
        more={"tolerance": tolerance, "passes": 20, "cache": False},
    )  # fmt: skip
    started = time.perf_counter()
    found = basis(generator, options, count)
    taken = time.perf_counter() - started
    started = time.perf_counter()
    matrix = dense(found)
    reference = time.perf_counter() - started
    values = torch.linalg.eigvalsh(matrix).flip(0)[:count]
    error = float(((found.pairs.values - values).abs() / values).max())
    caught = float((found.pairs.vectors @ matrix @ found.pairs.vectors.T).trace() / values.sum())
    print(
        f"{layer}: {found.space.dimension} numbers, {count} vectors, {latents} latents, {net}\n"
        f"largest relative error of an eigenvalue  {error:.1e}   (asked: at most 1e-3)\n"
        f"energy captured of the dense top {count:<4}    {caught:.6f}  (asked: at least 0.99)\n"
        f"largest residual                         {float((found.pairs.residuals / found.pairs.values).max()):.1e}\n"
        f"seconds                                  {taken:.1f} (dense {reference:.1f})"
    )
    print(counts(found, count, latents))


def counts(found: Basis, count: int, latents: int) -> str:
    """Markdown: what ours took, what the published scheme takes at these settings, and both at the published ones."""
    lines = [
        "| settings | published: passes, forward and back | ours: passes of the generator, a block in each "
        "| times fewer | ours: derivatives, one a vector and direction | times fewer |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    block, passes, whole = found.pairs.block, found.pairs.passes, found.pairs.block == found.space.dimension
    ways = 1 if whole else 2
    for name, vectors, seeds in (("these", count, latents), ("published", VECTORS, LATENTS)):
        theirs, width = vectors * ITERATIONS * 2 * seeds, block if whole else vectors + block - count
        blocks, single = ways * seeds * passes, ways * seeds * passes * width
        lines.append(
            f"| {name}: {vectors} vectors, {seeds} latents | {theirs:,} | {blocks:,} | {theirs / blocks:,.0f} "
            f"| {single:,} | {theirs / single:.1f} |"
        )
    lines.append(
        f"\n{passes} multiplications by the whole matrix, in blocks of {block}, "
        f"{'forwards alone' if whole else 'forwards and back'}; the last row supposes as many there. A pass runs the "
        f"generator once a latent and carries the whole block through it: its arithmetic grows with the block, which "
        f"the last two columns count. Counted so, one derivative each way for each vector and latent, less than any "
        f"iteration takes, is {ITERATIONS} times fewer."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(hessian)
