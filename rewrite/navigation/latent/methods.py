"""The methods of latent space as the registry wants them: edits, or the reason why there is none."""

from __future__ import annotations

from rewrite.navigation.latent import continuous as _continuous
from rewrite.navigation.latent import ganspace as _ganspace
from rewrite.navigation.latent import interfacegan as _interfacegan
from rewrite.navigation.latent import regional as _regional
from rewrite.navigation.latent import sefa as _sefa
from rewrite.navigation.latent import steerability as _steerability
from rewrite.navigation.latent import stylespace as _stylespace
from rewrite.navigation.latent.first_layer import first_layer
from rewrite.navigation.latent.refused import ganalyze, styleflow, warpedganspace
from rewrite.navigation.latent.walk import folded

sefa = folded(_sefa.sefa)
ganspace = folded(_ganspace.ganspace)
interfacegan = folded(_interfacegan.interfacegan)
higan = folded(_interfacegan.higan)
stylespace = folded(_stylespace.stylespace)
steerability = folded(_steerability.steerability)
lowrankgan = folded(_regional.lowrankgan)
resefa = folded(_regional.resefa)
continuous = folded(_continuous.continuous)

__all__ = [
    "continuous",
    "first_layer",
    "ganalyze",
    "ganspace",
    "higan",
    "interfacegan",
    "lowrankgan",
    "resefa",
    "sefa",
    "steerability",
    "styleflow",
    "stylespace",
    "warpedganspace",
]
