"""Streaming statistics that merge: what is counted over two halves is what is counted over the whole.

Integer counts, histograms and top-k merge to the bit, in any order; sums of floats to about 1e-12.
"""

from rewrite.stats.histogram import WIDE, Bins, Histogram
from rewrite.stats.moments import ChannelMoments, Lag, SecondMoments, half_plane
from rewrite.stats.overlaps import Overlaps, information_quality
from rewrite.stats.paired import PairedSums
from rewrite.stats.top import Top

__all__ = [
    "WIDE",
    "Bins",
    "ChannelMoments",
    "Histogram",
    "Lag",
    "Overlaps",
    "PairedSums",
    "SecondMoments",
    "Top",
    "half_plane",
    "information_quality",
]
