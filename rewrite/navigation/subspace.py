"""The changes of a layer's weight that a direction is made of, as coefficients in an orthonormal basis.

The full kernel, or a low-rank ansatz dW = left C right: `right` reads the features that the layer's keys vary in
most, `left` writes those that its values vary in most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from edits import Add, Dense, LowRank
from rewrite.errors import RewriteError
from rewrite.generator import MAPPING, Generator, Layer, Noise
from rewrite.memory import canonical, maps
from rewrite.progress import Progress, quiet


@dataclass(frozen=True, eq=False)
class Subspace:
    """Coefficients (k, d) and changes (k, *stored shape) of one layer. Lengths are Frobenius norms, in stored units.

    `left` (L, p) has orthonormal columns, L the output and kernel axes, `right` (q, in) orthonormal rows; both None
    for the full kernel.
    """

    layer: Layer
    left: Tensor | None = None
    right: Tensor | None = None

    @property
    def dimension(self) -> int:
        if self.left is None or self.right is None:
            return int(torch.Size(self.layer.shape).numel())
        return self.left.shape[1] * self.right.shape[0]

    def changes(self, coefficients: Tensor) -> Tensor:
        """dW (k, *shape) of coefficients (k, d), in their type."""
        if self.left is None or self.right is None:
            return coefficients.reshape(-1, *self.layer.shape)
        core = rearrange(coefficients, "k (p q) -> k p q", p=self.left.shape[1])
        flat = self.left.to(core) @ core @ self.right.to(core)
        left, right = _sides(self.layer)
        shape = [self.layer.shape[axis] for axis in (*left, *right)]
        back = torch.argsort(torch.tensor((*left, *right))).tolist()
        return flat.reshape(-1, *shape).permute(0, *(1 + axis for axis in back))

    def coefficients(self, changes: Tensor) -> Tensor:
        """The nearest coefficients (k, d) of changes (k, *shape), in their type: the adjoint of `changes`."""
        if self.left is None or self.right is None:
            return changes.flatten(1)
        left, right = _sides(self.layer)
        rows = self.left.shape[0]
        flat = changes.permute(0, *(1 + axis for axis in (*left, *right))).reshape(len(changes), rows, -1)
        return (self.left.to(flat).T @ flat @ self.right.to(flat).T).flatten(1)

    def operation(self, coefficients: Tensor) -> Add:
        """The change of coefficients (d,) as it is stored."""
        if self.left is None or self.right is None:
            return Add(self.layer.shape, Dense(self.changes(coefficients)[0].float().contiguous()))
        core = rearrange(coefficients, "(p q) -> p q", p=self.left.shape[1])
        left, right = _sides(self.layer)
        return Add(self.layer.shape, LowRank((self.left @ core).float(), self.right.float(), left, right))


def stored(layer: Layer, change: Tensor) -> Tensor:
    """A change (out, in, kernel height, kernel width) in the axes of the stored tensor."""
    rest = tuple(axis for axis in range(len(layer.shape)) if axis not in _canonical_axes(layer))
    axes = (*_canonical_axes(layer), *rest)
    back = torch.argsort(torch.tensor(axes)).tolist()
    return change.reshape([layer.shape[axis] for axis in axes]).permute(back)


def steerable(layer: Layer) -> None:
    """RewriteError, with the reason, for a layer whose kernel no direction is sought in."""
    if layer.stage == MAPPING:
        raise RewriteError(
            f"layer {layer.name} maps latents; methods of parameter space take a layer of the synthesis, and latent "
            f"methods move its latents"
        )


def ansatz(
    generator: Generator, layer: Layer, rank: int | None, *,
    latents: Iterable[int], truncation: float = 1.0, noise: Noise = "const", progress: Progress = quiet,
) -> Subspace:  # fmt: skip
    """The subspace of that rank, by the keys of these seeds; the full kernel for None."""
    steerable(layer)
    if rank is None:
        return Subspace(layer)
    if not 1 <= rank <= min(layer.in_features, layer.out_features):
        raise RewriteError(
            f"an ansatz of rank {rank} was asked of layer {layer.name}, which is {layer.out_features} x "
            f"{layer.in_features}; expected 1 to {min(layer.in_features, layer.out_features)}"
        )
    energy = _key_energy(generator, layer, list(latents), truncation, noise, progress)
    values, vectors = torch.linalg.eigh(energy)
    root = vectors * values.clamp(min=0).sqrt()
    weight = canonical(layer, generator.module.state_dict()[layer.weight])
    written = rearrange(torch.einsum("oihw,ij->ojhw", weight, root), "o j h w -> o (j h w)")
    out = torch.linalg.svd(written, full_matrices=False).U[:, :rank]
    taps = torch.eye(layer.kernel[0] * layer.kernel[1], dtype=torch.float64)
    left = rearrange(torch.einsum("or,tu->otru", out, taps), "o t r u -> (o t) (r u)")
    return Subspace(layer, left.contiguous(), vectors.flip(1)[:, :rank].T.contiguous())


def _key_energy(
    generator: Generator, layer: Layer, seeds: list[int], truncation: float, noise: Noise, progress: Progress
) -> Tensor:
    """E[k k'] (in, in) over all cells of the keys of these seeds."""
    total, cells = torch.zeros(layer.in_features, layer.in_features, dtype=torch.float64), 0
    with torch.no_grad():
        for done, seed in enumerate(seeds):
            progress(f"keys of {layer.name}", done, len(seeds))
            ws = generator.styles(generator.latents([seed]), truncation=truncation)
            key = rearrange(maps(generator.run_to(layer, ws=ws, noise=noise).key), "n i h w -> (n h w) i")
            total += (key.T @ key).double().cpu()
            cells += len(key)
    progress(f"keys of {layer.name}", len(seeds), len(seeds))
    return total / cells


def _canonical_axes(layer: Layer) -> tuple[int, ...]:
    return (layer.out_axis, layer.in_axis, *layer.kernel_axes)


def _sides(layer: Layer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of the stored tensor on the left and on the right."""
    own = (layer.out_axis, *layer.kernel_axes)
    rest = tuple(axis for axis in range(len(layer.shape)) if axis not in (*own, layer.in_axis))
    return own + rest, (layer.in_axis,)
