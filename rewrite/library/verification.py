"""Saved edits tested like code: unpacked, made again, applied, judged, undone."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

import edits
from rewrite.check import Remembered, Verdict
from rewrite.check.gate import Outcome
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.library.judge import judged
from rewrite.library.likeness import apart, moved, restored, sketch
from rewrite.library.make import make
from rewrite.library.manifest import EDIT
from rewrite.library.shelf import Library, check_files
from rewrite.progress import Progress, quiet
from rewrite.report.render import render
from rewrite.threads import threads

SEEDS = (0, 1, 2, 3)
"""Images of these must show the edit, and be made of numbers."""
SIZE = 256

Load = Callable[[str], Generator | None]
"""The generator of a model's name; None for one that is passed over."""


@dataclass(frozen=True)
class Verified:
    """What became of one entry."""

    name: str
    outcome: Outcome | None
    """MORE: its seeds do not tell whether it keeps its bounds. None: its model was passed over."""
    apart: float | None = None
    """Of the edit made again from the shipped one, relative to its change of weights; 0 is the same bytes."""
    wrong: str | None = None
    """What was found, what was expected, what to do."""
    verdict: Verdict | None = None
    seconds: float = 0.0


def verify(
    library: Library,
    names: Sequence[str],
    load: Load,
    *,
    samples: int | None = None,
    quick: bool = False,
    progress: Progress = quiet,
) -> Iterator[Verified]:
    """Each of these entries in turn; what is wrong with one does not keep the others from being looked at.

    Its files are the pinned ones; its recipe gives the same bytes again, or on another machine the same weights within
    the entry's tolerance; it applies, shows, is undone to the bit, and keeps its bounds, on `samples` seeds where they
    are given instead of the entry's own number. `quick` leaves the bounds out.
    """
    for name in names:
        if name not in library.manifest.entries:
            wrong = f"{library.folder(name)} is in no manifest; add it with `rewrite library add`, or remove it"
            yield Verified(name, "FAIL", wrong=wrong)
    for model, group in groupby(names, key=lambda name: name.split("/")[0]):
        known = [name for name in group if name in library.manifest.entries]
        generator = load(model) if known else None
        remembered = Remembered(generator) if generator else None
        for name in known:
            if generator is None:
                yield Verified(name, None)
                continue
            started = time.perf_counter()
            try:
                found = _verified(library, name, generator, samples, quick, remembered, progress)
            except (edits.EditError, edits.EditWarning) as error:
                found = Verified(name, "FAIL", wrong=str(error))
            yield _lasting(found, time.perf_counter() - started)


def remade(library: Library, name: str, generator: Generator, progress: Progress = quiet) -> tuple[edits.Edit, float]:
    """An entry's edit made again from its recipe, and how far it is from the shipped one: 0 for the same bytes.

    RewriteError if it is farther than the entry's tolerance.
    """
    entry, folder = library.entry(name), library.folder(name)
    model = name.split("/")[0]

    def member(other: str) -> edits.Edit:
        return edit_of(library, f"{model}/{other}", generator, progress)

    with threads(entry.threads):
        edit = make(generator, folder / entry.recipe, member, progress)
    kept = edits.load(folder / EDIT) if entry.is_shipped else None
    if kept and (edit.recipe, edit.strength) != (kept.recipe, kept.strength):
        raise RewriteError(f"the recipe of {name} is not the one that its edit was made from; add the entry again")
    if edit.content == entry.content:
        return edit, 0.0
    tensors = edits.identity.state(generator.module)
    change = moved(edit, tensors)
    away = apart(change, moved(kept, tensors)) if kept else apart(sketch(change), restored(entry.sketch or {}))
    if not away <= entry.tolerance:
        raise RewriteError(
            f"made again from its recipe, {name} changes weights that are {away:.2g} of the change away from the "
            f"entry's; expected {entry.tolerance:g} at most; add the entry again if the recipe was meant to change"
        )
    return edit, away


def edit_of(library: Library, name: str, generator: Generator, progress: Progress = quiet) -> edits.Edit:
    """An entry's edit: the shipped one, or made where none is shipped."""
    if library.entry(name).is_shipped:
        return library.edit(name)
    check_files(library, name)
    return remade(library, name, generator, progress)[0]


def _verified(
    library: Library, name: str, generator: Generator, samples: int | None, quick: bool,
    remembered: Remembered | None, progress: Progress,
) -> Verified:  # fmt: skip
    check_files(library, name)
    entry = library.entry(name)
    made, away = remade(library, name, generator, progress)
    edit = library.edit(name) if entry.is_shipped else made
    before = _bits(generator)
    verdict = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", edits.EditWarning)
            _shows(generator, edit, entry.look.truncation, progress)
            if not quick:
                look = entry.look if samples is None else entry.look.model_copy(update={"samples": samples})
                # What was made again on another machine is another content, and as good as the one that was judged.
                bounds = library.bounds(name).model_copy(update={"edit": edit.content})
                verdict = judged(generator, edit, look, progress, bounds=bounds, remembered=remembered)
    finally:
        changed = [key for key, tensor in _bits(generator).items() if not torch.equal(tensor, before[key])]
    if changed:
        raise RewriteError(f"undoing {name} left {', '.join(changed)} changed; load the model anew, and report this")
    outcome = "PASS" if verdict is None else verdict.outcome
    return Verified(name, outcome, away, None if outcome == "PASS" or verdict is None else _said(verdict), verdict)


def _shows(generator: Generator, edit: edits.Edit, truncation: float, progress: Progress) -> None:
    """RewriteError if images do not change under the edit, or do not come back when it is taken off."""

    def images() -> torch.Tensor:
        return render(generator, SEEDS, min(SIZE, generator.resolution), truncation=truncation, progress=progress)

    base, stack = images(), edits.Stack(generator.module)
    try:
        stack.push(edit)
        edited = images()
        stack.remove(edit)
    finally:
        stack.clear(force=True)
    if torch.equal(edited, base):
        raise RewriteError(f"the edit changes no pixel of the seeds {SEEDS[0]} to {SEEDS[-1]}; expected one that shows")
    if not torch.equal(images(), base):
        raise RewriteError("images differ after the edit was taken off; load the model anew, and report this")


def _bits(generator: Generator) -> dict[str, torch.Tensor]:
    """The weights as integers: as floating point, NaN would differ from itself and -0 be 0."""
    return {
        name: tensor.detach().cpu().contiguous().flatten().view(torch.uint8).clone()
        for name, tensor in edits.identity.state(generator.module).items()
    }


def _said(verdict: Verdict) -> str:
    broken = [one for one in verdict.judgements if one.outcome != "PASS"]
    told = (
        f"{one.name} is {one.finding.value:.4g} [{one.finding.low:.4g}, {one.finding.high:.4g}], expected {one.asked}"
        for one in broken
    )
    return f"{'; '.join(told)}, on {len(verdict.seen.seeds)} seeds; add the entry again if that was meant to change"


def _lasting(found: Verified, seconds: float) -> Verified:
    return Verified(found.name, found.outcome, found.apart, found.wrong, found.verdict, round(seconds, 1))
