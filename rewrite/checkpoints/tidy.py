"""Names without the wrappers that training code left on them, and the network that people mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rewrite.checkpoints.content import Found

PREFIXES = ("module.", "_orig_mod.", "generator.", "G_ema.", "g_ema.", "G.", "netG.", "model.")
GENERATORS = ("generator.", "G_ema.", "g_ema.", "netG.", "G.", "g.")
DISCRIMINATORS = ("discriminator.", "netD.", "D.", "d.")
CHOICE = (
    "G_ema", "g_ema", "generator_smooth", "generator_ema", "Gs", "params_ema", "netG_ema", "ema", "model_ema",
    "G", "generator", "netG", "netG_state_dict", "g", "gen", "params", "state_dict", "model", "model_state_dict",
    "weights", "net", "",
)  # fmt: skip
"""Averaged generators first, then generators, then what names no network."""


def tidied(networks: Mapping[str, Found]) -> tuple[dict[str, Found], list[str]]:
    """The networks, generators parted from discriminators and names without common prefixes; a sentence for each."""
    parted: dict[str, Found] = {}
    said: list[str] = []
    for where, network in networks.items():
        for name, part in _parted(where, network).items():
            views, prefix = _stripped(part.views)
            parted[name] = replace(part, views=views)
            place = name or "the file"
            if prefix:
                said.append(f"names in {place} lost the prefix {prefix!r} that all of them had")
    if new := [name for name in parted if name not in networks]:
        said.append(f"one state dict held several networks, parted by their prefixes: {', '.join(new)}")
    return parted, said


def chosen(networks: Mapping[str, Found]) -> tuple[str, list[str]]:
    """The network that is meant, and why."""
    if not networks:
        return "", ["no network was found in it"]

    def rank(where: str) -> tuple[int, int]:
        last = where.rpartition(".")[2]
        size = sum(view.storage.count for view in networks[where].views.values())
        return CHOICE.index(last) if last in CHOICE else len(CHOICE), -size

    best = min(networks, key=rank)
    if len(networks) == 1:
        return best, [f"unwrapped from {best!r}"] if best else []
    others = [where or "the file itself" for where in networks if where != best]
    known = rank(best)[0] < len(CHOICE)
    reason = "by its name" if known else "the largest, since no name says which is the generator"
    return best, [f"{best or 'the file itself'} was chosen {reason}, beside {', '.join(others)}"]


def _parted(where: str, network: Found) -> dict[str, Found]:
    """By prefix, where a state dict holds a generator beside a discriminator, each under its own."""
    own = [p for p in GENERATORS if any(name.startswith(p) for name in network.views)]
    other = [p for p in DISCRIMINATORS if any(name.startswith(p) for name in network.views)]
    if network.facts or not own or not other:
        return {where: network}
    parts: dict[str, Found] = {}
    for name, view in network.views.items():
        prefix = next((p for p in (*own, *other) if name.startswith(p)), "")
        path = ".".join(filter(None, (where, prefix.removesuffix("."))))
        parts.setdefault(path, Found()).views[name] = view
    return parts


def _stripped(views: Mapping[str, object]) -> tuple[dict, str]:
    taken = ""
    names: Sequence[str] = list(views)
    while found := next((p for p in PREFIXES if names and all(name.startswith(p) for name in names)), ""):
        if any(name == found for name in names):
            break
        names = [name.removeprefix(found) for name in names]
        taken += found
    return dict(zip(names, views.values(), strict=True)), taken


__all__ = ["chosen", "tidied"]
