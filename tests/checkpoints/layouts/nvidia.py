"""Pickles as NVIDIA's training code writes them, and the classes that a plain `pickle.load` needs to read them.

The classes stand in modules of the published names; those of a file are told by name alone, so that reading one
back gives modules of torch with the state that was stored.
"""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SOURCE = "raise SystemExit('the source in a checkpoint is never run')\n"
BUFFERS = ("resample_filter", "noise_const", "w_avg", "magnitude_ema", "freqs", "phases", "transform", "up_filter")


class EasyDict(dict):
    """A dictionary whose items are attributes too."""

    __module__ = "dnnlib.util"
    __qualname__ = "EasyDict"

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Persistent(nn.Module):
    """A module that carries the source of its class."""

    class_name: str
    module_src: str

    def __reduce__(self) -> Any:
        state = {k: v for k, v in self.__dict__.items() if k not in ("class_name", "module_src")}
        meta = {
            "type": "class", "version": 6, "module_src": self.module_src, "class_name": self.class_name, "state": state,
        }  # fmt: skip
        return _reconstruct_persistent_obj, (meta,), None


def _reconstruct_persistent_obj(meta: Any) -> Any:
    made = Persistent.__new__(Persistent)
    made.__dict__.update(meta["state"], class_name=meta["class_name"], module_src=meta["module_src"])
    return made


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class Network:
    """A network of the TensorFlow code: its state is all there is."""

    __module__ = "dnnlib.tflib.network"
    __qualname__ = "Network"

    def __init__(self, **state: Any):
        self.__dict__.update(state)


@contextmanager
def importable() -> Iterator[None]:
    """Within it the published module names lead to the classes above."""
    homes: dict[str, Mapping[str, Any]] = {
        "torch_utils": {},
        "torch_utils.persistence": {"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
        "dnnlib": {},
        "dnnlib.util": {"EasyDict": EasyDict},
        "dnnlib.tflib": {},
        "dnnlib.tflib.network": {"Network": Network},
    }
    before = {name: sys.modules.get(name) for name in homes}
    for name, members in homes.items():
        sys.modules[name] = module = types.ModuleType(name)
        module.__path__ = []  # type: ignore[attr-defined]
        vars(module).update(members)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def network(
    tensors: Mapping[str, Tensor],
    class_name: str = "Generator",
    *,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    source: str = SOURCE,
    plain: tuple[str, ...] = (),
    **init_kwargs: Any,
) -> Persistent:
    """A persistent module whose state dict is `tensors`; `attributes` by module path, `plain` paths are of torch."""

    def made(path: str) -> nn.Module:
        if path in plain:
            return nn.Module()
        module = Persistent()
        module.class_name, module.module_src = class_name if not path else f"Part{path.count('.')}", source
        module._init_args, module._init_kwargs = (), EasyDict(init_kwargs if not path else {})  # type: ignore
        for name, value in (attributes or {}).get(path, {}).items():
            module.__dict__[name] = value
        return module

    root = made("")
    for full, tensor in tensors.items():
        *path, name = full.split(".")
        module = root
        for i, part in enumerate(path):
            if part not in module._modules:
                module.add_module(part, made(".".join(path[: i + 1])))
            module = module._modules[part]  # type: ignore[assignment]
        if name in BUFFERS or name.endswith("_filter"):
            module.register_buffer(name, tensor)
        else:
            module.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
    return root  # type: ignore[return-value]


def stylegan2(seed: int, *, resolution: int = 8, channels: int = 4, w: int = 5, z: int = 3) -> dict[str, Tensor]:
    """The names and shapes of a StyleGAN2 with skip connections, of constant width and depth 2."""
    torch.manual_seed(seed)
    smooth = torch.tensor([1.0, 3, 3, 1]).outer(torch.tensor([1.0, 3, 3, 1])) / 64
    found = {
        "mapping.fc0.weight": torch.randn(w, z), "mapping.fc0.bias": torch.randn(w),
        "mapping.fc1.weight": torch.randn(w, w), "mapping.fc1.bias": torch.randn(w),
        "mapping.w_avg": torch.randn(w),
    }  # fmt: skip

    def layer(path: str, out: int, r: int, kernel: int) -> None:
        found[f"{path}.weight"] = torch.randn(out, channels, kernel, kernel)
        found[f"{path}.bias"] = torch.randn(out)
        found[f"{path}.affine.weight"] = torch.randn(channels, w)
        found[f"{path}.affine.bias"] = torch.randn(channels) + 1
        if kernel == 3:
            found[f"{path}.noise_const"] = torch.randn(r, r)
            found[f"{path}.noise_strength"] = torch.randn([])
            found[f"{path}.resample_filter"] = smooth.clone()

    for r in (2**i for i in range(2, resolution.bit_length())):
        if r == 4:
            found["synthesis.b4.const"] = torch.randn(channels, 4, 4)
        else:
            layer(f"synthesis.b{r}.conv0", channels, r, 3)
        found[f"synthesis.b{r}.resample_filter"] = smooth.clone()
        layer(f"synthesis.b{r}.conv1", channels, r, 3)
        layer(f"synthesis.b{r}.torgb", 3, r, 1)
    return found


def snapshot(seed: int = 0, *, protocol: int = 4, **changes: Any) -> bytes:
    """A training snapshot: settings, G, D, G_ema; `changes` replace its entries."""
    G, averaged = (
        network(
            stylegan2(s), z_dim=3, c_dim=0, w_dim=5, img_resolution=8, img_channels=3,
            attributes={"": {"z_dim": 3, "w_dim": 5}, "synthesis": {"num_ws": 4, "img_resolution": 8}},
        )
        for s in (seed, seed + 1)
    )  # fmt: skip
    D = network({"b8.conv0.weight": torch.randn(2, 2, 3, 3), "b4.out.bias": torch.randn(1)}, "Discriminator")
    data = {
        "training_set_kwargs": EasyDict(class_name="training.dataset.ImageFolderDataset", path="x.zip", resolution=8),
        "G": G, "D": D, "G_ema": averaged,
        "augment_pipe": None,
    }  # fmt: skip
    return dumps(data | changes, protocol)


def of_tensorflow(variables: Mapping[str, Any], *, protocol: int = 3, **static: Any) -> bytes:
    """A triple of networks as the TensorFlow code pickles them: variables as "component/name", scalars as numpy's."""

    def part(path: str) -> Network:
        mine = [(name.removeprefix(path), v) for name, v in variables.items() if name.startswith(path)]
        if not path:
            mine = [(name, v) for name, v in mine if not name.startswith(("mapping/", "synthesis/"))]
        return Network(
            version=4, name=path.rstrip("/") or "Gs", static_kwargs=EasyDict(static), components=EasyDict(),
            build_module_src=SOURCE, build_func_name="G_main",
            variables=[(name, np.asarray(v, "f4") if np.ndim(v) else np.float32(v)) for name, v in mine],
        )  # fmt: skip

    whole = part("")
    whole.components = EasyDict(synthesis=part("synthesis/"), mapping=part("mapping/"))
    return dumps((whole, part("none/"), whole), protocol)


def tensorflow(seed: int = 0) -> bytes:
    """Some variables of a TensorFlow network."""
    random = np.random.RandomState(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "lod": (), "dlatent_avg": (5,), "synthesis/4x4/Const/const": (1, 4, 4, 4), "synthesis/noise0": (1, 1, 4, 4),
        "synthesis/4x4/Conv/noise_strength": (), "mapping/Dense0/weight": (3, 5), "mapping/Dense0/bias": (5,),
    }  # fmt: skip
    return of_tensorflow({name: random.randn(*shape) for name, shape in shapes.items()}, resolution=8)


def dumps(value: Any, protocol: int = 4) -> bytes:
    with importable():
        return pickle.dumps(value, protocol)


def loads(content: bytes) -> Any:
    """What an ordinary reader sees."""
    with importable():
        return pickle.loads(content)
