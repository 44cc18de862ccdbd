"""rewrite apply"""

from __future__ import annotations

from typing import Any

from rewrite.cli.arguments import made_room
from rewrite.cli.generators import opened
from rewrite.cli.options import CheckpointOut, Device, EditArguments, Force, ModelName
from rewrite.cli.voice import Voice, facts_table


def apply(
    voice: Voice,
    model: ModelName,
    edit: EditArguments,
    out: CheckpointOut,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Bake edits into a checkpoint.

    It is a new base: every verb takes it for a MODEL, and it records what went into it.
    """
    import edits
    from rewrite.models import save

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
        save(generator, made_room(out), history=history)
    size = out.stat().st_size
    name = generator.name or model
    facts = {"out": str(out), "bytes": size, "model": name, "history": history}
    baked = ", ".join(f"{entry['content'][:12]} at {entry['strength']:g}" for entry in history)
    lines = [("checkpoint", f"{out}, {size:,} bytes"), ("of", name), ("baked in", baked)]
    voice.result(facts, facts_table(lines))
