"""Eigenvectors of the perceptual Hessian, held against a dense Jacobian and against what images truly do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import edits
from rewrite.errors import RewriteError
from rewrite.navigation import krylov
from rewrite.navigation.hessian import answer_of, basis, hessian
from rewrite.navigation.jacobian import Answer
from rewrite.navigation.methods import Options
from rewrite.navigation.metric import metric
from rewrite.navigation.subspace import Subspace, ansatz
from rewrite.navigation.where import Where, box
from rewrite.progress import quiet

SEEDS = 3


def options(layer, **changes):
    return Options(layers=(layer,), **({"count": 4, "latents": SEEDS, "net": "pixels", "size": 8} | changes))


def dense(generator, asked, space):
    """E[J' J], a column of J at a time by reverse differentiation of every output: slow and obvious."""
    answer = answer_of(generator, asked)
    total = torch.zeros(space.dimension, space.dimension, dtype=torch.float64)
    for seed in answer.seeds:
        flow, weight = answer.flow([seed]), answer.weight
        coverage = None
        if asked.region:
            coverage = asked.region(answer.images(weight, flow))

        def seen(weight, flow=flow, coverage=coverage):
            return answer.metric.embed(answer.images(weight, flow), coverage)[0]

        jacobian = torch.autograd.functional.jacobian(seen, weight)
        rows = space.coefficients(jacobian.double())
        total += rows.T @ rows
    return total / len(answer.seeds)


def test_the_full_kernel_is_that_of_a_dense_jacobian(case):
    generator, layer = case
    asked = options(layer, more={"tolerance": 0.005, "passes": 12})
    found = basis(generator, asked, asked.count)
    matrix = dense(generator, asked, found.space)
    values, vectors = torch.linalg.eigh(matrix)
    values, vectors = values.flip(0)[:4], vectors.flip(1)[:, :4]
    assert torch.allclose(found.pairs.values, values, rtol=1e-3)
    caught = (found.pairs.vectors @ matrix @ found.pairs.vectors.T).trace() / values.sum()
    assert 0.99 <= caught <= 1 + 1e-9
    assert (found.pairs.residuals <= 0.005 * found.pairs.values).all()
    true = (matrix @ found.pairs.vectors.T).T - found.pairs.values[:, None] * found.pairs.vectors
    assert torch.allclose(true.norm(dim=1), found.pairs.residuals, atol=1e-4 * float(values[0]))


def test_an_ansatz_and_a_region_are_those_of_a_dense_jacobian(case):
    generator, layer = case
    asked = options(layer, ansatz=3, region=box([0.2, 0.1, 0.7, 0.6]), more={"tolerance": 0.005})
    found = basis(generator, asked, asked.count)
    assert found.space.dimension < answer_of(generator, asked).weight.numel()
    values = torch.linalg.eigvalsh(dense(generator, asked, found.space)).flip(0)[:4]
    assert torch.allclose(found.pairs.values, values, rtol=1e-3)


def test_a_space_of_few_dimensions_takes_derivatives_forwards_alone(small, monkeypatch):
    monkeypatch.setattr(Answer, "products", None)
    asked = options("synthesis.b8.conv1", ansatz=1, count=2)
    found = basis(small, asked, asked.count)
    assert found.space.dimension == 9
    assert found.passes == {"over_latents": 1, "latents": SEEDS, "block": 9, "derivatives": 9 * SEEDS}
    matrix = dense(small, asked, found.space)
    assert torch.allclose(found.pairs.values, torch.linalg.eigvalsh(matrix).flip(0)[:2], rtol=1e-4)
    assert found.pairs.trace == pytest.approx(float(matrix.trace()), rel=1e-4)


def test_a_distance_is_a_squared_length(case):
    generator, _ = case
    one, other = (generator.synthesize(generator.latents([seed])) for seed in (0, 1))
    lite = metric("pd-lite0")
    if min(one.shape[2:]) >= 32:
        from rewrite.perception import distance

        assert torch.allclose(lite.distance(one, other), distance("pd-lite0")(one, other), rtol=1e-4)
    assert torch.allclose(metric("pixels").distance(one, other), (one - other).square().mean((1, 2, 3)), rtol=1e-5)
    coverage = box([0, 0, 0.4, 0.7])(one)
    inside, rest = (lite.distance(one, other, part) for part in (coverage, 1 - coverage))
    assert torch.allclose(inside + rest, lite.distance(one, other), rtol=1e-4)


def test_images_are_made_smaller_as_perception_makes_them():
    from rewrite.perception.images import bicubic

    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(metric("pixels", side=16).downsized(images), bicubic(images, 16), atol=1e-5)
    with pytest.raises(RewriteError, match="32 px"):
        metric("pd-lite0", side=16).downsized(images)
    with pytest.raises(RewriteError, match="nearest"):
        metric("pd-lite1")


def test_an_eigenvalue_is_the_distance_of_a_small_change(small):
    asked = options("synthesis.b8.conv1", net="pd-lite0", size=32, ansatz=2, count=1)
    (found,) = hessian(small, asked)
    eye, step, seen = metric("pd-lite0"), 0.01, []
    before = small.synthesize(small.latents(range(SEEDS)))
    # What is odd in the strength cancels between the two signs.
    for strength in (step, -step):
        with edits.applied(small.module, (found.edit, strength)):
            seen.append(eye.distance(before, small.synthesize(small.latents(range(SEEDS)))))
    promised = found.facts["eigenvalue"] * (step * found.facts["norm"]) ** 2
    assert float(torch.stack(seen).mean()) == pytest.approx(promised, rel=0.05)


def test_a_direction_is_an_edit_undone_to_the_bit(case):
    generator, layer = case
    before = {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}
    found = hessian(generator, options(layer, count=2, ansatz=2))
    base = generator.synthesize(generator.latents([7]))
    with edits.applied(generator.module, *((one.edit, 0.7) for one in found)):
        there = generator.synthesize(generator.latents([7]))
    with edits.applied(generator.module, *((one.edit, 0.7) for one in reversed(found))):
        assert torch.equal(there, generator.synthesize(generator.latents([7])))
    assert not torch.equal(there, base)
    assert all(torch.equal(before[name], tensor) for name, tensor in generator.module.state_dict().items())
    assert found[0].edit.content == hessian(generator, options(layer, count=2, ansatz=2))[0].edit.content


class Stop(Exception):
    pass


def test_an_interrupted_search_goes_on_to_the_same_bits(small, tmp_path, monkeypatch):
    def search(progress=quiet):
        asked = options("synthesis.b32.conv1", latents=18, ansatz=2, progress=progress)
        return basis(small, asked, 1).pairs

    whole = search()
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "another"))
    calls = []

    def stopping(what, done, total):
        calls.append(what.startswith("hessian"))
        if sum(calls) in (2, 5):
            raise Stop

    for _ in range(2):
        with pytest.raises(Stop):
            search(stopping)
    said = []
    again = search(lambda what, done, _: said.append((what, done)))
    assert torch.equal(again.values, whole.values)
    assert torch.equal(again.vectors, whole.vectors)
    assert again.passes == whole.passes
    assert next(done for what, done in said if what.startswith("hessian")) > 0


def test_a_search_is_the_same_whatever_was_kept(small):
    rough = options("synthesis.b32.conv1", ansatz=3, count=1, more={"tolerance": 0.9, "passes": 2})
    thorough = options("synthesis.b32.conv1", ansatz=3, count=1, more={"tolerance": 1e-6, "passes": 4})
    basis(small, thorough, 1)
    after = basis(small, rough, 1).pairs
    alone = basis(small, replace(rough, more={**rough.more, "cache": False}), 1).pairs
    assert torch.equal(after.vectors, alone.vectors)
    assert after.passes == alone.passes < basis(small, thorough, 1).pairs.passes


def test_the_subspace_is_orthonormal_and_adjoint(case):
    generator, name = case
    layer = generator.layer(name)
    for space in (Subspace(layer), ansatz(generator, layer, 3, latents=range(3))):
        few = torch.randn(2, space.dimension, dtype=torch.float64)
        changes = space.changes(few)
        assert changes.shape == (2, *layer.shape)
        assert torch.allclose(space.coefficients(changes), few)
        assert torch.allclose(changes.flatten(1).norm(dim=1), few.norm(dim=1))
        operation = space.operation(few[0])
        assert operation.norm == pytest.approx(float(few[0].norm()), rel=1e-5)
        edit = edits.Edit({layer.weight: (operation,)}, edits.describe(generator.module, [layer.weight]))
        before = generator.module.state_dict()[layer.weight].clone()
        with edits.applied(generator.module, (edit, 1.0)):
            after = generator.module.state_dict()[layer.weight].clone()
        assert torch.allclose(after - before, changes[0].float(), atol=1e-5)


def test_eigenpairs_of_a_known_matrix():
    values = torch.tensor([100.0, 50, 30, 10, *[1.0 / i for i in range(1, 57)]], dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(60, 60, dtype=torch.float64)).Q
    matrix = rotation * values @ rotation.T
    found = krylov.top(lambda v, _: v @ matrix / 2, 2, 60, 4, tolerance=1e-5)
    assert torch.allclose(found.values, values[:4], rtol=1e-6)
    every = krylov.top(lambda v, _: v @ matrix / 2, 2, 60, 60)
    assert torch.allclose(every.values, values.sort(descending=True).values, rtol=1e-6)
    assert every.trace == pytest.approx(float(values.sum()))


def test_refusals(small):
    with pytest.raises(RewriteError, match="one layer"):
        hessian(small, Options())
    with pytest.raises(RewriteError, match="maps latents"):
        hessian(small, options("mapping.fc0"))
    with pytest.raises(RewriteError, match="rank 99"):
        hessian(small, options("synthesis.b8.conv1", ansatz=99))
    with pytest.raises(RewriteError, match="directions were asked"):
        hessian(small, options("synthesis.b8.conv1", ansatz=1, count=10))
    nowhere = Where("nowhere", lambda images: torch.zeros_like(images[:, :1]))
    with pytest.raises(RewriteError, match="shows in nowhere"):
        hessian(small, options("synthesis.b8.conv1", ansatz=1, region=nowhere))
    for more, words in (
        ({"pases": 3}, "nearest: passes"),
        ({"passes": 0}, "whole number"),
        ({"passes": math.inf}, "whole number"),
        ({"tolerance": math.nan}, "above 0"),
        ({"tolerance": "small"}, "above 0"),
    ):
        with pytest.raises(RewriteError, match=words):
            hessian(small, options("synthesis.b8.conv1", ansatz=1, more=more))
