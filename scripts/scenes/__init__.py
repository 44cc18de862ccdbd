"""The built-in laboratory: small painted scenes whose every pixel has a known class.

`render` turns seeds into images and label maps; `train_scenes.py` beside this package trains a generator on them.
"""

from scenes.classes import CLASSES
from scenes.render import render

__all__ = ["CLASSES", "render"]
