"""Which units of a layer mean what, what they cause, and unit edits (Bau et al. 2019, "GAN Dissection").

found = audit(generator, segmenter=segmenter(), samples=10_000)      # units beside concepts, with p
found.ranked("window")[:4]                                           # (IoU, layer, unit)
cumulative(generator, layer, units, segmenter())                     # what goes without them, and by lot
edit = change(generator, layer, units, "ablate")                     # -> edits.Edit, tried out against a hook
"""

from rewrite.units.best import caused
from rewrite.units.cause import Cause, Insertion, cumulative, inserted, silenced
from rewrite.units.change import again, change
from rewrite.units.features import World, sites
from rewrite.units.make import audit
from rewrite.units.optimise import Optimised, optimise
from rewrite.units.protocol import PROTOCOLS, Protocol
from rewrite.units.region import Painted, patch, rarest, shown
from rewrite.units.result import Audit

__all__ = [
    "PROTOCOLS",
    "Audit",
    "Cause",
    "Insertion",
    "Optimised",
    "Painted",
    "Protocol",
    "World",
    "again",
    "audit",
    "caused",
    "change",
    "cumulative",
    "inserted",
    "optimise",
    "patch",
    "rarest",
    "shown",
    "silenced",
    "sites",
]
