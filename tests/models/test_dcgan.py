"""DCGAN: the checkpoint's names, the tutorial's function."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from rewrite import models
from rewrite.errors import RewriteError
from rewrite.models import dcgan


def tutorial(z: int, channels: list[int]) -> nn.Sequential:
    """The generator as its authors write it: kernel 4, first stride 1, then stride 2."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(z, channels[0], 4, 1, 0, bias=False)]
    for before, after in pairwise(channels):
        layers += [
            nn.BatchNorm2d(before),
            nn.ReLU(True),
            nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
        ]
    return nn.Sequential(*layers, nn.Tanh())


def trained(z: int = 6, channels: tuple[int, ...] = (8, 6, 4, 3)) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Module()
    module.main = tutorial(z, list(channels))
    for _ in range(3):
        module.main(torch.randn(16, z, 1, 1))
    return module.eval().requires_grad_(False)


def test_a_state_dict_gives_the_network_it_came_from() -> None:
    module = trained()
    found = dcgan.from_tensors(module.state_dict())
    assert found.geometry == {"z": 6, "channels": [8, 6, 4, 3]}
    z = torch.randn(3, 6)
    assert torch.allclose(found(z), module.main(z[:, :, None, None]), atol=1e-6)  # type: ignore[operator]
    G = dcgan.generator(found)
    assert torch.allclose(G.synthesize(z), found(z), atol=1e-6)
    assert list(G.layers) == ["main.0", "main.3", "main.6", "main.9"]
    assert (G.resolution, G.z_dim) == (32, 6)
    expected = {name for name in module.state_dict() if not name.endswith("num_batches_tracked")}
    assert set(found.state_dict()) == expected


def test_order_is_the_network_s_not_the_file_s() -> None:
    state = trained().state_dict()
    assert dcgan.from_tensors(dict(sorted(state.items(), reverse=True))).geometry["channels"] == [8, 6, 4, 3]


def test_other_tensors_are_refused() -> None:
    state = dict(trained().state_dict())
    for changed, reason in (
        ({}, "no DCGAN"),
        ({"main.0.weight": torch.ones(2, 2)}, "no DCGAN"),
        (state | {"main.9.weight": torch.ones(4, 3, 1, 1)}, "4 x 4"),
        (state | {"main.9.weight": torch.ones(4, 1, 4, 4)}, "expected 3"),
        (state | {"main.4.weight": torch.ones(5)}, "do not fit"),
        (state | {"other": torch.ones(5)}, "do not fit"),
        ({name: tensor for name, tensor in state.items() if name != "main.1.running_var"}, "do not fit"),
    ):
        with pytest.raises(RewriteError, match=reason) as caught:
            dcgan.from_tensors(changed)
        assert "\n" not in str(caught.value)


@pytest.mark.real
def test_the_real_network_paints_faces() -> None:
    try:
        G = models.load("faces64")
    except RewriteError as error:
        pytest.skip(f"the model faces64 is not in the cache and cannot be pulled: {error}")
    images = G.synthesize(G.latents(range(64)))
    assert images.shape == (64, 3, 64, 64)
    assert 0.3 < float(images.std()) < 0.6
    # Faces are lighter in the middle than a face-less average would be: rows of the mean image differ.
    mean = images.mean((0, 1))
    assert float(mean.std()) > 0.05
    assert "MIT" in G.card["licence"]
