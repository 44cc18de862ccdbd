"""How much of each rule is left, measured on the module that really carries the edits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

import edits
from rewrite.composition.changes import moved
from rewrite.composition.members import Pair, Rule, members
from rewrite.composition.promise import residual, share, witnessed, written
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.memory import canonical
from rewrite.progress import Progress, quiet
from rewrite.rules.evidence import Evidence


@dataclass(frozen=True)
class Kept:
    """One rule while some edits are on the module, at the rule's layer, where its recipe pastes."""

    content: str
    """The rule's."""
    under: tuple[str, ...]
    """Contents of the edits on the module, sorted; a composed edit by its own."""
    retention: float
    """1 - ||dv - dv alone|| / ||dv alone||: 1 is all that the rule writes alone, 0 what its absence leaves of that, and
    below 0 the others do more harm than its absence."""
    residual: float
    """||r - dv|| / ||r||, as in an edit's notes: 0 is the recipe carried out to the letter."""


def retention(
    generator: Generator,
    rules: Iterable[Pair],
    under: Iterable[Sequence[Pair]] | None = None,
    *,
    progress: Progress = quiet,
) -> tuple[Kept, ...]:
    """Every rule among `rules`, under each set of edits of `under`: none, each alone, and all of them if left out.

    Edits are really pushed: weights are rounded to the module's type, and what is upstream acts. EditError for a set
    that cannot be had, RewriteError for a rule that rounding leaves nothing of. The module is left as it was.
    """
    every = members(generator, rules)
    known = {member.edit.content: member.rule for member in every if member.rule is not None}
    pairs: list[Pair] = [(member.edit, member.strength) for member in every]
    sets = [[], *([pair] for pair in pairs), pairs] if under is None else list(under)
    tensors = edits.identity.state(generator.module)
    base = {rule.layer.weight: tensors[rule.layer.weight].detach().cpu().clone() for rule in known.values()}
    alone = {
        member.edit.content: _made(generator, [member.rule], base, [(member.edit, member.strength)])[0][1]
        for member in every
        if member.rule is not None
    }
    if gone := [content for content, made in alone.items() if not made.any()]:
        raise RewriteError(f"rounding leaves nothing of rule {gone[0][:12]} at its strength; raise it")
    found = []
    for number, pushed in enumerate(sets):
        progress("retention", number, len(sets))
        contents = tuple(sorted(edit.content for edit, _ in pushed))
        for content, (evidence, made) in zip(known, _made(generator, known.values(), base, pushed), strict=True):
            lost = share(evidence, made - alone[content], alone[content])
            found.append(Kept(content, contents, 1 - lost, residual(evidence, made)))
    progress("retention", len(sets), len(sets))
    return tuple(found)


def _made(
    generator: Generator, rules: Iterable[Rule], base: Mapping[str, Tensor], pushed: Sequence[Pair]
) -> list[tuple[Evidence, Tensor]]:
    """The evidence of each rule under these edits, and what they write there (P, out)."""
    made = []
    with edits.applied(generator.module, *pushed):
        tensors = edits.identity.state(generator.module)
        for rule in rules:
            layer, stored = rule.layer, base[rule.layer.weight]
            weight = canonical(layer, stored)
            evidence = witnessed(generator, rule, weight)
            change = moved(layer, stored, tensors[layer.weight].detach())
            made.append((evidence, written(layer, weight, evidence, change)))
    return made
