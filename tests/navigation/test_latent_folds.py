"""A move of a code and its edit are the same change; the edit is undone to the bit and composes in any order."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

import edits
import rewrite
from rewrite.generator import Generator
from rewrite.models import dcgan, mobilestylegan, stylegan, stylegan2
from rewrite.models.equalised import FullyConnected
from rewrite.navigation.latent.fold import difference, error, everywhere, fold, moved
from rewrite.navigation.latent.moves import (
    ChannelScale,
    ChannelSet,
    ChannelShift,
    Move,
    affine,
    set_along,
    shift,
)
from rewrite.navigation.latent.sites import sites

WIDTH = 16
CLOSE = 2e-5
"""Of images in [-1, 1], in single precision."""


def small_stylegan2() -> Generator:
    module = stylegan2.StyleGAN2.random(0, resolution=16, channels=(12, 12, 8), z=16, w=WIDTH, depth=2, noise=0.3)
    for part in module.modules():
        if isinstance(part, stylegan2.Modulated):
            part.affine.bias.normal_(1, 0.3)
    return stylegan2.generator(module, name="small-stylegan2")


def small_mobile() -> Generator:
    module = mobilestylegan.MobileStyleGAN.random(0, noise=0.3, style=WIDTH, depth=2, channels=(32, 32, 24, 16))
    return mobilestylegan.generator(module, name="small-mobile")


def small_stylegan() -> Generator:
    module = stylegan.StyleGAN.random(0, channels=(12, 8), z=16, w=WIDTH, depth=2)
    return stylegan.generator(module, name="small-stylegan")


class Dense(nn.Module):
    """z through a dense layer of unequal multipliers to 4 x 4 maps, then to an image of 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.start = FullyConnected(WIDTH, 6 * 16, rate=0.01)
        self.paint = nn.ConvTranspose2d(6, 3, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.paint(torch.relu(self.start(z).unflatten(1, (6, 4, 4)))))


def dense() -> Generator:
    torch.manual_seed(0)
    return Generator.wrap(Dense().requires_grad_(False), latent=WIDTH, name="dense")


def small_dcgan() -> Generator:
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=WIDTH, channels=(24, 16, 8, 3)).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, dcgan.Norm):
            part.running_var.uniform_(0.05, 0.1)
            part.bias.normal_(std=0.3)
    return dcgan.generator(module, name="small-dcgan")


STYLED = {"stylegan2": small_stylegan2, "mobile": small_mobile, "stylegan": small_stylegan}
SHIFTED = STYLED | {"dense": dense}
FAMILIES = SHIFTED | {"dcgan": small_dcgan}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def snapshot(generator: Generator) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def rule_edit(generator: Generator, seed: int = 0) -> edits.Edit:
    """A low-rank change of a convolution's weight, as a rule makes it."""
    layer = next(layer for layer in generator.layers.values() if layer.kernel_axes and layer.refuses is None)
    own = (layer.out_axis, *layer.kernel_axes)
    rows = int(torch.tensor([layer.shape[a] for a in own]).prod())
    form = edits.LowRank(
        normal(rows, 1, seed=seed).float(), normal(1, layer.in_features, seed=seed + 1).float(), own, (layer.in_axis,)
    )
    return edits.Edit(
        operations={layer.weight: (edits.Add(layer.shape, form),)},
        base=edits.describe(generator.module, [layer.weight], upstream=layer.upstream),
    )


@pytest.mark.parametrize("strength", [1.0, -2.5])
@pytest.mark.parametrize("family", SHIFTED)
def test_a_folded_shift_is_the_shifted_code(family, strength):
    generator = SHIFTED[family]()
    moves = everywhere(sites(generator), shift(normal(WIDTH)))
    edit = fold(generator, moves)
    found = difference(generator, edit, moves, range(8), strength=strength)
    assert found.largest < CLOSE
    assert found.effect > 1e-2
    # and the move in the pass is that of the styles themselves
    z = generator.latents(range(4))
    ws = generator.styles(z)
    with edits.applied(generator.module, (edit, strength)):
        assert torch.allclose(
            generator.synthesize(z), generator.synthesize(ws=ws), atol=1e-6
        )  # the mapping is left alone
        folded = generator.synthesize(z)
    assert torch.allclose(folded, generator.synthesize(ws=ws + strength * normal(WIDTH).float()), atol=CLOSE)


@pytest.mark.parametrize("family", STYLED)
def test_rows_of_ws_are_moved_alone(family):
    generator = STYLED[family]()
    step = normal(WIDTH)
    edit = fold(generator, everywhere(sites(generator, layers=["1-2"]), shift(step)))
    z = generator.latents(range(4))
    ws = generator.styles(z).clone()
    ws[:, 1:3] += step.float()
    with edits.applied(generator.module, (edit, 1.0)):
        assert torch.allclose(generator.synthesize(z), generator.synthesize(z=None, ws=generator.styles(z)), atol=1e-6)
        folded = generator.synthesize(z)
    assert torch.allclose(folded, generator.synthesize(ws=ws), atol=CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folded_projection_is_the_projected_code(family):
    generator = FAMILIES[family]()
    move = set_along(normal(2, WIDTH), 0.0 if family == "dcgan" else [0.7, -1.2])
    moves = everywhere(sites(generator), move)
    edit = fold(generator, moves)
    for strength in (1.0, 0.4):
        found = difference(generator, edit, moves, range(8), strength=strength)
        assert found.largest < CLOSE
        assert found.effect > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_an_affine_map_of_the_code_folds(family):
    generator = FAMILIES[family]()
    turn = torch.linalg.qr(normal(WIDTH, WIDTH)).Q
    moves = everywhere(sites(generator), affine(turn, None if family == "dcgan" else normal(WIDTH, seed=1)))
    edit = fold(generator, moves)
    assert difference(generator, edit, moves, range(8)).largest < CLOSE


@pytest.mark.parametrize("family", ["stylegan2", "mobile"])
@pytest.mark.parametrize("kind", [ChannelShift, ChannelScale, ChannelSet])
def test_style_channels_fold_as_rows(family, kind):
    generator = STYLED[family]()
    site = sites(generator)[2]
    moves = [(site, kind((1, 4), normal(2)))]
    edit = fold(generator, moves)
    for strength in (1.0, 0.5):
        found = difference(generator, edit, moves, range(8), strength=strength)
        assert found.largest < CLOSE
        assert found.effect > 1e-3
    assert sum(tensor.numel() for tensor in edit.tensors().values()) <= 2 * (WIDTH + 4)


@pytest.mark.parametrize("family", STYLED)
def test_all_that_reads_styles_is_found(family):
    generator = STYLED[family]()
    found = sites(generator)
    rows = generator.styles(generator.latents([0])).shape[1]
    assert {row for site in found for row in site.rows} <= set(range(rows))
    z = generator.latents(range(2))
    with moved(everywhere(found, set_along(torch.eye(WIDTH), 0.0))):
        images = generator.synthesize(z)
    # with every component of the code gone, all images are one
    assert torch.allclose(images[:1], images[1:], atol=1e-5)


def test_projecting_twice_is_projecting_once():
    move = set_along(normal(3, WIDTH), normal(3, seed=2))
    codes = normal(5, WIDTH, seed=3)
    once = move.at(codes, 1.0)
    assert torch.allclose(move.at(once, 1.0), once, atol=1e-12)
    unit = torch.nn.functional.normalize(normal(3, WIDTH), dim=1)
    assert torch.allclose(once @ unit.T, normal(3, seed=2).expand(5, 3), atol=1e-12)
    # what is orthogonal to the normals is left alone
    orthogonal = torch.linalg.qr(torch.cat([unit.T, normal(WIDTH, 4, seed=4)], 1)).Q[:, 3:]
    assert torch.allclose(once @ orthogonal, codes @ orthogonal, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_undone_to_the_bit_and_any_order_gives_the_same_bits(family, tmp_path):
    generator = FAMILIES[family]()
    found = sites(generator)
    project = fold(generator, everywhere(found, set_along(normal(WIDTH))))
    step = everywhere(found, affine(torch.eye(WIDTH) * 1.1) if family == "dcgan" else shift(normal(WIDTH, seed=1)))
    together = [project, fold(generator, step), rule_edit(generator)]
    before, bits = snapshot(generator), []
    for order in itertools.permutations(together):
        stack = edits.Stack(generator.module)
        for edit in order:
            stack.push(edit, 0.7)
        bits.append(snapshot(generator))
        for edit in (order[1], order[0], order[2]):
            stack.remove(edit)
        assert same(snapshot(generator), before)
    assert all(same(bits[0], other) for other in bits[1:])
    with edits.applied(generator.module, (edits.compose([(edit, 0.7) for edit in together]), 1.0)):
        assert same(snapshot(generator), bits[0])
    project.save(tmp_path / "a.safetensors")
    assert edits.load(tmp_path / "a.safetensors").content == project.content


def test_two_projections_go_together_only_where_orthogonal():
    generator = small_stylegan2()
    found = sites(generator)
    basis = torch.linalg.qr(normal(WIDTH, 2)).Q.T
    one, other, oblique = (
        fold(generator, everywhere(found, set_along(normals))) for normals in (basis[0], basis[1], basis[0] + basis[1])
    )
    stack = edits.Stack(generator.module)
    stack.push(one)
    with pytest.raises(edits.EditError, match="cosine"):
        stack.push(oblique)
    stack.push(other)
    z = generator.latents(range(3))
    together = generator.synthesize(z)
    stack.clear()
    with moved(everywhere(found, set_along(basis))):
        assert torch.allclose(generator.synthesize(z), together, atol=CLOSE)


def test_what_cannot_hold_a_move_says_why():
    convolution = small_dcgan()
    with pytest.raises(rewrite.RewriteError, match="map of 24 x 4 x 4"):
        fold(convolution, everywhere(sites(convolution), shift(normal(WIDTH))))
    with pytest.raises(rewrite.RewriteError, match="normalised before mapping"):
        sites(small_stylegan2(), "z")
    with pytest.raises(rewrite.RewriteError, match="normalised before mapping"):
        sites(small_mobile(), "z")
    with pytest.raises(rewrite.RewriteError, match="nearest"):
        sites(small_stylegan2(), layers=["synthesis.b4.conv2"])
    for rows in ("0-40", "0-99999999999", f"0-{'9' * 5000}", "3-1"):
        with pytest.raises(rewrite.RewriteError, match="rows"):
            sites(small_stylegan2(), layers=[rows])
    with pytest.raises(rewrite.RewriteError, match="depend on one another"):
        set_along(torch.ones(2, WIDTH))

    class Twice(Dense):
        def forward(self, z: Tensor) -> Tensor:
            return super().forward(z) * z[:, :1, None, None]

    twice = Generator.wrap(Twice().requires_grad_(False), latent=WIDTH, name="twice")
    with pytest.raises(rewrite.RewriteError, match="something else reads the code"):
        sites(twice)


def test_an_error_of_a_fold_is_seen():
    generator = small_stylegan2()
    moves = everywhere(sites(generator), shift(normal(WIDTH)))
    drawn = normal(4, WIDTH, seed=1)
    assert error(generator, fold(generator, moves), moves, drawn) < 1e-6
    almost = everywhere(sites(generator), shift(1.01 * normal(WIDTH)))
    assert 1e-4 < error(generator, fold(generator, almost), moves, drawn) < 1e-1


def test_an_offset_alone_is_a_shift():
    codes = normal(4, WIDTH)
    assert torch.equal(Move(offset=normal(WIDTH)).at(codes, 2.0), codes + 2 * normal(WIDTH))
