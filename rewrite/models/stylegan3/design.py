"""The sizes and filters of a StyleGAN3, from the few numbers that its authors choose (section 3.2, appendix D)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from rewrite.models.stylegan3.filters import low_pass

TAPS = 6
"""Filter taps for each cell of the lower rate."""


@dataclass(frozen=True)
class Spec:
    """One layer, as it is stored in a geometry. The last one paints the image: nothing up, nothing down, no filter."""

    name: str
    channels: int
    """Leaving it."""
    size: int
    """Cells a side, of what leaves it."""
    kernel: int
    up: int = 1
    down: int = 1
    up_taps: int = 0
    down_taps: int = 0
    radial: bool = False
    """Its downsampling filter has two axes."""


@dataclass(frozen=True)
class Band:
    """What a layer's features can hold: sampling rate, cutoff, half the width of the transition band."""

    rate: int
    cutoff: float
    half_width: float


@dataclass(frozen=True)
class Design:
    """A network's input (channels, cells a side, sampling rate, bandwidth), its layers, and their filters by name."""

    input: dict[str, Any]
    layers: list[dict[str, Any]]
    filters: dict[str, tuple[Tensor, Tensor]]


def design(
    resolution: int, *, base: int = 32768, most: int = 512, count: int = 14, critical: int = 2, kernel: int = 3,
    radial: bool = False, first_cutoff: float = 2.0, first_stopband: float = 2**2.1, last_stopband: float = 2**0.3,
    margin: int = 10,
) -> Design:  # fmt: skip
    """StyleGAN3-T; R has kernel 1, radial filters, and twice `base` and `most`.

    `count` layers and the image's, `critical` of them sampled critically. `last_stopband` is relative to the last
    cutoff; `margin` are the cells beyond the image, on each side.
    """
    last = resolution / 2
    steps = [min(i / (count - critical), 1.0) for i in range(count + 1)]
    cutoffs = [first_cutoff * (last / first_cutoff) ** e for e in steps]
    stopbands = [first_stopband * (last * last_stopband / first_stopband) ** e for e in steps]
    rates = [2 ** math.ceil(math.log2(min(2 * stop, resolution))) for stop in stopbands]
    bands = [
        Band(rate, cutoff, max(stop, rate / 2) - cutoff)
        for rate, cutoff, stop in zip(rates, cutoffs, stopbands, strict=True)
    ]
    sizes = [rate + 2 * margin for rate in rates[:-2]] + [resolution] * 2
    channels = [round(min(base / 2 / cutoff, most)) for cutoff in cutoffs[:-1]] + [3]
    layers, filters = [], {}
    for i, after in enumerate(bands):
        before, image = bands[max(i - 1, 0)], i == count
        name = f"L{i}_{sizes[i]}_{channels[i]}"
        if image:
            layers.append(asdict(Spec(name, channels[i], sizes[i], 1)))
            continue
        between = 2 * max(before.rate, after.rate)
        up, down = between // before.rate, between // after.rate
        soft = radial and i < count - critical
        filters[name] = (
            low_pass(TAPS * up, before.cutoff, 2 * before.half_width, between),
            low_pass(TAPS * down, after.cutoff, 2 * after.half_width, between, radial=soft),
        )
        layers.append(asdict(Spec(name, channels[i], sizes[i], kernel, up, down, TAPS * up, TAPS * down, soft)))
    start = {"channels": channels[0], "size": sizes[0], "rate": rates[0], "bandwidth": cutoffs[0]}
    return Design(start, layers, filters)
