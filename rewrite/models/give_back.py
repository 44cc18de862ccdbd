"""The same kind of file back: the file that a generator came from, with the weights that it has now."""

from __future__ import annotations

from pathlib import Path

import torch

from rewrite.checkpoints import native, patch
from rewrite.checkpoints.read import read
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.models.registry import recognise


def give_back(generator: Generator, source: str | Path, out: str | Path) -> list[str]:
    """Write to `out` the file at `source`, in its own layout, with the generator's weights where they have changed.

    The names of the tensors that did, as the file has them. Only the network that was loaded changes: of NVIDIA's
    snapshots `G_ema`. RewriteError, with the reason, if the file is ours (`save` writes those), is of another network,
    or cannot hold what the edits made.
    """
    source = Path(source)
    if not source.is_file() or native.claims(source):
        raise RewriteError(
            f"{source} is no checkpoint of another program, so there is no layout to keep; save it as ours"
        )
    foreign = read(source)
    layout = recognise(foreign)
    state = generator.module.state_dict()
    if layout is None or not set(layout.keys) <= set(state):
        raise RewriteError(f"{source} is not what this generator was loaded from; give the file that it was")
    before = layout.state(foreign.tensors)
    changed = {name: state[name].cpu() for name in before if not torch.equal(state[name].cpu(), before[name])}
    theirs = layout.theirs(changed)
    patch.write(source, out, {foreign.chosen: theirs})
    return sorted(theirs)


__all__ = ["give_back"]
