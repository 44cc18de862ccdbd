"""The gate: what an edit changed, what it left alone, and a verdict on that.

    found = check(generator, [(edit, 1.0)], view(place=box([0.2, 0.3, 0.8, 0.6])))
    found.outcome                                           # "PASS", "FAIL" or "MORE"

It knows generators, edits and perception, not who made an edit.
"""

from rewrite.check.before import Remembered
from rewrite.check.bounds import Bounds, Limit
from rewrite.check.bounds import read as read_bounds
from rewrite.check.findings import Finding
from rewrite.check.gate import CAP, SAMPLES, Judgement, Verdict, check, view
from rewrite.check.look import View
from rewrite.check.place import Place, box, concept, mask

__all__ = [
    "CAP",
    "SAMPLES",
    "Bounds",
    "Finding",
    "Judgement",
    "Limit",
    "Place",
    "Remembered",
    "Verdict",
    "View",
    "box",
    "check",
    "concept",
    "mask",
    "read_bounds",
    "view",
]
