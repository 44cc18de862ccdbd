"""The closed form against slow and obvious ways of solving the same problem."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from rewrite.background import background
from rewrite.memory import Change, canonical, expected_patches, gain, maps, patches, respond, style_of
from rewrite.rules import parse
from rewrite.rules.context import context, directions, inverse_root
from rewrite.rules.evidence import gather
from rewrite.rules.placement import move
from rewrite.rules.solve import least_squares, penalty, solve, truncate


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def prepared(case, recipe_for, **changes):
    generator, name = case
    recipe, layer = parse(recipe_for(name, **changes)), generator.layer(name)
    world = background(generator, layer, samples=recipe.samples)
    weight = canonical(layer, generator.module.state_dict()[layer.weight])
    return generator, layer, recipe, world, weight, gather(generator, layer, recipe, world)


def objective(layer, evidence, world, change, mu, eps):
    """The sum of DESIGN's objective, position by position, every output by its own convolution."""
    moved = torch.einsum("pti,oit->po", evidence.patches, change.dense().flatten(2))
    wanted = evidence.target - evidence.value
    error = (evidence.weight[:, None] * (wanted - moved) ** 2).sum()
    price = expected_patches(layer, world.moments, None, eps)
    flat = change.dense().permute(0, 2, 3, 1).flatten(1)
    return float(error + evidence.weight.sum() * mu * ((flat @ price) * flat).sum())


@pytest.mark.parametrize("positions", [3, 40])
def test_least_squares_is_the_stacked_problem_in_primal_and_dual(positions):
    rows, wanted, spread = drawn(positions, 8), drawn(positions, 5, seed=1), drawn(20, 8, seed=2)
    stacked = torch.linalg.lstsq(
        torch.cat([rows, spread]), torch.cat([wanted, torch.zeros(20, 5, dtype=torch.float64)])
    ).solution
    torch.testing.assert_close(least_squares(rows, wanted, spread.T @ spread), stacked, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rank", [1, 4, None], ids=["1", "4", "full"])
def test_no_step_from_the_solution_lowers_the_objective(case, recipe_for, rank):
    _, layer, recipe, world, weight, evidence = prepared(case, recipe_for)
    read = None if rank is None else context(directions(evidence, world.moments.at((0, 0)), recipe.eps), rank)
    price = penalty(layer, weight, world, read, recipe.eps)
    change = solve(evidence, layer, read, price.matrix(recipe.mu, 0.0))
    best = objective(layer, evidence, world, change, recipe.mu, recipe.eps)
    assert best < objective(layer, evidence, world, change.scaled(0), recipe.mu, recipe.eps)
    for seed in range(10):
        nudge = drawn(*change.response.shape, seed=seed) * change.response.abs().mean() * 0.01
        for sign in (1, -1):
            moved = Change(change.response + sign * nudge, change.context)
            assert objective(layer, evidence, world, moved, recipe.mu, recipe.eps) > best


def test_a_wider_context_never_raises_the_objective(case, recipe_for):
    _, layer, recipe, world, weight, evidence = prepared(case, recipe_for)
    found = directions(evidence, world.moments.at((0, 0)), recipe.eps)
    reached = []
    for rank in (1, 2, 4, 8, None):
        read = None if rank is None else context(found, rank)
        change = solve(evidence, layer, read, penalty(layer, weight, world, read, recipe.eps).matrix(recipe.mu, 0.0))
        reached.append(objective(layer, evidence, world, change, recipe.mu, recipe.eps))
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(reached))


def test_more_weight_on_the_rest_of_the_world_changes_less_of_it(case, recipe_for):
    _, layer, recipe, world, weight, evidence = prepared(case, recipe_for)
    price = penalty(layer, weight, world, None, recipe.eps)
    shifts = []
    for mu in (0.01, 0.1, 1, 10):
        flat = solve(evidence, layer, None, price.matrix(mu, 0.0)).dense().permute(0, 2, 3, 1).flatten(1)
        shifts.append(float(((flat @ price.everywhere) * flat).sum()))
    assert shifts == sorted(shifts, reverse=True)


def test_one_key_gives_the_papers_direction(case, recipe_for):
    _, _, recipe, world, _, evidence = prepared(case, recipe_for)
    covariance = world.moments.at((0, 0))
    key = drawn(covariance.shape[0])
    one = evidence.__class__(
        **{**evidence.__dict__, "context_keys": key[None], "context_weight": torch.ones(1, dtype=torch.float64)}
    )
    ridge = recipe.eps * covariance.diagonal().mean() * torch.eye(len(key), dtype=torch.float64)
    expected = torch.linalg.solve(covariance + ridge, key)
    found = context(directions(one, covariance, recipe.eps), 1)[0]
    assert float(torch.cosine_similarity(found, expected, dim=0).abs()) == pytest.approx(1, abs=1e-6)


def test_a_context_is_orthonormal(case, recipe_for):
    _, _, recipe, world, _, evidence = prepared(case, recipe_for)
    read = context(directions(evidence, world.moments.at((0, 0)), recipe.eps), 5)
    torch.testing.assert_close(read @ read.T, torch.eye(5, dtype=torch.float64))


def test_the_inverse_root_of_a_singular_covariance_is_finite():
    flat = drawn(3, 6)
    root = inverse_root(flat.T @ flat, 0.0)
    assert torch.isfinite(root).all()


def test_truncation_keeps_the_stated_energy(case, recipe_for):
    _, layer, recipe, world, weight, evidence = prepared(case, recipe_for)
    covariance = world.moments.at((0, 0))
    change = solve(evidence, layer, None, penalty(layer, weight, world, None, recipe.eps).matrix(0.1, 0.0))
    exact, share = truncate(change, covariance, recipe.eps, energy=1 - 1e-14)
    assert share == pytest.approx(1)
    torch.testing.assert_close(exact.dense(), change.dense(), rtol=1e-4, atol=1e-6)
    small, share = truncate(change, covariance, recipe.eps, energy=0.9)
    assert small.rank < exact.rank
    assert 0.9 <= share < 1
    root = torch.linalg.inv(inverse_root(covariance, recipe.eps))
    energies = [torch.einsum("oihw,ij->ojhw", c.dense(), root).square().sum() for c in (small, change)]
    assert float(energies[0] / energies[1]) == pytest.approx(share, rel=1e-6)


def test_targets_are_the_copied_values_moved_by_whole_cells(case, recipe_for):
    generator, layer, recipe, _, weight, evidence = prepared(case, recipe_for)
    source = generator.run_to(layer, generator.latents([1]))
    state = generator.run_to(layer, generator.latents([2]))
    value = respond(layer, maps(source.key).double(), weight)[0]
    if layer.gain:
        gains = [gain(layer, weight, style_of(held))[0] for held in (source, state)]
        value = value * (gains[0] / gains[1])[:, None, None]
    ys, xs = torch.nonzero(recipe.source.coverage(layer.out_resolution), as_tuple=True)
    first = evidence.example == 0
    torch.testing.assert_close(evidence.target[first], value[:, ys, xs].T)
    torch.testing.assert_close(evidence.patches[first], patches(layer, state.key, ys, xs))


def test_a_moved_object_keeps_its_shape_and_stays_inside():
    covered = torch.zeros(6, 6, dtype=torch.float64)
    covered[1, 1:4] = torch.tensor([0.5, 1.0, 0.25], dtype=torch.float64)
    values = torch.arange(72, dtype=torch.float64).reshape(2, 6, 6)
    paste = torch.zeros(6, 6, dtype=torch.float64)
    paste[5, 5] = 1
    where, wanted = move(covered, values, paste, "move")
    assert where[5, 3:6].tolist() == [0.5, 1.0, 0.25]
    assert where.sum() == covered.sum()
    assert torch.equal(wanted[:, 5, 3:6], values[:, 1, 1:4])


def test_stretching_fills_the_paste_box():
    covered = torch.zeros(8, 8, dtype=torch.float64)
    covered[2:4, 2:4] = 1
    paste = torch.zeros(8, 8, dtype=torch.float64)
    paste[1:7, 3:8] = 1
    where, wanted = move(covered, torch.full((1, 8, 8), 7.0, dtype=torch.float64), paste, "stretch")
    torch.testing.assert_close(where, paste)
    torch.testing.assert_close(wanted[0], paste * 7)
