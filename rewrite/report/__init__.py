"""Results made visible: contact sheets, facts for tables and machines, a one-page summary."""

from rewrite.report.describe import EditFacts, abridged, edit_facts, layer_facts, model_facts
from rewrite.report.matrix import matrix
from rewrite.report.page import Section, Sheet, Table, edits_table, page, save_page, timings_table
from rewrite.report.render import compared, render
from rewrite.report.sheets import check_room, grid, levels, save, sheet, shrink

__all__ = [
    "EditFacts",
    "Section",
    "Sheet",
    "Table",
    "abridged",
    "check_room",
    "compared",
    "edit_facts",
    "edits_table",
    "grid",
    "layer_facts",
    "levels",
    "matrix",
    "model_facts",
    "page",
    "render",
    "save",
    "save_page",
    "sheet",
    "shrink",
    "timings_table",
]
