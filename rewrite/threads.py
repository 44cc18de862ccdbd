"""How many cores torch computes with, and batches side by side.

One operation on a batch of small images is too short to be shared out: two cores do two batches in the time of one,
and one batch hardly faster than one core does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")
MOST = 4
"""Batches at once, for each needs its memory; further cores are shared out among them."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch computes with so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(work: Callable[[T], R], items: Sequence[T], *, alone: bool = False) -> Iterator[R]:
    """What `work` makes of each item, in their order; some at once, each on its share of torch's threads.

    `work` runs without gradients, and from several threads at once unless `alone`. Up to MOST threads, its results have
    the same bits whatever their number. The first error ends it, after what has begun.
    """
    work, count = torch.no_grad()(work), torch.get_num_threads()
    lanes = 1 if alone else min(count, MOST)
    if lanes == 1:
        yield from map(work, items)
        return
    futures: list[Future[R]] = []
    with threads(count // lanes):
        pool = ThreadPoolExecutor(lanes, initializer=_begin, initargs=(count // lanes,))
        try:
            futures.extend(pool.submit(work, item) for item in items)
            for future in futures:
                yield future.result()
        finally:
            _end(pool, futures)


def _begin(count: int) -> None:
    # Each thread has its own number; a new one begins with all the cores.
    torch.set_num_threads(count)


def _end(pool: Executor, futures: Sequence[Future[R]]) -> None:
    """What has begun is waited for, however often one is interrupted: in a thread that outlives the interpreter, torch
    aborts the process.
    """
    try:
        for future in futures:
            future.cancel()
        wait(futures)
        pool.shutdown()
    except (KeyboardInterrupt, SystemExit):
        _end(pool, futures)
