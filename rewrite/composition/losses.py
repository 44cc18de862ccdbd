"""What each rule would lose to each other edit in a plain sum: the others' responses on its replayed keys."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

import edits
from rewrite.composition.changes import change_of
from rewrite.composition.members import Member
from rewrite.composition.promise import Promise, witnessed, written
from rewrite.generator import Generator
from rewrite.memory import canonical
from rewrite.progress import Progress, quiet

Matrix = tuple[tuple[float | None, ...], ...]


def pairwise(
    generator: Generator,
    members: Sequence[Member],
    promises: Mapping[str, Promise],
    base: Mapping[str, Tensor],
    apart: Collection[tuple[int, int]],
    progress: Progress = quiet,
) -> Matrix:
    """Row i, column j: the loss of rule i if edit j were summed to it alone.

    None on the diagonal, where i is no rule, and for the pairs of places `apart`, which
    cannot be had together.
    """
    rows = []
    for i, one in enumerate(members):
        progress("losses in a sum", i, len(members))
        promise = promises.get(one.edit.content)
        rows.append(
            tuple(
                None if promise is None or i == j or (min(i, j), max(i, j)) in apart
                else among(generator, promise, [one, other], base)
                for j, other in enumerate(members)
            )
        )  # fmt: skip
    progress("losses in a sum", len(members), len(members))
    return tuple(rows)


def among(generator: Generator, promise: Promise, company: Sequence[Member], base: Mapping[str, Tensor]) -> float:
    """The loss of a promise in the sum of a company that it is one of.

    An edit at the rule's layer writes on the rule's keys; one upstream of it changes the keys that the rule writes on;
    what is downstream does not reach it. `base` holds the touched tensors without any edit.
    """
    layer = promise.rule.layer
    others = [member for member in company if member.edit.content != promise.member.edit.content]
    above = any(set(member.edit.touched) & set(layer.upstream) for member in others)
    if not above and not any(layer.weight in member.edit.touched for member in others):
        return 0.0
    stored = base[layer.weight]
    weight, evidence = canonical(layer, stored), promise.evidence
    if above:
        pairs = [(member.edit, member.strength) for member in company]
        with warnings.catch_warnings():
            # Said once already, when each was judged by itself.
            warnings.simplefilter("ignore", edits.EditWarning)
            with edits.applied(generator.module, *pairs):
                evidence = witnessed(generator, promise.rule, weight)
    change = change_of(layer, stored, [(member.edit, member.strength) for member in company])
    return promise.loss(written(layer, weight, evidence, change))
