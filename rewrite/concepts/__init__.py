"""What the pixels of an image mean: segmenters, and how well one is known to do."""

from rewrite.concepts.confusion import Confusion
from rewrite.concepts.interface import Segmenter, labels, logits
from rewrite.concepts.names import segmenter

__all__ = ["Confusion", "Segmenter", "labels", "logits", "segmenter"]
