"""StyleGAN2, whatever code it was trained with.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" and "Training Generative Adversarial
Networks with Limited Data". The network and its layers; `layouts` knows the names that others have for its tensors.
"""

from rewrite.models.equalised import EPS, Convolution, FullyConnected, Product, unit_moment
from rewrite.models.mapping import MAPPING_RATE, MappingNetwork
from rewrite.models.stylegan2.layers import generator
from rewrite.models.stylegan2.network import (
    Architecture,
    Block,
    Modulated,
    Skip,
    StyleGAN2,
    ToRGB,
    demodulation,
    double,
    low_pass,
    smooth,
    widths,
)

__all__ = [
    "EPS",
    "MAPPING_RATE",
    "Architecture",
    "Block",
    "Convolution",
    "FullyConnected",
    "MappingNetwork",
    "Modulated",
    "Product",
    "Skip",
    "StyleGAN2",
    "ToRGB",
    "demodulation",
    "double",
    "generator",
    "low_pass",
    "smooth",
    "unit_moment",
    "widths",
]
