"""What a StyleGAN2 makes of its units: which stored numbers silence one, hold it at a constant, or scale it."""

from __future__ import annotations

from collections.abc import Iterator

from rewrite.generator import Entries, UnitForm
from rewrite.models.stylegan2.network import Modulated, StyleGAN2

SLOPE = 0.2
DEMODULATED = "the layers that read it are demodulated: they divide by a norm that shrinks or grows with it"


def units(module: StyleGAN2, path: str) -> UnitForm | None:
    """Of the convolution at `path`; None inside a residual block, whose sums belong to two layers.

    A filter of zeros, without noise, leaves the bias alone. No factor on a filter scales its unit, since demodulation
    divides it out; factors on what the next layers read do, as far as their own demodulation lets them.
    """
    part = module.get_submodule(path)
    _, at, name = path.split(".")
    if not isinstance(part, Modulated) or (at != "b4" and module.get_submodule(f"synthesis.{at}").residual):
        return None
    return UnitForm(
        constant=((f"{path}.weight", 0), (f"{path}.noise_strength", 0)),
        level=f"{path}.bias",
        scaled=tuple(_readers(module, int(at[1:]), name)),
        slope=SLOPE, gain=part.gain, clamp=part.clamp, caveats={"scale": DEMODULATED},
    )  # fmt: skip


def _readers(module: StyleGAN2, resolution: int, name: str) -> Iterator[Entries]:
    """What multiplies a unit where it is read: rows of the styles, columns of a way around."""
    here, after = f"synthesis.b{resolution}", f"synthesis.b{2 * resolution}"
    readers = [f"{here}.conv1"] if name == "conv0" else [f"{here}.torgb", f"{after}.conv0", f"{after}.skip"]
    stored = module.state_dict().keys()
    for reader in readers:
        if f"{reader}.affine.weight" in stored:
            yield from ((f"{reader}.affine.weight", 0), (f"{reader}.affine.bias", 0))
        elif f"{reader}.weight" in stored:
            yield f"{reader}.weight", 1
