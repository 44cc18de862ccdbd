"""StyleGAN3, T and R, and StyleGAN-XL.

Karras et al. 2021, "Alias-Free Generative Adversarial Networks"; Sauer et al. 2022, "StyleGAN-XL: Scaling StyleGAN to
Large Diverse Datasets".
"""

from rewrite.models.stylegan3.design import Design, Spec, design
from rewrite.models.stylegan3.layers import generator
from rewrite.models.stylegan3.network import ClassMapping, Filtered, StyleGAN3, ToRGB, Waves

__all__ = ["ClassMapping", "Design", "Filtered", "Spec", "StyleGAN3", "ToRGB", "Waves", "design", "generator"]
