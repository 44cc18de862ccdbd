"""Networks that look at images, and distances in what they see.

    eye = extractor("lite0")                                # images to features that know what they were made with
    base, edited, held = (eye.of(batches) for batches in ...)
    frechet_distance(Moments.of(edited), Moments.of(held))  # exact
    paired_kid(base, edited)                                # the same seeds; with its interval
    prdc(held, edited)                                      # precision, recall, density, coverage
    distance("lpips-alex")(images, others)                  # (N,); `.maps` gives (N, 1, H, W)

Figures of different extractors are never compared, and only what was measured with the published Inception is FID.
"""

from rewrite.perception.features import Extractor, Features
from rewrite.perception.figure import Figure, same_column
from rewrite.perception.frechet import Moments, frechet_distance
from rewrite.perception.identity import Identity, agreed
from rewrite.perception.kernel import kid, paired_kid
from rewrite.perception.manifold import Manifold, prdc
from rewrite.perception.names import distance, extractor
from rewrite.perception.perceptual import Perceptual

__all__ = [
    "Extractor",
    "Features",
    "Figure",
    "Identity",
    "Manifold",
    "Moments",
    "Perceptual",
    "agreed",
    "distance",
    "extractor",
    "frechet_distance",
    "kid",
    "paired_kid",
    "prdc",
    "same_column",
]
