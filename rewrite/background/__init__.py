"""The rest of the world as a layer sees it: moments of its keys over many latents, counted once and kept."""

from rewrite.background.count import HELD_OUT, STREAM, background, natural
from rewrite.background.world import Background

__all__ = ["HELD_OUT", "STREAM", "Background", "background", "natural"]
