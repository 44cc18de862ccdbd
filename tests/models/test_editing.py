"""What every family owes an editor: a rule, saved and undone to the bit, and units that are what their form says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import edits
from rewrite import hooks
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer, Noise
from rewrite.models import biggan, dcgan, mobilestylegan, pggan, save, sngan, stylegan, stylegan2, stylegan3
from rewrite.models import load as load_model
from rewrite.rules import rule
from rewrite.units import change

SMALL: dict[str, Any] = {"z": 8, "w": 10, "depth": 2}


def random_stylegan2(architecture: str) -> Generator:
    module = stylegan2.StyleGAN2.random(
        0, resolution=16, channels=(16, 12, 12), noise=0.1, architecture=architecture, **SMALL
    )
    return stylegan2.generator(module)


def random_stylegan3(**changes: Any) -> Generator:
    shape: dict[str, Any] = {"resolution": 16, "base": 128, "most": 12, "count": 5}
    return stylegan3.generator(stylegan3.StyleGAN3.random(0, **(SMALL | shape | changes)))


def random_biggan() -> Generator:
    blocks = [[False, 64, 64], [True, 64, 32], [False, 32, 16], [True, 16, 8], [False, 8, 4]]
    module = biggan.BigGAN.random(0, z=6, classes=3, embedding=4, width=4, blocks=blocks, attention=2)
    return biggan.generator(module)


def random_dcgan() -> Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = dcgan.DCGAN(z=8, channels=(12, 10, 8, 3)).eval().requires_grad_(False)
        for parameter in module.parameters():
            if parameter.ndim == 4:
                parameter.normal_(0, 0.2)
    return dcgan.generator(module)


def random_mobilestylegan() -> Generator:
    module = mobilestylegan.MobileStyleGAN.random(0, noise=0.1, style=10, depth=2, channels=(16, 16, 8))
    return mobilestylegan.generator(module)


MADE: dict[str, tuple[Callable[[], Generator], tuple[str, ...]]] = {
    "mobilestylegan": (cache(random_mobilestylegan), ("layers.0.conv2",)),
    "dcgan": (cache(random_dcgan), ("main.6",)),
    "stylegan2 skip": (cache(lambda: random_stylegan2("skip")), ("synthesis.b8.conv1",)),
    "stylegan2 resnet": (
        cache(lambda: random_stylegan2("resnet")),
        ("synthesis.b8.conv1", "synthesis.b16.conv0", "synthesis.b16.skip"),
    ),
    "stylegan2 orig": (cache(lambda: random_stylegan2("orig")), ("synthesis.b8.conv1",)),
    "stylegan3 t": (cache(random_stylegan3), ("synthesis.L2_36_12", "synthesis.L5_16_3")),
    "stylegan3 r": (cache(lambda: random_stylegan3(kernel=1, radial=True)), ("synthesis.L2_36_12",)),
    "stylegan-xl": (cache(lambda: random_stylegan3(classes=3, embedding=5)), ("synthesis.L2_36_12",)),
    "stylegan": (
        cache(lambda: stylegan.generator(stylegan.StyleGAN.random(0, noise=0.1, channels=[12, 10, 8], **SMALL))),
        ("synthesis.layer3", "synthesis.layer4"),
    ),
    "pggan": (
        cache(lambda: pggan.generator(pggan.PGGAN.random(0, z=8, channels=[12, 10, 8]))),
        ("layer1", "layer4", "layer5"),
    ),
    "biggan": (cache(random_biggan), ("generator.layers.1.conv_1", "generator.layers.2.snconv1x1_g")),
    "sngan": (
        cache(lambda: sngan.generator(sngan.SNGAN.random(0, z=8, side=4, channels=[12, 10, 8], classes=3))),
        ("block2.c1", "block3.c_sc"),
    ),
}
LAYERS = [(family, name) for family, (_, names) in MADE.items() for name in names]
WITH_UNITS = [
    (family, name)
    for family, (make, _) in MADE.items()
    for name, layer in make().layers.items()
    if layer.units is not None
]


def recipe(G: Generator, layer: str) -> dict[str, Any]:
    """Copy one place to three, of classes of their own where there are classes."""
    box = [0.2, 0.2, 0.8, 0.7]

    def region(seed: int) -> dict[str, Any]:
        return {"seed": seed, "box": box} | ({"label": seed % G.classes} if G.classes else {})

    pastes = [region(seed) for seed in (2, 3, 4)]
    return {
        "layer": layer, "copy": region(1), "paste": pastes, "rank": 2, "mu": 0.1, "nu": 0.1, "samples": 16,
    }  # fmt: skip


def images(G: Generator) -> Tensor:
    label = [2, 3 % G.classes] if G.classes else None
    return G.synthesize(G.latents([2, 3]), label=label)


@pytest.mark.parametrize(("family", "layer"), LAYERS)
def test_a_rule_is_saved_and_undone(family: str, layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "home"))
    G = MADE[family][0]()
    edit = rule(G, recipe(G, layer))
    assert edit.notes["residual"] < 1
    edit.save(tmp_path / "edit.safetensors")
    again = edits.load(tmp_path / "edit.safetensors")
    assert again.content == edit.content
    before, state = images(G), {name: tensor.clone() for name, tensor in G.module.state_dict().items()}
    stack = edits.Stack(G.module)
    stack.push(again)
    assert not torch.allclose(images(G), before, atol=1e-4)
    save(G, tmp_path / "edited.safetensors")
    baked = load_model(tmp_path / "edited.safetensors")
    assert torch.equal(images(baked), images(G))
    stack.remove(again)
    assert all(torch.equal(tensor, state[name]) for name, tensor in G.module.state_dict().items())
    assert torch.equal(images(G), before)


@pytest.mark.parametrize("family", list(MADE))
def test_a_unit_is_ablated_saved_and_undone(family: str, tmp_path: Path) -> None:
    G, name = next((MADE[family][0](), name) for other, name in WITH_UNITS if other == family)
    edit = change(G, name, [1], "ablate")
    # Without a unit, a reader of StyleGAN3 that divides by the norm of what it reads gives more weight to the others.
    inexact = family.startswith(("stylegan3", "stylegan-xl"))
    assert edit.notes["exact"] is not inexact, edit.notes
    assert ("why" in edit.notes) is inexact
    assert edit.notes["largest_effect"] > 1e-3
    edit.save(tmp_path / "edit.safetensors")
    again = edits.load(tmp_path / "edit.safetensors")
    before, state = images(G), {name: tensor.clone() for name, tensor in G.module.state_dict().items()}
    with edits.applied(G.module, (again, 1.0)):
        after = images(G)
        save(G, tmp_path / "edited.safetensors")
    assert torch.equal(images(load_model(tmp_path / "edited.safetensors")), after)
    assert not torch.equal(after, before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in G.module.state_dict().items())
    assert torch.equal(images(G), before)


@pytest.mark.parametrize(("family", "layer"), [("biggan", "generator.gen_z"), ("sngan", "l1")])
def test_features_of_all_places_at_once_are_refused(family: str, layer: str) -> None:
    G = MADE[family][0]()
    with pytest.raises(RewriteError, match="all places at once"):
        rule(G, recipe(G, layer))


def units(G: Generator, layer: Layer, noise: Noise = "const") -> Tensor:
    """What the layer's units are: what leaves its stage; where it shares one, what its module returns."""
    z = G.latents([5, 6])
    label = [1, 2] if G.classes else None
    if sum(other.stage == layer.stage for other in G.layers.values()) == 1:
        flows = list(G.flows(z, label=label, noise=noise))
        features = flows[layer.stage].features
        assert features is not None
        return features
    with hooks.observe({"it": layer.module}) as seen:
        seen.run(lambda: G.synthesize(z, label=label, noise=noise))
    return seen.outputs["it"]


@contextmanager
def changed(G: Generator, names: set[str]) -> Iterator[dict[str, Tensor]]:
    """The state dict, of which these tensors are as before at the end."""
    stored = G.module.state_dict()
    kept = {name: stored[name].clone() for name in names}
    try:
        yield stored
    finally:
        for name, tensor in kept.items():
            stored[name].copy_(tensor)


@pytest.mark.parametrize(("family", "name"), WITH_UNITS)
def test_a_unit_is_what_its_form_says(family: str, name: str) -> None:
    G, unit, level = MADE[family][0](), 1, 0.7
    layer, form = G.layers[name], G.layers[name].units
    assert form is not None
    before = units(G, layer)
    assert float(before[:, unit].std()) > 0
    named = {entry for entry, _ in (*form.constant, *form.scaled)} | ({form.level} if form.level else set())
    assert named <= set(G.module.state_dict())
    with changed(G, named) as stored:
        for entry, axis in form.constant:
            stored[entry].select(axis, unit).zero_()
        if form.level is not None:
            stored[form.level][unit] = level
        # Where the form says that the noise of a layer stays on top of the constant, the rest is constant.
        after = units(G, layer, "none" if "noise" in form.caveats.get("set", "") else "const")
    expected = form.gain * level if form.level else 0.0
    # Filters around an activation ripple, and see nothing beyond the border.
    inside, ripple = (slice(10, -10), 0.03) if "stylegan3" in family or "xl" in family else (slice(None), 1e-6)
    assert torch.allclose(
        after[:, unit, inside, inside], torch.full_like(after[:, unit, inside, inside], expected), atol=ripple
    )
    if not {entry for entry, _ in form.scaled} <= {layer.weight, layer.bias} or "scale" in form.caveats:
        return
    with changed(G, named) as stored:
        for entry, axis in form.scaled:
            stored[entry].select(axis, unit).mul_(2)
        twice = units(G, layer)
    assert torch.allclose(twice[:, unit], 2 * before[:, unit], atol=1e-5)


@pytest.mark.parametrize(("family", "name"), WITH_UNITS)
def test_a_unit_is_silent_where_its_readers_are(family: str, name: str) -> None:
    G, unit = MADE[family][0](), 1
    layer, form = G.layers[name], G.layers[name].units
    assert form is not None
    if not form.silenced or "xl" in family:
        return
    state = G.run_to(name, G.latents([5]))
    with changed(G, {entry for entry, _ in form.silenced}) as stored:
        for entry, axis in form.silenced:
            stored[entry].select(axis, unit).zero_()
        flow = list(G.flows(G.latents([5])))[layer.stage]
        assert flow.features is not None
        loud = flow.features.clone()
        loud[:, unit] += 5
        assert torch.equal(
            G.finish(flow, state.layer.stage + 1), G.finish(flow.to(features=loud), state.layer.stage + 1)
        )
