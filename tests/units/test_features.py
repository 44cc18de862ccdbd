"""Where units are read, and passes gone on with units replaced."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.units.features import World, batch_size, hold, replaced, run, sites
from rewrite.units.grid import beneath, cell_area, coverage, lengths, one_hot, upsampled


def ws(generator, count=3):
    return World().styles(generator, 1, range(count))


def test_layers_of_colours_and_of_the_mapping_have_no_units(family):
    found = sites(family)
    assert found
    for name, site in found.items():
        assert site.units > 3
        assert site.units == family.layers[name].out_features
        assert "mapping" not in name
        assert "rgb" not in name
        assert "img" not in name
    with pytest.raises(RewriteError, match="has no units"):
        sites(family, [list(family.layers)[-1]])


def test_one_pass_shows_all_layers_what_each_shows_alone(family):
    found, styles, seen = sites(family), ws(family), {}
    images = run(family, found, styles, "const", lambda name, features: seen.setdefault(name, features.clone()))
    torch.testing.assert_close(images, family.synthesize(ws=styles))
    assert list(seen) == list(found)
    for name, site in found.items():
        held = hold(family, site, styles)
        assert held.features.shape == (3, site.units, *site.grid)
        assert torch.equal(held.features, seen[name])
        torch.testing.assert_close(held.images(), images)


def test_a_wrapped_network_shows_what_its_modules_return(toy):
    found, styles, seen = sites(toy), ws(toy), {}
    assert list(found) == ["body"]
    run(toy, found, styles, "const", lambda name, features: seen.setdefault(name, features.clone()))
    start = torch.relu(toy.module.start(styles).unflatten(1, (4, 4, 4)))
    assert torch.equal(seen["body"], toy.module.body(start))
    held = hold(toy, found["body"], styles)
    other = replaced(held.features, [2, 5], 1.5)
    wanted = torch.tanh(toy.module.paint(torch.relu(other)))
    torch.testing.assert_close(held.images(other), wanted)
    torch.testing.assert_close(held.images(), toy.synthesize(ws=styles))


def test_replacing_draws_units_towards_a_value():
    features = torch.randn(2, 4, 3, 3)
    where = torch.rand(2, 3, 3)
    found = replaced(features, [1, 3], torch.tensor([2.0, -1.0]), amount=0.5, where=where)
    assert torch.equal(found[:, [0, 2]], features[:, [0, 2]])
    for unit, value in ((1, 2.0), (3, -1.0)):
        slow = (1 - 0.5 * where) * features[:, unit] + 0.5 * where * value
        torch.testing.assert_close(found[:, unit], slow)
    assert replaced(features, [0])[:, 0].eq(0).all()


def test_gradients_reach_replaced_units(family):
    site = next(iter(sites(family).values()))
    held = hold(family, site, ws(family))
    amount = torch.zeros(site.units, requires_grad=True)
    held.images(replaced(held.features, torch.arange(site.units), 0.0, amount=amount)).sum().backward()
    assert amount.grad is not None
    assert amount.grad.abs().sum() > 0


def test_batches_hang_on_the_layers_alone(family):
    size = batch_size(family, sites(family))
    assert size & (size - 1) == 0
    assert 1 <= size <= 32


@pytest.mark.parametrize(("cells", "pixels"), [(4, 16), (5, 16), (16, 5), (6, 4), (1, 7), (8, 8)])
def test_lengths_are_shares_of_the_side(cells, pixels):
    found = lengths(cells, pixels)
    fine = cells * pixels
    slow = torch.zeros(cells, pixels)
    for part in range(fine):
        slow[part // pixels, part // cells] += 1
    unit = slow[slow > 0].min() / found[found > 0].min()
    torch.testing.assert_close(found * unit, slow)
    assert (found.sum(1) == found.sum(1)[0]).all()


@pytest.mark.parametrize("grid", [(4, 4), (8, 4), (5, 3), (16, 16), (32, 8)])
def test_coverage_counts_every_pixel_once(grid):
    labels = torch.randint(0, 3, (2, 16, 8), generator=torch.Generator().manual_seed(0))
    planes = one_hot(labels, 3)
    found = coverage(planes, grid)
    area = cell_area(grid, (16, 8))
    assert found.shape == (2, 3, *grid)
    assert torch.equal(found, found.round())
    assert (found.sum(1) == area).all()
    share = planes.mean((2, 3))
    torch.testing.assert_close(found.sum((2, 3)) / (area * grid[0] * grid[1]), share)


def test_the_middle_of_a_cell_lies_in_one_cell_of_another_grid():
    cells = torch.arange(6)
    assert torch.equal(beneath(cells, (2, 3), (2, 3)), cells)
    assert beneath(cells, (2, 3), (4, 6)).tolist() == [6 + 1, 6 + 3, 6 + 5, 18 + 1, 18 + 3, 18 + 5]
    assert beneath(cells, (2, 3), (1, 1)).tolist() == [0] * 6


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_upsampling_is_bilinear_about_half_pixel_centres(padding):
    features = torch.rand(1, 2, 4, 4, dtype=torch.float64)
    found = upsampled(features, (16, 16), padding)
    down = upsampled(features, (2, 2), padding)
    torch.testing.assert_close(down, F.avg_pool2d(features, 2))
    assert torch.equal(upsampled(features, (4, 4), padding), features)
    framed = F.pad(features, (1, 1, 1, 1), mode="replicate" if padding == "border" else "constant")
    for y in range(16):
        for x in range(16):
            v, u = (y + 0.5) / 4 + 0.5, (x + 0.5) / 4 + 0.5  # in cells of the framed map, centres at whole numbers
            i, j = int(v), int(u)
            a, b = v - i, u - j
            slow = (
                (1 - a) * ((1 - b) * framed[0, :, i, j] + b * framed[0, :, i, j + 1])
                + a * ((1 - b) * framed[0, :, i + 1, j] + b * framed[0, :, i + 1, j + 1])
            )  # fmt: skip
            torch.testing.assert_close(found[0, :, y, x], slow)


def test_a_cell_lies_over_the_pixels_that_it_paints(family):
    """The grid is aligned: what a cell changes is centred on the pixels that it covers."""
    generator = torch.Generator().manual_seed(0)
    for tensor in family.module.parameters():
        if tensor.ndim == 4:  # filters that lean to no side
            tensor.copy_(sum(tensor.flip(axes) for axes in ([], [2], [3], [2, 3])) / 4)
    for site in sites(family).values():
        height, width = site.grid
        if height < 8:
            continue  # the border is nowhere far
        held = hold(family, site, ws(family, 8))
        base, pixels = held.images(), family.resolution / height
        places, off = torch.arange(family.resolution) + 0.5, torch.zeros(2)
        middle = [(row, column) for row in (height // 2 - 1, height // 2) for column in (width // 2 - 1, width // 2)]
        for row, column in middle:
            energy = torch.zeros(family.resolution, family.resolution)
            for _ in range(8):
                features = held.features.clone()
                features[:, :, row, column] += 0.05 * torch.randn(8, site.units, generator=generator)
                energy += (held.images(features) - base).square().sum((0, 1))
            centre = torch.stack([(energy.sum(1) * places).sum(), (energy.sum(0) * places).sum()]) / energy.sum()
            off += centre / pixels - torch.tensor([row + 0.5, column + 0.5])
        # In cells; a map that was off by half a cell would be off by 0.5.
        assert (off / len(middle)).abs().max() < 0.25, site.layer.name
