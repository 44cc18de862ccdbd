"""Any network: its layers are found by watching it, and those that mislead are refused with a reason."""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from rewrite.errors import RewriteError
from rewrite.latents import Name, draw
from rewrite.wrap import wrap


class Net(nn.Module):
    """A network whose middle convolution is whatever a test puts there."""

    def __init__(self, middle: nn.Module, times: int = 1) -> None:
        super().__init__()
        self.start, self.middle, self.last = nn.Linear(4, 4 * 6 * 6), middle, nn.Conv2d(4, 3, 1)
        self.unused, self.times = nn.Linear(2, 2), times

    def forward(self, z: Tensor) -> Tensor:
        x = self.start(z).unflatten(1, (4, 6, 6))
        for _ in range(self.times):
            x = self.middle(x)
        return torch.tanh(self.last(x))


class Equalised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 3


class Hyper(nn.Conv2d):
    """Its weight is made by another tensor on every pass."""

    def __init__(self) -> None:
        super().__init__(4, 4, 1)
        del self.weight
        self.code = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        self.weight = self.code[:, :, None, None].exp()
        return super().forward(x)


def conv(**options: object) -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, **({"padding": 1} | options))  # type: ignore[arg-type]


def tied() -> nn.Module:
    first, second = conv(), conv()
    second.weight = first.weight
    return nn.Sequential(first, second)


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (lambda: conv(groups=2), "grouped"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, padding=1, groups=4), "grouped"),
        (lambda: conv(dilation=2, padding=2), "dilated"),
        (lambda: conv(padding_mode="reflect"), "'reflect'"),
        (lambda: nn.Conv2d(4, 4, 2, padding="same"), "unevenly"),
        (lambda: parametrizations.spectral_norm(conv()), "remove_parametrizations"),
        (lambda: parametrizations.weight_norm(conv()), "remove_parametrizations"),
        (lambda: spectral_norm(conv()), "remove_spectral_norm"),
        (lambda: weight_norm(conv()), "remove_weight_norm"),
        (lambda: prune.l1_unstructured(conv(), "weight", 0.5), "prune.remove"),
        (Hyper, "recomputed on every pass"),
        (lambda: Equalised(4, 4, 3, padding=1), "not what its stored weight makes"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_layers_that_mislead_are_refused_with_a_reason(middle: Callable[[], nn.Module], reason: str) -> None:
    torch.manual_seed(0)
    module = Net(middle()).requires_grad_(False)
    G = wrap(module, latent=4)
    layer = G.layers["middle"]
    assert layer.refuses is not None
    assert reason in layer.refuses
    assert layer.weight in module.state_dict()
    assert layer.shape == tuple(module.state_dict()[layer.weight].shape)
    z = G.latents([1, 2])
    assert torch.allclose(G.run_from(G.run_to("middle", z)), G.synthesize(z), atol=1e-6), "it can still be observed"
    assert G.layers["start"].refuses is None
    assert G.layers["last"].refuses is None


def test_folding_as_advised_makes_a_layer_editable() -> None:
    module = Net(parametrizations.spectral_norm(conv())).requires_grad_(False)
    assert wrap(module, latent=4).layers["middle"].refuses
    nn.utils.parametrize.remove_parametrizations(module.middle, "weight")
    assert wrap(module, latent=4).layers["middle"].refuses is None


def test_twice_is_refused() -> None:
    layer = wrap(Net(conv(), times=2), latent=4).layers["middle"]
    assert layer.refuses is not None
    assert "runs 2 times" in layer.refuses


def test_tied_weights_are_refused_on_both_sides() -> None:
    layers = wrap(Net(tied()), latent=4).layers
    assert "middle.1.weight" in str(layers["middle.0"].refuses)
    assert "middle.0.weight" in str(layers["middle.1"].refuses)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.paint = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, z: Tensor) -> Tensor:
        tokens = self.mix(z[:, None].expand(-1, 4, -1))
        return self.paint(tokens.flatten(0, 1)).view(len(z), 2, 2, 3).permute(0, 3, 1, 2)


def test_sequences_and_folded_batches_are_refused() -> None:
    layers = wrap(Tokens(), latent=4).layers
    assert "(2, 4, 4)" in str(layers["mix"].refuses)
    assert "(8, 4)" in str(layers["paint"].refuses)


def test_layers_come_in_the_order_they_run_and_know_their_sizes() -> None:
    module = Net(nn.ConvTranspose2d(4, 4, 3, stride=2, output_padding=1))
    G = wrap(module, latent=4, name="mine")
    assert list(G.layers) == ["start", "middle", "last"]
    assert (G.resolution, G.z_dim, G.module, G.name) == (14, 4, module, "mine")
    assert G.layers["middle"].in_resolution == (6, 6)
    assert G.layers["middle"].out_resolution == (14, 14)
    assert G.layers["middle"].output_padding == (1, 1)
    assert not module.training
    assert not any(part._forward_hooks for part in module.modules())


def test_latents_may_have_a_convention_of_their_own() -> None:
    def sample(names: Iterable[int | Name]) -> Tensor:
        return draw(names, 4)[:, :, None, None] * 2

    module = nn.Sequential(nn.ConvTranspose2d(4, 3, 4), nn.Tanh())
    G = wrap(module, latent=4, sample=sample)
    assert torch.equal(G.latents([3]), sample([3]))
    assert G.synthesize(G.latents([3, 4])).shape == (2, 3, 4, 4)


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (nn.Linear(4, 4), r"a tensor of shape \(2, 4\)"),
        (nn.Sequential(nn.Linear(4, 8), nn.Unflatten(1, (2, 2, 2))), r"a tensor of shape \(2, 2, 2, 2\)"),
        (nn.LSTM(4, 4), "a tuple"),
    ],
)
def test_what_returns_no_images_is_an_error(module: nn.Module, found: str) -> None:
    with pytest.raises(RewriteError, match=f"returned {found}; expected images"):
        wrap(module, latent=4)


def test_a_network_that_draws_its_own_noise_is_refused() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 1)

        def forward(self, z: Tensor) -> Tensor:
            x = z.reshape(-1, 1, 2, 2)
            return self.conv(x + torch.randn_like(x))

    with pytest.raises(RewriteError, match="other images of the same latents"):
        wrap(Noisy(), latent=4)


def test_a_network_with_damaged_weights_is_refused() -> None:
    module = Net(nn.Conv2d(4, 4, 1))
    next(module.parameters()).data.view(-1)[0] = torch.nan
    with pytest.raises(RewriteError, match="NaN or infinity"):
        wrap(module, latent=4)
