"""LPIPS is the lpips package's, to rounding; what is missing or damaged is said in a sentence."""

import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from rewrite.errors import RewriteError
from rewrite.perception import distance, weights
from rewrite.perception import lpips as ours
from rewrite.perception.lpips import PLANS

from .conftest import alexnet, keep, normal


def pairs(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, a small change of it, and a flat square, where whole places have no features to divide by."""
    one = normal(side, 3, 3, side, side).clamp(-1, 1)
    one[2] = -1
    other = (one + normal(side + 1, 3, 3, side, side)).clamp(-1, 1)
    other[1:, :, : side // 2] = one[1:, :, : side // 2]
    return one, other


@pytest.fixture(scope="session", params=PLANS)
def net(request):
    return request.param


@pytest.fixture(scope="session")
def theirs(net, torchvision, torch_home):
    """The lpips package, with the same weights through torchvision's own loading."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("TORCH_HOME", str(torch_home))
        warnings.simplefilter("ignore")
        patch.setattr(torch.nn.Linear, "reset_parameters", lambda _: None)  # A hundred million draws, then overwritten.
        import lpips

        return lpips.LPIPS(net=net, verbose=False)


@pytest.mark.parametrize("side", [33, 48])
def test_it_is_the_lpips_package_in_numbers_and_in_maps(net, theirs, hub, side):
    one, other = pairs(side)
    mine = distance(f"lpips-{net}")
    with torch.no_grad():
        theirs.spatial = False
        expected = theirs(one, other).flatten()
        theirs.spatial = True
        assert (mine(one, other) - expected).abs().max() <= 1e-6
        assert (mine.maps(one, other) - theirs(one, other)).abs().max() <= 1e-6
    assert expected.max() > 0.01


def test_the_smallest_side_is_the_one_that_the_trunk_takes(net, theirs, hub):
    least = PLANS[net].least
    smaller = torch.zeros(1, 3, least - 1, least - 1)
    with pytest.raises(RuntimeError):
        theirs(smaller, smaller)
    with pytest.raises(RewriteError, match=f"expected sides of {least} px at least"):
        distance(f"lpips-{net}")(smaller, smaller)


@pytest.mark.parametrize("name", ["lpips-alex", "lpips-squeeze", "pd-lite0"])
def test_a_thing_is_at_zero_from_itself_and_pairs_are_symmetric(hub, name):
    one, other = pairs(64)
    far = distance(name)
    assert far(one, one).eq(0).all()
    assert far.maps(other, other).eq(0).all()
    assert torch.equal(far(one, other), far(other, one))
    assert far(one, other)[:2].gt(0).all()
    assert far.maps(one, other).shape == (3, 1, 64, 64)


def test_gradients_flow_and_are_finite_where_images_are_flat(hub):
    one, other = pairs(64)
    one.requires_grad_()
    far = distance("lpips-alex")
    far(one, other).sum().backward()
    assert torch.isfinite(one.grad).all()
    assert one.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in far.parameters())


def test_neither_lpips_nor_torchvision_is_imported(hub):
    program = (
        "import sys, torch; from rewrite.perception import distance, extractor\n"
        "distance('lpips-alex')(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)); extractor('lite0')\n"
        "print(sorted({'lpips', 'torchvision', 'torch_fidelity'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_other_weights_than_the_published_are_not_called_lpips(hub):
    identity = distance("lpips-alex").identity
    assert "not LPIPS" in identity.short
    trunk, linear = identity.weights.split("+")
    assert len(bytes.fromhex(trunk)) == len(bytes.fromhex(linear)) == 32


def test_the_published_trunk_is(hub, monkeypatch):
    real = ours.from_hub

    def genuine(url, what):
        found = real(url, what)
        return weights.Weights(found.tensors, "7be5be79" + found.sha256[8:], True)

    monkeypatch.setattr(ours, "from_hub", genuine)
    assert distance("lpips-alex").identity.short == "lpips-alex/v0.1"


def said(call, *match: str) -> str:
    """The one sentence of the RewriteError that the call raises, with all of `match` in it."""
    with pytest.raises(RewriteError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in match:
        assert part in message
    return message


def test_missing_weights_say_where_they_belong(empty_hub):
    said(
        lambda: distance("lpips-alex"),
        f"lpips-alex needs alexnet-owt-7be5be79.pth, which is not in {empty_hub}",
        "no route to host",
        "fetch https://download.pytorch.org/models/alexnet-owt-7be5be79.pth elsewhere and place it there",
        "TORCH_HOME",
    )
    assert list(empty_hub.iterdir()) == []


def test_a_download_lands_in_the_cache_of_torch_under_its_hash(empty_hub, monkeypatch):
    asked = []

    def download(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        asked.append((url, hash_prefix))
        torch.save(alexnet(), path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        distance("lpips-alex")
    assert asked == [("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "7be5be79")]
    assert [path.name for path in empty_hub.iterdir()] == ["alexnet-owt-7be5be79.pth"]


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("bomb"),))


@pytest.mark.parametrize("how", ["truncated", "empty", "text", "code", "a list", "a folder"])
def test_a_damaged_file_is_one_sentence_with_the_remedy(empty_hub, how, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = keep(alexnet(), empty_hub.parents[1], "alexnet-owt-7be5be79.pth")
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("<html>not found</html>")
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        torch.save({"code": Bomb(), "a list": [1, 2]}[how], path)
    said(lambda: distance("lpips-alex"), str(path), "delete it, and let it be downloaded again or fetch https://")
    assert not Path("bomb").exists()


def test_a_trunk_of_another_network_is_refused(empty_hub):
    keep({"features.0.weight": torch.zeros(64, 3, 11, 11)}, empty_hub.parents[1], "alexnet-owt-7be5be79.pth")
    said(lambda: distance("lpips-alex"), "is not the trunk that it is named after", "features.0.bias")
    narrow = alexnet()
    narrow["features.10.weight"], narrow["features.10.bias"] = torch.zeros(128, 256, 3, 3), torch.zeros(128)
    keep(narrow, empty_hub.parents[1], "alexnet-owt-7be5be79.pth")
    said(lambda: distance("lpips-alex"), "[64, 192, 384, 256, 128]")


def test_without_the_lpips_package_nothing_takes_its_place(hub, monkeypatch):
    monkeypatch.setattr(ours, "find_spec", lambda name: None if name == "lpips" else find_spec(name))
    said(lambda: distance("lpips-alex"), "lpips-alex needs", "pip install --no-deps lpips==0.1.4")


def test_unknown_names_name_the_nearest():
    said(lambda: distance("lpips-alexnet"), "no perceptual distance 'lpips-alexnet'; nearest: lpips-alex")
    said(lambda: distance("lpips"), "no perceptual distance")


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (torch.zeros(1, 3, 64, 64), torch.zeros(2, 3, 64, 64), "expected pairs"),
        (torch.zeros(1, 3, 64, 64), torch.full((1, 3, 64, 64), 1.5), "reach 1.5; expected .-1, 1., so clamp"),
        (torch.zeros(1, 3, 64, 64), torch.full((1, 3, 64, 64), torch.nan), "infinite values or none"),
        (torch.zeros(1, 3, 64, 48), torch.zeros(1, 3, 64, 48), "multiples of 32"),
        (torch.zeros(3, 64, 64), torch.zeros(3, 64, 64), r"expected floats \(N, 3, H, W\)"),
        (torch.zeros(1, 3, 64, 64).byte(), torch.zeros(1, 3, 64, 64).byte(), "torch.uint8"),
    ],
)
def test_images_that_are_none_are_refused(one, other, reason):
    with pytest.raises(RewriteError, match=reason):
        distance("pd-lite0")(one, other)
