"""rewrite apply"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewrite.cli.arguments import made_room
from rewrite.cli.generators import opened
from rewrite.cli.options import CheckpointOut, Device, EditArguments, Force, ModelName
from rewrite.cli.voice import Voice, facts_table

if TYPE_CHECKING:
    from rewrite.generator import Generator

THEIRS = (".pkl", ".pt", ".pth", ".ckpt", ".bin")
"""Suffixes of other programs' files: a result with one keeps the layout of the file that the model came from."""


def apply(
    voice: Voice,
    model: ModelName,
    edit: EditArguments,
    out: CheckpointOut,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Bake edits into a checkpoint.

    It is a new base: every verb takes it for a MODEL. As safetensors it records what went into it; with the suffix of
    the model's own file (.pkl, .pt, ...) it is that file with other weights, which the program it came from loads.
    """
    import edits

    pairs = [one.load() for one in edit]
    generator = opened(voice, model, device)
    with edits.applied(generator.module, *pairs, force=force) as stack:
        history: list[dict[str, Any]] = [
            {
                "content": member.content,
                "strength": reached,
                "forced": list(stack.forced.get(pushed.content, ())),
            }
            for pushed, strength in stack.contents
            for member, reached in pushed.parts(strength)
            if reached  # Strength 0 is absence.
        ]
        changed = _write(generator, model, made_room(out), history)
    size = out.stat().st_size
    name = generator.name or model
    facts = {"out": str(out), "bytes": size, "model": name, "history": history, "changed": changed}
    baked = ", ".join(f"{entry['content'][:12]} at {entry['strength']:g}" for entry in history)
    lines = [
        ("checkpoint", f"{out}, {size:,} bytes"),
        ("of", name),
        ("baked in", baked),
        ("changed in the file", changed and ", ".join(changed)),
    ]
    voice.result(facts, facts_table(lines))


def _write(generator: Generator, model: str, out: Path, history: list[dict[str, Any]]) -> list[str] | None:
    """Ours, or the model's own kind of file; of that, the tensors in it that changed."""
    from rewrite.errors import RewriteError
    from rewrite.models import ZOO, save
    from rewrite.models.give_back import give_back

    if out.suffix.lower() not in THEIRS:
        save(generator, out, history=history)
        return None
    if model in ZOO or Path(model).suffix.lower() != out.suffix.lower():
        raise RewriteError(
            f"{out.name} would be a {out.suffix} file, and {model} is none, so there is no layout to keep; give "
            f"--out a name in .safetensors, or of the model's own kind"
        )
    return give_back(generator, model, out)
