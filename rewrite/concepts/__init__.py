"""What the pixels of an image mean: segmenters, and how well one is known to do."""

from rewrite.concepts.confusion import Confusion
from rewrite.concepts.segmenter import Segmenter, labels, logits

__all__ = ["Confusion", "Segmenter", "labels", "logits"]
