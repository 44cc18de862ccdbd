"""Closed forms: steering of the first map, directions of a region, a matrix in two parts, continuous factors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import edits
import rewrite
from rewrite import hooks
from rewrite.generator import Generator
from rewrite.models import dcgan, mobilestylegan, stylegan2
from rewrite.navigation.latent.continuous import continuous, regression
from rewrite.navigation.latent.first_layer import changed, first_layer
from rewrite.navigation.latent.fold import difference
from rewrite.navigation.latent.regional import energies, lowrankgan, ratio, resefa, subspace
from rewrite.navigation.latent.robust import low_rank_part
from rewrite.navigation.latent.sites import sites
from rewrite.navigation.latent.walk import codes, found
from rewrite.navigation.methods import Options
from rewrite.navigation.where import box

WIDTH = 16


def styled() -> Generator:
    module = stylegan2.StyleGAN2.random(0, resolution=16, channels=(12, 12, 8), z=16, w=WIDTH, depth=2)
    return stylegan2.generator(module, name="small-stylegan2")


def mobile() -> Generator:
    module = mobilestylegan.MobileStyleGAN.random(0, style=WIDTH, depth=2, channels=(32, 32, 24, 16))
    return mobilestylegan.generator(module, name="small-mobile")


def convolutional() -> Generator:
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=WIDTH, channels=(24, 16, 8, 3)).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, dcgan.Norm):
            part.running_var.uniform_(0.05, 0.1)
            part.bias.normal_(std=0.3)
    return dcgan.generator(module, name="small-dcgan")


def dense() -> Generator:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(WIDTH, 96), torch.nn.Unflatten(1, (6, 4, 4)), torch.nn.ReLU()]
    layers += [torch.nn.ConvTranspose2d(6, 3, 4, 2, 1), torch.nn.Tanh()]
    return Generator.wrap(torch.nn.Sequential(*layers).requires_grad_(False), latent=WIDTH, name="dense")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["zoom", "shift_x", "shift_y"])
@pytest.mark.parametrize("make", [styled, mobile, convolutional, dense])
def test_the_first_map_is_transformed_exactly(make, name):
    generator = make()
    (one,) = first_layer(generator, Options(more={"transforms": (name,)}))
    z = generator.latents(range(3))
    # what reads the first map: the second layer where the first one makes it
    reader = [layer for layer in generator.layers.values() if layer.stage >= 0]
    reader = reader[0] if generator.layers[next(iter(generator.layers))].stage < 0 else reader[1]
    before = generator.run_to(reader, z).key
    with edits.applied(generator.module, (one.edit, 1.0)):
        after = generator.run_to(reader, z).key
    if make in (styled, mobile):
        assert torch.allclose(after, changed(before, name), atol=1e-5)
    else:
        first = generator.module.get_submodule("main.0" if make is convolutional else "0")
        with hooks.observe({"first": first}) as seen:
            generator.synthesize(z)
        maps = seen.outputs["first"].reshape(3, -1, 4, 4)
        with edits.applied(generator.module, (one.edit, 1.0)), hooks.observe({"first": first}) as seen:
            generator.synthesize(z)
        assert torch.allclose(seen.outputs["first"].reshape_as(maps), changed(maps, name), atol=1e-5)
        assert 0 <= one.facts["latent_share"] < 1
    assert float((after - before).abs().max()) > 1e-3
    with pytest.raises(rewrite.RewriteError, match="nearest"):
        first_layer(generator, Options(more={"transforms": ("zoon",)}))


def test_a_sum_of_a_low_rank_and_a_sparse_matrix_is_taken_apart():
    low = normal(40, 3) @ normal(3, 40, seed=1)
    sparse = torch.zeros(40, 40).double()
    at = torch.randperm(1600, generator=torch.Generator().manual_seed(0))[:60]
    sparse.view(-1)[at] = 5 * normal(60, seed=2).sign()
    one, other = low_rank_part(low + sparse)
    assert torch.allclose(one, low, atol=1e-3)
    assert torch.allclose(other, sparse, atol=1e-3)
    assert int(torch.linalg.matrix_rank(one, rtol=1e-4)) == 3
    assert not low_rank_part(torch.zeros(3, 3).double())[0].any()


def test_energies_are_those_of_differences():
    generator = styled()
    chosen = sites(generator, layers=["2-3"])
    inside, outside = energies(generator, chosen, Options(region=box([0, 0, 0.5, 1])), syntheses=1, side=16)
    ws = generator.styles(generator.latents([0])).clone()
    columns = []
    for i in range(WIDTH):
        ends = []
        for sign in (1, -1):
            moved = ws.clone()
            moved[:, 2:4, i] += sign * 1e-2
            ends.append(generator.synthesize(ws=moved)[0].double())
        columns.append((ends[0] - ends[1]) / 2e-2)
    jacobian = torch.stack(columns, -1)
    for found_, part in ((inside, jacobian[:, :, :8]), (outside, jacobian[:, :, 8:])):
        flat = part.reshape(-1, WIDTH)
        wanted = flat.T @ flat / len(flat)
        assert torch.allclose(found_, wanted, atol=2e-2 * float(wanted.abs().max()))


def test_a_projected_direction_leaves_the_rest_alone():
    inside, outside = normal(3, 60), normal(4, 60, seed=1)
    found_, ranks = subspace(inside.T @ inside, outside.T @ outside)
    assert ranks == {"rank_inside": 3, "rank_outside": 4}
    assert found_.shape == (3, 60)
    assert float((outside @ found_.T).abs().max()) < 1e-3 * float((inside @ found_.T).abs().max())
    with pytest.raises(rewrite.RewriteError, match="changes the rest too"):
        subspace(inside.T @ inside, 2 * inside.T @ inside)


def test_a_ratio_is_the_best_there_is():
    inside, outside = normal(30, 6), normal(30, 6, seed=1)
    inside, outside = inside.T @ inside, outside.T @ outside
    best = ratio(inside, outside, ridge=1e-9)
    values = torch.tensor([float((v @ inside @ v) / (v @ outside @ v)) for v in best])
    assert torch.equal(values, values.sort(descending=True).values)
    dense_ = torch.linalg.eigvals(torch.linalg.solve(outside, inside)).real.sort(descending=True).values
    assert torch.allclose(values.double(), dense_, rtol=1e-5)


@pytest.mark.parametrize(("make", "rows"), [(styled, "1-3"), (mobile, "0-3")])
def test_regional_walks_fold(make, rows):
    generator = make()
    options = Options(region=box([0, 0, 0.5, 0.5]), count=2, more={"syntheses": 1, "side": 8}, layers=(rows,))
    walks = resefa(generator, options)
    assert walks[0].facts["leak"] <= walks[1].facts["leak"] * 1.001
    assert walks[0].facts["measured_leak"] < 1
    for walk, one in zip(walks, found(generator, walks), strict=True):
        assert difference(generator, one.edit, walk.moves, range(3)).largest < 2e-5
    with pytest.raises(rewrite.RewriteError, match="no region"):
        resefa(generator, Options())


def test_lowrankgan_needs_room():
    generator = styled()
    options = Options(region=box([0, 0, 0.5, 0.5]), count=1, more={"syntheses": 1, "side": 8, "relax": 12})
    (walk,) = lowrankgan(generator, options)
    assert walk.facts["leak"] < 1
    assert difference(generator, found(generator, [walk])[0].edit, walk.moves, range(3)).largest < 2e-5


def test_a_continuous_factor_grows_along_its_coordinate():
    truth, steps = normal(8), normal(60, 8, seed=1)
    assert torch.allclose(regression(steps, steps @ truth, ridge=1e-9), truth, atol=1e-6)
    generator = styled()
    (walk,) = continuous(generator, Options(more={"transforms": ("shift_x",), "codes": 8, "steps": 8}))
    assert walk.facts["gain"] != 0
    assert walk.facts["fit"] <= 1
    (one,) = found(generator, [walk])
    assert difference(generator, one.edit, walk.moves, range(3)).largest < 2e-5
    # a projection: whatever the code, its coordinate is the target
    drawn = codes(generator, 20)
    moved = walk.moves[0][1].at(drawn, 1.0)
    basis = walk.moves[0][1].right[0]
    assert float((moved @ basis).std()) < 1e-9
    flat = convolutional()
    with pytest.raises(rewrite.RewriteError, match="map of"):
        found(flat, continuous(flat, Options(more={"transforms": ("shift_x",), "codes": 8, "steps": 2})))
    more = {"transforms": ("shift_x",), "codes": 8, "steps": 2, "target": None}
    (one,) = found(flat, continuous(flat, Options(more=more)))
    assert one.edit.touched == ("main.0.weight",)
