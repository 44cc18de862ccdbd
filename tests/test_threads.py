"""Batches side by side: the same results in the same order, and the threads as they were."""

import threading

import pytest
import torch

import rewrite.threads
from rewrite.threads import MOST, side_by_side, threads


@pytest.fixture
def two():
    with threads(2):
        yield


@pytest.mark.usefixtures("two")
def test_results_are_in_order_and_computed_by_threads_of_one_core():
    seen = list(side_by_side(lambda item: (item, torch.get_num_threads(), threading.get_ident()), range(20)))
    assert [item for item, _, _ in seen] == list(range(20))
    assert {count for _, count, _ in seen} == {1}
    assert threading.get_ident() not in {thread for _, _, thread in seen}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two")
def test_two_items_are_worked_on_at_once():
    both = threading.Barrier(2, timeout=30)
    assert list(side_by_side(lambda _: both.wait() in (0, 1), range(2))) == [True, True]


@pytest.mark.usefixtures("two")
def test_alone_is_one_after_the_other_in_this_thread_on_all_cores():
    def work(_: int) -> tuple[int, int]:
        return threading.get_ident(), torch.get_num_threads()

    assert set(side_by_side(work, range(4), alone=True)) == {(threading.get_ident(), 2)}


@pytest.mark.parametrize("count", range(1, MOST + 1))
def test_the_bits_hang_on_no_number_of_threads(count):
    drawn = torch.randn(6, 8, 16, 24, 24, generator=torch.Generator().manual_seed(0))
    kernel = torch.randn(16, 16, 3, 3, generator=torch.Generator().manual_seed(1))

    def work(batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(batch, kernel).mean((2, 3))

    with threads(1):
        alone = [work(batch) for batch in drawn]
    with threads(count):
        assert all(torch.equal(*pair) for pair in zip(alone, side_by_side(work, list(drawn)), strict=True))


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("alone", [True, False])
def test_there_are_no_gradients(alone):
    weight = torch.ones(3, requires_grad=True)
    assert not any(found.requires_grad for found in side_by_side(lambda item: weight * item, range(3), alone=alone))


@pytest.mark.usefixtures("two")
def test_an_error_ends_it_and_gives_the_threads_back():
    begun = []

    def work(item: int) -> torch.Tensor:
        begun.append(item)
        if item == 0:
            raise ValueError("nought")
        return torch.linalg.svdvals(torch.eye(200))

    with pytest.raises(ValueError, match="nought"):
        list(side_by_side(work, range(1000)))
    assert len(begun) < 1000
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two")
def test_who_is_interrupted_while_waiting_for_what_has_begun_still_waits(monkeypatch):
    interrupts, ended = [KeyboardInterrupt, SystemExit], threading.Event()
    plain = rewrite.threads.wait

    def interrupted(futures):
        if interrupts:
            raise interrupts.pop()
        ended.set()
        return plain(futures)

    def work(item: int) -> bool:
        if item == 0:
            raise KeyboardInterrupt
        return ended.wait(30)

    monkeypatch.setattr(rewrite.threads, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(side_by_side(work, range(2)))
    assert not interrupts
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]
