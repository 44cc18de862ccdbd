"""rewrite models"""

from __future__ import annotations

from rewrite.cli.voice import Voice, facts_table, table

COLUMNS = ("name", "about", "family", "pulled")
TERMS = ("licence", "origin")


def models(voice: Voice) -> None:
    """List the models that have names."""
    from rewrite.models import ZOO, cached

    facts = [
        {
            "name": entry.name,
            "about": entry.about,
            "family": entry.family,
            "pulled": cached(entry.name).exists(),
            "licence": entry.licence,
            "origin": entry.origin,
            "notes": entry.notes,
        }
        for entry in ZOO.values()
    ]
    rows = [[_cell(model[column]) for column in COLUMNS] for model in facts]
    terms = [(f"{model['name']}, {term}", model[term]) for model in facts for term in TERMS]
    voice.result(facts, table(COLUMNS, rows), facts_table(terms))


def _cell(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
