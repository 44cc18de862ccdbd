"""SNGAN against an obvious second implementation, from mimicry's tensors."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.checkpoints.foreign import Foreign, Network
from rewrite.errors import RewriteError
from rewrite.models.registry import build
from rewrite.models.sngan import SNGAN

Z, SIDE = 5, 3
CHANNELS = [8, 6, 6, 4]


def file(seed: int, classes: int) -> dict[str, Tensor]:
    """A state dict of the library, with what batch norm counts."""
    torch.manual_seed(seed)
    found = {"l1.weight": torch.randn(SIDE**2 * CHANNELS[0], Z) * 0.5, "l1.bias": torch.randn(SIDE**2 * CHANNELS[0])}

    def norm(path: str, channels: int, classes: int) -> None:
        home = f"{path}.bn" if classes else path
        found.update({f"{home}.running_mean": torch.randn(channels), f"{home}.running_var": torch.rand(channels) + 0.5})
        found[f"{home}.num_batches_tracked"] = torch.tensor(7)
        if classes:
            found[f"{path}.embed.weight"] = torch.randn(classes, 2 * channels)
        else:
            found.update({f"{path}.weight": torch.randn(channels), f"{path}.bias": torch.randn(channels)})

    for i in range(1, len(CHANNELS)):
        before, after = CHANNELS[i - 1], CHANNELS[i]
        norm(f"block{i + 1}.b1", before, classes)
        norm(f"block{i + 1}.b2", after, classes)
        for name, into, kernel in (("c1", before, 3), ("c2", after, 3), ("c_sc", before, 1)):
            found[f"block{i + 1}.{name}.weight"] = torch.randn(after, into, kernel, kernel) / (into**0.5 * kernel)
            found[f"block{i + 1}.{name}.bias"] = torch.randn(after) * 0.3
    norm(f"b{len(CHANNELS) + 1}", CHANNELS[-1], 0)
    found[f"c{len(CHANNELS) + 1}.weight"] = torch.randn(3, CHANNELS[-1], 3, 3) * 0.1
    found[f"c{len(CHANNELS) + 1}.bias"] = torch.randn(3) * 0.1
    return found


def obvious(tensors: Mapping[str, Tensor], z: Tensor, label: Sequence[int] | None) -> Tensor:
    """The paper's form, an image at a time, in float64."""
    state = {name: tensor.double() for name, tensor in tensors.items()}

    def convolved(x: Tensor, path: str) -> Tensor:
        kernel = state[f"{path}.weight"]
        return F.conv2d(x[None], kernel, state[f"{path}.bias"], padding=kernel.shape[-1] // 2)[0]

    def doubled(x: Tensor) -> Tensor:
        """Each new cell lies a quarter of an old one from its centre: three parts of that, one of its neighbour."""
        for axis in (1, 2):
            count = x.shape[axis]
            before = x.index_select(axis, torch.arange(count).sub(1).clamp_min(0))
            after = x.index_select(axis, torch.arange(count).add(1).clamp_max(count - 1))
            x = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], dim=axis + 1).flatten(axis, axis + 1)
        return x

    images = []
    for i, one in enumerate(z.double()):

        def normed(x: Tensor, path: str, i: int = i) -> Tensor:
            home = f"{path}.bn" if f"{path}.embed.weight" in state else path
            if home == path:
                scale, offset = state[f"{path}.weight"], state[f"{path}.bias"]
            else:
                assert label is not None
                scale, offset = state[f"{path}.embed.weight"][label[i]].chunk(2)
            x = (x - state[f"{home}.running_mean"][:, None, None]) / (state[f"{home}.running_var"] + 1e-5).sqrt()[
                :, None, None
            ]
            return (x * scale[:, None, None] + offset[:, None, None]).relu()

        x = (state["l1.weight"] @ one + state["l1.bias"]).view(CHANNELS[0], SIDE, SIDE)
        for number in range(2, len(CHANNELS) + 1):
            path = f"block{number}"
            inside = convolved(doubled(normed(x, f"{path}.b1")), f"{path}.c1")
            x = convolved(normed(inside, f"{path}.b2"), f"{path}.c2") + convolved(doubled(x), f"{path}.c_sc")
        images.append(convolved(normed(x, f"b{len(CHANNELS) + 1}"), f"c{len(CHANNELS) + 1}").tanh())
    return torch.stack(images)


@pytest.mark.parametrize("classes", [0, 4])
def test_a_file_gives_the_obvious_images(classes: int) -> None:
    tensors, label = file(0, classes), [3, 1] if classes else None
    module, layout = build(Foreign("torch zip", {"": Network(tensors)}), "the file")
    assert isinstance(module, SNGAN)
    assert module.geometry == {"z": Z, "side": SIDE, "channels": CHANNELS, "classes": classes}
    assert layout.unexplained(tensors) == []
    z = torch.randn(2, Z)
    expected = obvious(tensors, z, label)
    assert float(expected.std()) > 0.1
    assert torch.allclose(module(z, None if label is None else torch.tensor(label)).double(), expected, atol=1e-5)
    written = layout.theirs(module.state_dict())
    assert all(torch.equal(written[name], tensors[name]) for name in written)


def test_files_that_cannot_be_are_refused() -> None:
    tensors = file(0, 0)
    for changed, reason in (
        (tensors | {"block2.c1.sn_u": torch.ones(1, 6)}, "spectral norm in its generator"),
        (tensors | {"c5.weight": torch.ones(1, 4, 3, 3)}, "paints 1 channels"),
        (tensors | {"block3.b2.bias": torch.ones(7)}, "expected"),
        ({name: t for name, t in tensors.items() if name != "block3.c2.bias"}, "lacks block3.c2.bias"),
    ):
        with pytest.raises(RewriteError, match=reason) as caught:
            build(Foreign("torch zip", {"": Network(changed)}), "the file")
        assert "\n" not in str(caught.value)


def test_impossible_geometries_are_errors() -> None:
    for change in ({"z": 0}, {"side": 0}, {"channels": [4]}, {"classes": -1}):
        with pytest.raises(RewriteError, match="no SNGAN has"):
            SNGAN(**({"z": 4, "side": 3, "channels": [4, 4], "classes": 0} | change))
