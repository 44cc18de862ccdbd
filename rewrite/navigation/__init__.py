"""Navigation: directions in parameter space and in latent space, all of them edits.

    found = navigate(generator, method="hessian", layer="synthesis.b16.conv1", count=8)
    found[0].edit.save("direction.safetensors")       # strength 1 is a stated change
    again(generator, found[0].edit.recipe)            # the same edit

A method finds edits; what follows is the same for all: strength 1 is given a meaning, a segmenter says what each
direction is about, and directions that do the same are told once.
"""

from rewrite.navigation.calibration import Bench, Calibration, bench, calibrate
from rewrite.navigation.direction import Direction, Found
from rewrite.navigation.labels import Label
from rewrite.navigation.make import again, directions, navigate
from rewrite.navigation.methods import METHODS, Options
from rewrite.navigation.where import Where

__all__ = [
    "METHODS",
    "Bench",
    "Calibration",
    "Direction",
    "Found",
    "Label",
    "Options",
    "Where",
    "again",
    "bench",
    "calibrate",
    "directions",
    "navigate",
]
