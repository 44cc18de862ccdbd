"""Confusions against their definition, and merging: any split, any order, the same counts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rewrite.concepts import Confusion
from rewrite.errors import RewriteError

CLASSES = ("sky", "tree", "door", "moon")
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40)


def maps(pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """True and predicted labels, (1, n)."""
    found = torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
    return found[None, :, 0], found[None, :, 1]


def counted(pairs: list[tuple[int, int]]) -> Confusion:
    return Confusion.empty(CLASSES).add(*maps(pairs))


def slow_iou(pairs: list[tuple[int, int]], label: int) -> float:
    both = sum(true == label and predicted == label for true, predicted in pairs)
    either = sum(true == label or predicted == label for true, predicted in pairs)
    return both / either if either else math.nan


@given(PAIRS)
def test_every_figure_is_its_definition(pairs: list[tuple[int, int]]) -> None:
    found = counted(pairs)
    assert found.counts.dtype == torch.int64
    assert found.counts.tolist() == [[pairs.count((row, column)) for column in range(4)] for row in range(4)]
    ious = [slow_iou(pairs, label) for label in range(4)]
    assert found.iou.tolist() == pytest.approx(ious, nan_ok=True)
    known = [iou for iou in ious if not math.isnan(iou)]
    assert found.mean_iou == pytest.approx(sum(known) / len(known) if known else math.nan, nan_ok=True)
    assert found.pixels == len(pairs)
    if pairs:
        assert found.accuracy == pytest.approx(sum(true == predicted for true, predicted in pairs) / len(pairs))
        assert found.true_shares.tolist() == pytest.approx(
            [sum(p[0] == k for p in pairs) / len(pairs) for k in range(4)]
        )
        assert found.predicted_shares.tolist() == pytest.approx(
            [sum(p[1] == k for p in pairs) / len(pairs) for k in range(4)]
        )
    else:
        assert math.isnan(found.accuracy)


@given(PAIRS, PAIRS, PAIRS)
def test_parts_merge_to_the_whole_in_any_order(
    a: list[tuple[int, int]], b: list[tuple[int, int]], c: list[tuple[int, int]]
) -> None:
    whole = counted(a + b + c).counts
    left = counted(a).merge(counted(b)).merge(counted(c))
    right = counted(c).merge(counted(a).merge(counted(b)))
    streamed = counted(b).add(*maps(c)).add(*maps(a))
    for found in (left, right, streamed, counted(a + b + c).merge(Confusion.empty(CLASSES))):
        assert torch.equal(found.counts, whole)


def test_adding_leaves_what_was_there_as_it_was() -> None:
    before = counted([(0, 1)])
    before.add(*maps([(0, 1), (2, 2)]))
    assert before.pixels == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_labels_of_any_whole_type_count(dtype: torch.dtype) -> None:
    truth, predicted = (labels.to(dtype) for labels in maps([(3, 3), (3, 1), (0, 0)]))
    assert torch.equal(Confusion.empty(CLASSES).add(truth, predicted).counts, counted([(3, 3), (3, 1), (0, 0)]).counts)


@pytest.mark.parametrize(
    ("truth", "predicted", "says"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), r"\(2, 3\) .* \(3, 2\)"),
        (torch.tensor([0, 4]), torch.tensor([0, 0]), "from 0 to 4; expected 0 to 3"),
        (torch.tensor([0, 0]), torch.tensor([-1, 2]), "from -1 to 2; expected 0 to 3"),
        (torch.tensor([0.0]), torch.tensor([0]), "float32; expected whole numbers"),
        (torch.tensor([True]), torch.tensor([0]), "bool; expected whole numbers"),
    ],
)
def test_maps_that_are_none_are_refused(truth: Tensor, predicted: Tensor, says: str) -> None:
    with pytest.raises(RewriteError, match=says):
        Confusion.empty(CLASSES).add(truth, predicted)


def test_other_classes_do_not_merge() -> None:
    with pytest.raises(RewriteError, match="same order"):
        counted([]).merge(Confusion.empty(("tree", "sky", "door", "moon")))
