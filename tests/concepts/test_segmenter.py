"""The interface: what any segmenter gets for free, and one sentence for every way to break it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.concepts import Segmenter, labels, logits
from rewrite.errors import RewriteError


class Reddest:
    """A plain class: which channel is the largest."""

    classes = ("red", "green", "blue")

    def __call__(self, images: Tensor) -> Tensor:
        return images


class Coarse(Reddest):
    def __call__(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, 4)


class Fine(Reddest):
    def __call__(self, images: Tensor) -> Tensor:
        return F.interpolate(images, scale_factor=4.0)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classes = ("dark", "light")
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images)


IMAGES = torch.rand(5, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1


def answering(value: object, classes: object = ("red", "green", "blue")) -> Segmenter:
    """A segmenter that says this whatever it is shown."""

    class Answering:
        def __call__(self, _images: Tensor) -> object:
            return value

    found = Answering()
    found.classes = classes
    return found


def test_a_plain_class_or_a_network_is_a_segmenter() -> None:
    assert isinstance(Reddest(), Segmenter)
    assert isinstance(Network(), Segmenter)
    assert not isinstance(nn.Conv2d(3, 2, 1), Segmenter)


class Failing(Reddest):
    def __call__(self, _images: Tensor) -> Tensor:
        raise ValueError("boom")


def test_one_that_fails_says_on_what() -> None:
    with pytest.raises(RewriteError, match=r"Failing failed on images of shape \(5, 3, 8, 12\): boom; expected"):
        labels(Failing(), IMAGES)


def test_labels_are_the_largest_logits_whatever_the_batch() -> None:
    slow = [[[max(range(3), key=lambda k: image[k, y, x]) for x in range(12)] for y in range(8)] for image in IMAGES]
    for batch in (1, 2, 5, 64):
        found = labels(Reddest(), IMAGES, batch=batch)
        assert found.dtype == torch.int64
        assert found.tolist() == slow
    assert labels(Reddest(), IMAGES[:0]).shape == (0, 8, 12)


def test_logits_of_another_size_cover_the_same_image() -> None:
    blocks = torch.zeros(2, 3, 8, 12)
    blocks[:, 2, :, :8] = 1
    blocks[:, 0, :, 8:] = 1
    expected = blocks.argmax(1)
    for segmenter in (Coarse(), Fine()):
        assert logits(segmenter, blocks).shape == (2, 3, 8, 12)
        assert torch.equal(labels(segmenter, blocks), expected)


def test_gradients_reach_the_images_through_logits_and_not_through_labels() -> None:
    images = IMAGES.clone().requires_grad_()
    logits(Coarse(), images).square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().min() > 0
    assert not labels(Reddest(), images).requires_grad


def test_half_precision_becomes_float32() -> None:
    assert logits(answering(IMAGES.half()), IMAGES).dtype == torch.float32


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (torch.zeros(5, 4, 8, 12), "4 classes for 5 images; expected the 3"),
        (torch.zeros(4, 3, 8, 12), "3 classes for 4 images; expected the 3 that it names, for 5"),
        (torch.zeros(5, 8, 12), r"shape \(5, 8, 12\); expected a tensor of logits"),
        ([IMAGES], "type list; expected a tensor"),
        (torch.full((5, 3, 8, 12), torch.nan), "NaN or infinity"),
        (torch.full((5, 3, 2, 3), torch.inf), "NaN or infinity"),
    ],
)
def test_answers_that_its_classes_do_not_promise_are_refused(answer: object, says: str) -> None:
    with pytest.raises(RewriteError, match=f"Answering returned .*{says}"):
        labels(answering(answer), IMAGES)


@pytest.mark.parametrize("classes", [None, (), "rgb", ["r", "g", "b"], ("r", "g", "r"), ("r", "g", 3), ("r", "", "b")])
def test_classes_are_a_tuple_of_distinct_names(classes: object) -> None:
    with pytest.raises(RewriteError, match="expected a tuple of distinct names"):
        labels(answering(IMAGES, classes), IMAGES)


@pytest.mark.parametrize("images", [IMAGES[0], IMAGES[:, :2], (IMAGES * 127).to(torch.int8)])
def test_images_that_are_none_are_refused(images: Tensor) -> None:
    with pytest.raises(RewriteError, match=r"Reddest was given .* expected \(N, 3, H, W\) floats"):
        logits(Reddest(), images)
