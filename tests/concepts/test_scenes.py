"""The shipped segmenter does what its file says of it, and a file that is not one is refused in a sentence."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from scenes import CLASSES, render
from torch import Tensor
from torch.nn import functional as F

from rewrite.concepts import Confusion, Segmenter, labels, logits
from rewrite.concepts.scenes import KEY, SHIPPED, Facts, HeldOut, SceneSegmenter, UNet, segmenter, write
from rewrite.errors import RewriteError

FILE = Path(segmenter.__code__.co_filename).with_name(SHIPPED)
LIMIT = 600_000


@pytest.fixture(scope="module")
def shipped() -> SceneSegmenter:
    return segmenter()


@pytest.fixture(scope="module")
def painted(shipped: SceneSegmenter) -> tuple[Tensor, Tensor]:
    """The scenes of the first held-out stretch: images in [-1, 1] and labels."""
    part = shipped.facts.held_out[0]
    images, truth = render(range(part.first, part.first + part.scenes))
    return torch.from_numpy(images).float() / 127.5 - 1, torch.from_numpy(truth)


@pytest.fixture(scope="module")
def found(shipped: SceneSegmenter, painted: tuple[Tensor, Tensor]) -> Confusion:
    return Confusion.empty(CLASSES).add(painted[1], labels(shipped, painted[0]))


def test_it_loads_offline_and_small(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert isinstance(segmenter(), Segmenter)
    assert FILE.stat().st_size <= LIMIT


def test_its_classes_are_the_renderers(shipped: SceneSegmenter) -> None:
    assert shipped.classes == CLASSES


def test_scenes_that_it_never_saw_are_labelled(shipped: SceneSegmenter, found: Confusion) -> None:
    assert min(part.first for part in shipped.facts.held_out) >= 1_000_000 > shipped.facts.training["scenes"]
    assert found.pixels == 256 * 64**2
    assert found.mean_iou >= 0.85
    assert found.iou.min() >= 0.75


def test_its_confusions_are_those_that_the_file_states(shipped: SceneSegmenter, found: Confusion) -> None:
    """To a pixel in a thousand: on another processor the last bits differ, and ties with them."""
    stated = Confusion(CLASSES, torch.tensor(shipped.facts.held_out[0].counts))
    assert torch.equal(found.counts.sum(1), stated.counts.sum(1))
    assert (found.counts - stated.counts).abs().sum() <= 2e-3 * found.pixels


def test_the_whole_is_ten_thousand_scenes_that_no_part_repeats(shipped: SceneSegmenter, found: Confusion) -> None:
    parts = sorted(shipped.facts.held_out, key=lambda part: part.first)
    assert [part.first for part in parts[1:]] == [part.first + part.scenes for part in parts[:-1]]
    assert shipped.confusion.pixels == 10_000 * 64**2
    # Two draws of one distribution: the class that varies most from scene to scene is the watermark.
    assert torch.allclose(shipped.confusion.true_shares, found.true_shares, rtol=0.2)
    assert torch.allclose(shipped.confusion.iou, found.iou, atol=0.03)
    assert shipped.confusion.mean_iou >= 0.85


def test_a_soft_image_is_read_like_a_sharp_one(
    shipped: SceneSegmenter, painted: tuple[Tensor, Tensor], found: Confusion
) -> None:
    """What a generator blurs by a pixel costs outlines, not objects."""
    padded = F.pad(painted[0], (1, 1, 1, 1), "replicate")
    soft = F.avg_pool2d(F.avg_pool2d(padded, 2, 1), 2, 1)
    blurred = Confusion.empty(CLASSES).add(painted[1], labels(shipped, soft))
    assert blurred.mean_iou >= 0.85
    assert blurred.iou.min() >= 0.75
    assert torch.allclose(blurred.predicted_shares, found.predicted_shares, rtol=0.15)


@pytest.mark.parametrize("name", ["watermark", "dome"])
def test_a_class_is_known_by_its_look_not_by_its_place(
    shipped: SceneSegmenter, painted: tuple[Tensor, Tensor], name: str
) -> None:
    images, truth = (maps[:64] for maps in painted)
    for down, right in ((-1, 0), (0, -3), (-2, -5)):
        moved = [torch.roll(maps, (down, right), (-2, -1))[..., :-2, :-5] for maps in (images, truth)]
        padded = F.pad(moved[0], (0, 5, 0, 2), "replicate")
        found = Confusion.empty(CLASSES).add(moved[1], labels(shipped, padded)[:, :-2, :-5])
        assert found.iou[CLASSES.index(name)] >= 0.75


def test_gradients_reach_the_images_and_no_weight(shipped: SceneSegmenter) -> None:
    images = torch.zeros(1, 3, 64, 64, requires_grad=True)
    logits(shipped, images)[0, CLASSES.index("sky"), 20, 20].backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in shipped.network.parameters())
    assert not shipped.network.training


def test_any_multiple_of_8_is_labelled(shipped: SceneSegmenter, painted: tuple[Tensor, Tensor]) -> None:
    images, whole = painted[0][:4], labels(shipped, painted[0][:4])
    for height, width in ((8, 8), (72, 64), (64, 128)):
        assert labels(shipped, torch.zeros(2, 3, height, width)).shape == (2, height, width)
    # What is below the image does not reach far into it.
    taller = labels(shipped, torch.cat([images, images.flip(2)], dim=2))
    assert (taller[:, :24] == whole[:, :24]).float().mean() >= 0.98
    with pytest.raises(RewriteError, match=r"60 x 64 pixels; .* multiples of 8"):
        labels(shipped, torch.zeros(1, 3, 60, 64))


def test_a_label_does_not_depend_on_the_batch(shipped: SceneSegmenter, painted: tuple[Tensor, Tensor]) -> None:
    images = painted[0][:16]
    assert (labels(shipped, images, batch=16) == labels(shipped, images, batch=5)).float().mean() >= 0.9999


def tiny(dtype: torch.dtype = torch.float16) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a small sound file."""
    torch.manual_seed(0)
    tensors = {name: tensor.to(dtype) for name, tensor in UNet(3, (2, 3, 4)).state_dict().items()}
    part = {"first": 1_000_000, "scenes": 1, "counts": [[1, 2, 3], [4, 5, 6], [7, 8, 9]]}
    facts = {"format": 1, "classes": ["a", "b", "c"], "widths": [2, 3, 4], "training": {"seed": 0}, "held_out": [part]}
    return tensors, facts


def placed(path: Path, tensors: dict[str, Tensor], facts: object, key: str = KEY) -> Path:
    text = facts if isinstance(facts, str) else json.dumps(facts)
    path.write_bytes(save(tensors, {key: text}))
    return path


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_what_was_written_is_read_and_written_again_the_same(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors, facts = tiny(dtype)
    read = segmenter(placed(tmp_path / "x.safetensors", tensors, facts))
    assert read.classes == ("a", "b", "c")
    assert read.facts.held_out == (HeldOut(first=1_000_000, scenes=1, counts=((1, 2, 3), (4, 5, 6), (7, 8, 9))),)
    assert all(torch.equal(tensor.float(), read.network.state_dict()[name]) for name, tensor in tensors.items())
    write(tmp_path / "y.safetensors", read, dtype)
    write(tmp_path / "z.safetensors", segmenter(tmp_path / "y.safetensors"), dtype)
    assert (tmp_path / "y.safetensors").read_bytes() == (tmp_path / "z.safetensors").read_bytes()
    with safe_open(tmp_path / "y.safetensors", "pt") as file:
        assert Facts.model_validate_json(file.metadata()[KEY]) == read.facts
        assert torch.equal(file.get_tensor("head.weight"), tensors["head.weight"])


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    content = placed(tmp_path / "x.safetensors", *tiny()).read_bytes()
    end = int(len(content) * kept) if isinstance(kept, float) else kept
    (tmp_path / "x.safetensors").write_bytes(content[:end])
    with pytest.raises(RewriteError, match="cannot be read as safetensors"):
        segmenter(tmp_path / "x.safetensors")


def test_what_is_no_file_or_another_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, this is a letter")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none", tmp_path, tmp_path / "text", tmp_path / "pipe"):
        with pytest.raises(RewriteError, match="cannot be read as safetensors"):
            segmenter(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "format: "),
        ({"classes": ["a", "b"]}, "no square of 2 classes"),
        ({"classes": ["a", "b", "b"]}, "distinct names"),
        ({"classes": ["a", "b", 3]}, "classes.2: "),
        ({"classes": "abc"}, "classes: "),
        ({"classes": ["a"], "held_out": []}, "two or more distinct names"),
        ({"widths": [2, 3]}, "widths"),
        ({"widths": [2, 3, 0]}, "widths.2: "),
        ({"widths": [2, 3, 10**9]}, "widths.2: "),
        ({"training": {"rate": "NaN", "seed": None}}, "training.seed"),
        ({"held_out": [{"first": 0, "scenes": 1, "counts": [[1, 2, 3]] * 2}]}, "no square of 3 classes"),
        ({"held_out": [{"first": 0, "scenes": 1, "counts": [[1, 2, -3]] * 3}]}, "held_out.0.counts.0.2: "),
        ({"surplus": 1}, "surplus: "),
    ],
)
def test_unsound_facts_are_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    tensors, facts = tiny()
    with pytest.raises(RewriteError, match=f"unsound metadata .*{says}"):
        segmenter(placed(tmp_path / "x.safetensors", tensors, facts | change))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", '{"format":' + "[" * 100_000])
def test_facts_that_are_no_facts_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RewriteError, match="unsound metadata"):
        segmenter(placed(tmp_path / "x.safetensors", tiny()[0], text))


def test_the_metadata_of_other_files_are_refused(tmp_path: Path) -> None:
    tensors, facts = tiny()
    with pytest.raises(RewriteError, match=r"metadata \['rewrite'\]; expected 'segmenter'"):
        segmenter(placed(tmp_path / "x.safetensors", tensors, facts, key="rewrite"))
    (tmp_path / "x.safetensors").write_bytes(save(tensors))
    with pytest.raises(RewriteError, match=r"metadata \[\]; expected 'segmenter'"):
        segmenter(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"head.bias": torch.zeros(16)}, r"head.bias of shape \(16,\); .* ask for \(12,\)"),
        ({"head.bias": None}, r"head.bias of shape None; .* ask for \(12,\)"),
        ({"more": torch.zeros(1)}, r"more of shape \(1,\); .* ask for None"),
        ({"head.bias": torch.full((12,), torch.nan)}, "head.bias in .* not finite"),
        ({"head.bias": torch.zeros(12, dtype=torch.int32)}, "head.bias in .* torch.int32"),
        ({"head.bias": torch.zeros(12, dtype=torch.bfloat16)}, "head.bias in .* torch.bfloat16"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    tensors, facts = tiny()
    altered = {name: tensor for name, tensor in (tensors | change).items() if tensor is not None}
    with pytest.raises(RewriteError, match=says):
        segmenter(placed(tmp_path / "x.safetensors", altered, facts))
