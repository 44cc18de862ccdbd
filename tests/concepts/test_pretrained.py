"""Checkpoints of transformers: a folder that it wrote is that model behind its own image processor."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from rewrite.concepts import Segmenter, labels, logits, pretrained, segmenter
from rewrite.errors import RewriteError

transformers = pytest.importorskip("transformers")

NAMES = ("sky", "tree", "door", "tree ")
MEAN, STD, SIDE = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4], 32
IMAGES = torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 8], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 1], mlp_ratios=[2, 2], decoder_hidden_size=8, id2label=dict(enumerate(NAMES)),
        label2id={name: i for i, name in enumerate(NAMES)},
    )  # fmt: skip
    return transformers.SegformerForSemanticSegmentation(config).eval()


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "own")
    processor = {
        "image_processor_type": "SegformerImageProcessor", "do_resize": True, "size": {"height": SIDE, "width": SIDE},
        "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN,
        "image_std": STD, "do_reduce_labels": False,
    }  # fmt: skip
    (tmp_path / "own" / "preprocessor_config.json").write_text(json.dumps(processor))
    return tmp_path / "own"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a folder needs no network")

    monkeypatch.setattr("socket.socket.connect", refused)


def test_a_folder_is_its_model_behind_its_processor(model: Any, folder: Path) -> None:
    for source in (f"hf:{folder}", folder, str(folder)):
        found = segmenter(source)
        assert isinstance(found, Segmenter)
        assert found.classes == ("sky", "tree 1", "door", "tree 3")
    pixels = F.interpolate((IMAGES + 1) / 2, (SIDE, SIDE), mode="bilinear", antialias=True)
    ready = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        expected = model(pixel_values=ready).logits
        torch.testing.assert_close(found(IMAGES), expected, rtol=1e-3, atol=1e-4)
    assert logits(found, IMAGES).shape == (2, len(NAMES), 48, 40)
    assert labels(found, IMAGES).shape == (2, 48, 40)


def test_it_is_frozen_and_its_classes_can_be_grouped(folder: Path) -> None:
    found = segmenter(f"hf:{folder}", groups={"plant": ["tree 1", "tree 3"]})
    assert found.classes == ("plant", "sky", "door")
    inner = found.segmenter
    assert isinstance(inner, pretrained.PretrainedSegmenter)
    assert not inner.model.training
    assert not any(weight.requires_grad for weight in inner.model.parameters())
    with torch.no_grad():
        assert found(IMAGES).shape == (2, 3, 48, 40)


def test_without_a_head_its_labels_would_be_noise(model: Any, folder: Path) -> None:
    shutil.rmtree(folder)
    model.segformer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "SegformerImageProcessor"}')
    with pytest.raises(RewriteError, match=r"no fitting weights for decode_head.* and .* more, so its labels"):
        segmenter(folder)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_folder_that_lacks_a_file(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(RewriteError, match="is no semantic-segmentation checkpoint that can be loaded") as caught:
        segmenter(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", ['{"model_type": "bert"}', '{"model_type": "none"}', "{}", "no JSON"])
def test_a_checkpoint_of_another_task(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(RewriteError, match="is no semantic-segmentation checkpoint that can be loaded"):
        segmenter(folder)


def test_a_folder_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="is no folder; give one that `save_pretrained` wrote"):
        segmenter(f"hf:{tmp_path / 'none'}")


def test_without_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(pretrained, "import_module", missing)
    with pytest.raises(RewriteError, match=r"No module named 'transformers'.*pip install 'rewrite\[transformers\]'"):
        segmenter(folder)


def test_what_the_model_cannot_do_is_a_sentence(folder: Path) -> None:
    class Failing(torch.nn.Module):
        def forward(self, **_: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("Kernel size can't be greater than actual input size\nin a layer")

    found = replace(pretrained.segmenter(str(folder)), model=Failing())
    with pytest.raises(RewriteError, match=r"own cannot label images of 48 x 40 px \(Kernel size .* input size\)"):
        found(IMAGES)
