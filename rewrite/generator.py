"""A generator: a network, its latent space and its named layers.

Nothing here knows an architecture. A family (`rewrite/models/`) builds the `Generator` and says in each `Layer`
what an operator needs to know about it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from rewrite import hooks
from rewrite.errors import RewriteError, nearest
from rewrite.latents import Name, draw

Kind = Literal["linear", "conv", "transposed conv", "modulated conv", "modulated transposed conv"]
Noise = Literal["const", "none"]
Sample = Callable[[Iterable[Name]], Tensor]
Labels = Tensor | Sequence[int]

MAPPING = -1
"""The stage of a layer that comes before all stages, in the mapping from z to ws."""
NO_PLACES = "it maps latents, which have no places to copy from or paste to"
"""Why a rule cannot edit a layer of the mapping."""


@dataclass(frozen=True)
class Gain:
    """Demodulation: value_o times rsqrt(sum over (i, kernel) of (scale * s_i * W_oi)^2 + eps), per image.

    `style` is the module whose output is s, shape (N, in); the key has been multiplied by s already
    (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", equation 3).
    """

    style: nn.Module
    eps: float = 1e-8


Entries = tuple[str, int]
"""Name of a stored tensor and an axis of it: the entries at index u of that axis belong to unit u."""


@dataclass(frozen=True)
class UnitForm:
    """What stored numbers make of a layer's units, the channels that leave it after all that follows it.

    A unit is constant, whatever the latent, where its entries of `constant` are 0; it is then the activation of its
    element of `level`. It is proportional to its entries of `scaled`, for factors from 0 up. The activation is gain * x
    above zero, gain * slope * x below, bounded by `clamp` on both sides.
    """

    constant: tuple[Entries, ...]
    level: str | None
    """A vector; None where a constant unit can only be 0."""
    scaled: tuple[Entries, ...] = ()
    silenced: tuple[Entries, ...] = ()
    """Where these are 0 all that reads the unit reads 0; empty where a constant 0 does as much."""
    slope: float = 1.0
    gain: float = 1.0
    clamp: float | None = None
    caveats: Mapping[str, str] = field(default_factory=dict)
    """Why "set" or "scale" is only nearly what is said here."""


@dataclass(frozen=True)
class Layer:
    """A layer whose weight can be observed, and, where `refuses` is None, rewritten by a rule.

    `module` is called with the key and returns the value (plus its own bias, where it has one inside). The value is
    the convolution's output before gain, noise, bias and activation.
    """

    name: str
    module: nn.Module
    weight: str
    """Exact name of the stored weight in the generator's state dict."""
    bias: str | None
    kind: Kind
    shape: tuple[int, ...]
    """Shape of the stored weight."""
    out_axis: int
    in_axis: int
    kernel_axes: tuple[int, ...] = ()
    """Axes of the stored weight: height then width; empty for a linear layer."""
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    output_padding: tuple[int, int] = (0, 0)
    in_resolution: tuple[int, int] = (1, 1)
    out_resolution: tuple[int, int] = (1, 1)
    in_margin: int = 0
    """Cells on each side of the key's map that lie beyond the image (StyleGAN3)."""
    out_margin: int = 0
    """The same of the value's map."""
    unit_margin: int = 0
    """The same of the units', which leave the layer after all that follows it."""
    scale: float = 1.0
    """The stored weight is multiplied by this on every forward pass (equalised learning rate); 1 where it is not."""
    gain: Gain | None = None
    follows: tuple[str, ...] = ()
    """What comes after the value, in order: of "gain", "blur", "noise", "bias", "norm", "activation"."""
    stage: int = 0
    """Index of the network's stage that the layer is part of; MAPPING for a layer of the mapping from z to ws."""
    upstream: tuple[str, ...] = ()
    """Names of the stored tensors that the key depends on."""
    refuses: str | None = None
    """Why a rule cannot edit it, or None."""
    units: UnitForm | None = None
    """How its units are edited, or None where that is not known."""

    @property
    def transposed(self) -> bool:
        return "transposed" in self.kind

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel height and width; (1, 1) for a linear layer."""
        return cast(tuple[int, int], tuple(self.shape[a] for a in self.kernel_axes)) or (1, 1)

    @property
    def in_features(self) -> int:
        return self.shape[self.in_axis]

    @property
    def out_features(self) -> int:
        return self.shape[self.out_axis]


@dataclass(frozen=True)
class Flow:
    """What travels from stage to stage: features (N, C, H, W), the image so far (or None), ws and the noise mode."""

    features: Tensor | None
    image: Tensor | None
    ws: Tensor
    noise: Noise = "const"
    label: Tensor | None = None
    """Labels (N,), as long as `ws` are still the latents of a conditional model."""

    def to(self, **changes: Any) -> Flow:
        """This flow with some of its fields replaced."""
        return replace(self, **changes)


@runtime_checkable
class Network(Protocol):
    """What a family's module offers. `stages` are run in order on a `Flow`; the last leaves the image."""

    mean_style: Tensor | None

    @property
    def stages(self) -> Sequence[Callable[[Flow], Flow]]: ...

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Latents (N, z) to styles ws: (N, rows, w), or (N, z) itself in a family without a mapping."""
        ...


@runtime_checkable
class Truncates(Protocol):
    """What the network of a family offers for which truncation is more than a pull to one mean style."""

    def truncate(self, ws: Tensor, truncation: float, label: Tensor | None) -> Tensor:
        """ws as they are at that truncation, which is not 1."""
        ...


@dataclass(frozen=True)
class State:
    """A forward pass held at a layer: `key` is the layer's input; `style` its modulation s (N, in), if it has a gain.

    `flow` is what enters the layer's stage; for a layer of the mapping its `ws` still hold the latents z.
    """

    layer: Layer
    key: Tensor
    style: Tensor | None
    flow: Flow


@dataclass(frozen=True)
class Generator:
    """A network, its latent space, its layers in order from the latent side."""

    module: nn.Module
    layers: Mapping[str, Layer]
    z_dim: int
    resolution: int
    classes: int = 0
    """Number of labels of a conditional model; 0 for an unconditional one."""
    architecture: str = ""
    name: str = ""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Origin, licence and the like, for people."""
    network: Network | None = None
    """What runs the module, where the module is not a `Network` itself."""
    sample: Sample | None = None
    """Draws z by name in the convention of a family that has its own; None for ours."""
    statistics: Path | None = None
    """Folder of statistics that came with the model, where some did."""
    held: int | None = None
    """The label that a conditional model is held at, by `of_class`; None of one that is not."""

    @property
    def device(self) -> torch.device:
        return next(iter(self.module.state_dict().values())).device

    def layer(self, name: str) -> Layer:
        """The layer of that name; RewriteError, naming the nearest, if there is none."""
        if name not in self.layers:
            raise RewriteError(
                f"there is no layer {name!r} in {self.name or self.architecture}; "
                f"nearest: {nearest(name, self.layers)} (`rewrite inspect {self.name}` lists them all)"
            )
        return self.layers[name]

    @staticmethod
    def wrap(module: nn.Module, *, latent: int, sample: Sample | None = None, name: str = "") -> Generator:
        """A generator of any network from z (N, `latent`) to images: see `rewrite.wrap`."""
        from rewrite.wrap import wrap

        return wrap(module, latent=latent, sample=sample, name=name)

    def of_class(self, label: int) -> Generator:
        """The images of one class alone, as an unconditional generator; RewriteError where there is no such class."""
        if not 0 <= label < self.classes:
            wanted = f"has classes 0 to {self.classes - 1}" if self.classes else "has no classes"
            raise RewriteError(f"class {label} was asked of {self.name or self.architecture}, which {wanted}")
        kind = _TruncatedClass if isinstance(self._network, Truncates) else _OneClass
        return replace(self, classes=0, held=label, network=cast(Network, kind(self._network, label)))

    def latents(self, seeds: Iterable[Name]) -> Tensor:
        """z (N, z) float32, one row a latent name; each depends on its own name and on nothing else."""
        drawn = draw(seeds, self.z_dim) if self.sample is None else self.sample(seeds)
        return drawn.to(self.device)

    def styles(self, z: Tensor, *, truncation: float = 1.0, label: Labels | None = None) -> Tensor:
        """ws of z, pulled towards the mean style: mean + truncation * (ws - mean); `label` (N,) if conditional."""
        labels = self._labels(z, label)
        ws = self._network.map(z, labels)
        if truncation == 1.0:
            return ws
        if isinstance(self._network, Truncates):
            return self._network.truncate(ws, truncation, labels)
        mean = self._network.mean_style
        if mean is None:
            raise RewriteError(
                f"truncation {truncation} needs a mean style, and {self.name or self.architecture} has none; "
                f"use truncation 1"
            )
        return mean + truncation * (ws - mean)

    def synthesize(
        self,
        z: Tensor | None = None,
        *,
        ws: Tensor | None = None,
        noise: Noise = "const",
        label: Labels | None = None,
    ) -> Tensor:
        """Images (N, 3, H, W) float32 in [-1, 1] of latents z (N, z) or of styles ws."""
        return self._finish(self.begin(z, ws=ws, noise=noise, label=label), self._network.stages)

    def run_to(
        self,
        layer: Layer | str,
        z: Tensor | None = None,
        *,
        ws: Tensor | None = None,
        noise: Noise = "const",
        label: Labels | None = None,
    ) -> State:
        """Everything before the layer; `State.key` is the layer's input."""
        layer = self.layer(layer) if isinstance(layer, str) else layer
        watched = {"key": layer.module} | ({"style": layer.gain.style} if layer.gain else {})
        if layer.stage == MAPPING:
            if z is None:
                raise RewriteError(f"{layer.name} maps latents to styles, so give latents z; styles ws are past it")
            with hooks.observe(watched, last="key") as seen:
                seen.run(self._network.map, z, self._labels(z, label))
            return State(layer, seen.inputs["key"], None, Flow(None, None, z, noise, self._labels(z, label)))
        flow, stages = self.begin(z, ws=ws, noise=noise, label=label), self._network.stages
        for stage in stages[: layer.stage]:
            flow = stage(flow)
        with hooks.observe(watched, last="key") as seen:
            seen.run(stages[layer.stage], flow)
        return State(layer, seen.inputs["key"], seen.outputs.get("style"), flow)

    def run_from(self, state: State, key: Tensor | None = None) -> Tensor:
        """Images (N, 3, H, W) of the layer and everything after it, on `key` in place of the state's own."""
        flow, first = state.flow, state.layer.stage
        with hooks.replace_input(state.layer.module, state.key if key is None else key):
            if first == MAPPING:
                flow, first = flow.to(ws=self._network.map(flow.ws, flow.label)), 0
            return self._finish(flow, self._network.stages[first:])

    def begin(
        self, z: Tensor | None = None, *, ws: Tensor | None = None, noise: Noise = "const", label: Labels | None = None
    ) -> Flow:
        """What enters the first stage, of latents z (N, z) or of styles ws."""
        if (z is None) == (ws is None):
            raise RewriteError("give either latents z or styles ws, one of the two")
        return Flow(None, None, self.styles(cast(Tensor, z), label=label) if ws is None else ws, noise)

    def flows(
        self, z: Tensor | None = None, *, ws: Tensor | None = None, noise: Noise = "const", label: Labels | None = None
    ) -> Iterator[Flow]:
        """What leaves each stage, in order; what leaves the last one holds the image, not yet clamped."""
        flow = self.begin(z, ws=ws, noise=noise, label=label)
        for stage in self._network.stages:
            flow = stage(flow)
            yield flow

    def finish(self, flow: Flow, stage: int) -> Tensor:
        """Images (N, 3, H, W) of a flow that is about to enter the stage of that index; past the last it is done."""
        return self._finish(flow, self._network.stages[stage:])

    def fingerprint(self, layer: Layer) -> str:
        """SHA-256 over the upstream tensors as they are now: names, shapes, types and bytes."""
        tensors, digest = self.module.state_dict(), hashlib.sha256()
        for name in sorted(layer.upstream):
            tensor = tensors[name].detach().cpu().contiguous()
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def _network(self) -> Network:
        return self.network or cast(Network, self.module)

    def _labels(self, z: Tensor, label: Labels | None) -> Tensor | None:
        if bool(self.classes) != (label is not None):
            wanted = f"needs a label from 0 to {self.classes - 1}" if self.classes else "takes no label"
            raise RewriteError(f"{self.name or self.architecture} {wanted}")
        return None if label is None else torch.as_tensor(label, device=z.device)

    def _finish(self, flow: Flow, stages: Sequence[Callable[[Flow], Flow]]) -> Tensor:
        for stage in stages:
            flow = stage(flow)
        return cast(Tensor, flow.image).float().clamp(-1, 1)


@dataclass(frozen=True, eq=False)
class _OneClass:
    """A conditional network whose label is given."""

    network: Network
    label: int

    @property
    def mean_style(self) -> Tensor | None:
        return self.network.mean_style

    @property
    def stages(self) -> Sequence[Callable[[Flow], Flow]]:
        return self.network.stages

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return self.network.map(z, self.labels(z))

    def labels(self, z: Tensor) -> Tensor:
        return torch.full((len(z),), self.label, device=z.device)


class _TruncatedClass(_OneClass):
    """One of a family that has a truncation of its own."""

    def truncate(self, ws: Tensor, truncation: float, label: Tensor | None) -> Tensor:  # noqa: ARG002
        return cast(Truncates, self.network).truncate(ws, truncation, self.labels(ws))
