"""rewrite compose"""

from __future__ import annotations

from rewrite.cli.arguments import made_room
from rewrite.cli.options import EditArguments, EditOut
from rewrite.cli.voice import Voice, facts_table, table


def compose(voice: Voice, edit: EditArguments, out: EditOut) -> None:
    """Put several edits into one file.

    It does what they do together, to the bit, and keeps them and their strengths apart.
    """
    import edits

    pairs = [one.load() for one in edit]
    composed = edits.compose([(one, one.strength if strength is None else strength) for one, strength in pairs])
    composed.save(made_room(out))
    facts = {
        "out": str(out),
        "bytes": out.stat().st_size,
        "content": composed.content,
        "members": [
            {"content": member.content, "coefficient": coefficient, "touched": list(member.touched)}
            for member, coefficient in composed.members
        ],
    }
    lines = [("edit", f"{out}, {facts['bytes']:,} bytes"), ("content", composed.content)]
    members = [(one.content[:12], strength, ", ".join(one.touched)) for one, strength in composed.members]
    voice.result(facts, facts_table(lines), table(("member", "coefficient", "touches"), members))
