"""Models that have names: from which file, with which hash, under which terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from rewrite.checkpoints import openvino, torch_zip
from rewrite.models import dcgan, mobilestylegan
from rewrite.progress import Progress
from rewrite.wheels import Wheel

Converter = Callable[[Mapping[str, bytes], Progress], nn.Module]


@dataclass(frozen=True)
class Source:
    """A model inside a published wheel, and what makes its module of the files."""

    wheel: Wheel
    convert: Converter


@dataclass(frozen=True)
class Entry:
    """A model that has a name; without a `source` it is part of this package."""

    name: str
    about: str
    family: str
    licence: str
    origin: str
    notes: str = ""
    source: Source | None = None

    @property
    def card(self) -> dict[str, Any]:
        """What a person should know; stored inside the checkpoint."""
        return {
            "about": self.about,
            "licence": self.licence,
            "origin": self.origin,
            "notes": self.notes,
            "source": self.source.wheel.source if self.source else "part of this package",
        }


def _ffhq(files: Mapping[str, bytes], progress: Progress) -> nn.Module:
    mapping, synthesis = (
        openvino.read(files[f"random_face/data/{part}Network.xml"], files[f"random_face/data/{part}Network.bin"])
        for part in ("Mapping", "Synthesis")
    )
    return mobilestylegan.from_openvino(mapping, synthesis, progress=progress)


def _faces64(files: Mapping[str, bytes], _progress: Progress) -> nn.Module:
    return dcgan.from_tensors(
        torch_zip.tensors(files["gan_face_generate/weights.tar"], "netG_state_dict", what="weights.tar")
    )


ZOO: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="scenes",
            about="StyleGAN2 without noise, painted scenes at 64 x 64",
            family="stylegan2",
            licence="MIT, as this package",
            origin="trained by scripts/train_scenes.py on scenes that scripts/scenes paints",
            notes=(
                "Its card, with figures and limits: rewrite/models/scenes/README.md. "
                "A segmenter of its 14 classes is built in."
            ),
        ),
        Entry(
            name="ffhq",
            about="MobileStyleGAN, faces at 1024 x 1024",
            family="mobilestylegan",
            source=Source(
                Wheel(
                    package="random-face",
                    version="2021.7.21.1",
                    file="random_face-2021.7.21.1-py3-none-any.whl",
                    sha256="e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
                    members=tuple(
                        f"random_face/data/{part}Network.{suffix}"
                        for part in ("Mapping", "Synthesis")
                        for suffix in ("xml", "bin")
                    ),
                ),
                _ffhq,
            ),
            licence=(
                "Code and wheel: Apache-2.0. The network is distilled from NVIDIA's FFHQ StyleGAN2, whose "
                "licence allows non-commercial use only; FFHQ itself is CC BY-NC-SA 4.0. "
                "Treat the weights as non-commercial."
            ),
            origin="Sergei Belousov, random_face; paper: MobileStyleGAN, arXiv 2104.04767",
            notes=(
                "Demodulation and noise strengths are folded into the weights by the exporter. "
                "The mean style is over 100,000 seeded draws; truncation 0.5 is the package's default."
            ),
        ),
        Entry(
            name="faces64",
            about="DCGAN, rendered faces at 64 x 64",
            family="dcgan",
            source=Source(
                Wheel(
                    package="gan-face-generate",
                    version="1.1.1",
                    file="gan_face_generate-1.1.1-py3-none-any.whl",
                    sha256="24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569",
                    members=("gan_face_generate/weights.tar",),
                ),
                _faces64,
            ),
            licence="MIT, Copyright (c) 2023 chien liu",
            origin="Chien Liu, gan_face_generate; trained on DigiFace-1M, a data set of synthetic faces",
        ),
    )
}
