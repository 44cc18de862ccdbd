"""LoRA adapters as PEFT keeps them: a folder with adapter_model.safetensors and adapter_config.json.

dW = alpha / r . B A, with A (r, in, kernel height, kernel width) and B (out, r): the kernel is on the input side (Hu et
al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"). A rule has it on the output side; of rank r it is a
LoRA of rank r . kh . kw, its own numbers and zeros. Nothing of an adapter is run, its patterns included.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edits import Add, Edit, LowRank, canonical, describe, identity
from edits.errors import EditError
from edits.file import HEADER_LIMIT, open_regular, read_regular, write_atomically
from edits.finite import finite
from rewrite.errors import RewriteError
from rewrite.generator import Generator

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
CONFIG_LIMIT = 2**20
TYPES = (torch.float16, torch.bfloat16, torch.float32)
MEANT_OTHERWISE = (
    "use_dora", "lora_bias", "fan_in_fan_out", "modules_to_save", "layer_replication", "trainable_token_indices",
    "target_parameters", "use_qalora", "alora_invocation_tokens", "velora_config", "use_bdlora", "arrow_config",
)  # fmt: skip
"""Settings with which dW is not alpha / r . B A, or not all there is."""
STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "lora_ga")
"""Ways to start training that leave the base as it is."""
_KEY = re.compile(r"(?:base_model\.model\.)?(?P<path>.+)\.lora_(?P<side>[AB])\.(?:[^.]+\.)?weight")
_NAME = re.compile(r"\^?(?P<name>(?:\w|-|\\?\.)+)\$?")


@dataclass(frozen=True)
class Lora:
    """One module's factors: A (r, in) or (r, in, kh, kw), B (out, r), and what their product is multiplied by."""

    a: Tensor
    b: Tensor
    scaling: float

    @property
    def rank(self) -> int:
        return len(self.a)

    @staticmethod
    def joined(parts: list[Lora]) -> Lora:
        """The sum. Different scalings go into the B, rounded to float32."""
        scalings = {part.scaling for part in parts}
        if len(scalings) == 1:
            return Lora(torch.cat([part.a for part in parts]), torch.cat([part.b for part in parts], 1), scalings.pop())
        folded = [(part.b.double() * part.scaling).float() for part in parts]
        return Lora(torch.cat([part.a for part in parts]), torch.cat(folded, 1), 1.0)


def write(folder: Path, edit: Edit, strength: float | None = None) -> dict[str, Any]:
    """Write an edit as an adapter, at a strength or its own; the configuration that was written.

    Factors are kept as they are, the strength is in alpha. RewriteError for anything but low-rank adds to weights that
    PEFT has a LoRA for: of linear and convolution modules that hold them as (out, in, ...) under the name `weight`.
    """
    loras = factors(edit, edit.strength if strength is None else strength)
    tensors = {}
    for path, lora in loras.items():
        tensors[f"{PREFIX}{path}.lora_A.weight"] = lora.a.contiguous()
        tensors[f"{PREFIX}{path}.lora_B.weight"] = lora.b.reshape(*lora.b.shape, *[1] * (lora.a.ndim - 2)).contiguous()
    first = next(iter(loras.values()))
    recipe = edit.recipe if isinstance(edit.recipe, Mapping) else {}
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": recipe.get("model"),
        "inference_mode": True,
        "r": first.rank,
        "lora_alpha": first.scaling * first.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        # As a list, a name would also stand for every longer one that ends in it.
        "target_modules": f"({'|'.join(re.escape(path) for path in loras)})",
        "rank_pattern": {f"^{re.escape(path)}$": lora.rank for path, lora in loras.items()},
        "alpha_pattern": {f"^{re.escape(path)}$": lora.scaling * lora.rank for path, lora in loras.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    # One key of metadata: the stock writer puts several in any order.
    write_atomically(folder / WEIGHTS, save(tensors, {"format": "pt"}))
    write_atomically(folder / CONFIG, canonical.text(config) + b"\n")
    return config


def factors(edit: Edit, strength: float) -> dict[str, Lora]:
    """By module, in order of name, what an edit is as LoRA."""
    found: dict[str, list[Lora]] = {}
    for member, reached in edit.parts(edit.accepted(strength)):
        for name, operations in member.operations.items():
            for operation in operations:
                if not isinstance(operation, Add) or not isinstance(operation.form, LowRank):
                    raise RewriteError(
                        f"the edit has a {_kind(operation)} of {name}, and LoRA knows low-rank adds alone; export "
                        f"those of `rewrite rule`, or of `rewrite diff` with a rank, without biases"
                    )
                a, b = _lora(name, operation)
                found.setdefault(name.removesuffix(".weight"), []).append(Lora(a, b, reached))
    return {path: Lora.joined(parts) for path, parts in sorted(found.items())}


def read(folder: Path, generator: Generator) -> Edit:
    """The edit of `generator` in an adapter; its base is taken to be these weights, since an adapter does not say.

    Factors are kept as they are. A scaling that all modules share is the edit's strength; different ones are folded
    into the left factors, in float32. RewriteError for an adapter that is damaged, is more than LoRA, or does not fit.
    """
    config, tensors, digest = _config(folder / CONFIG), *_tensors(folder / WEIGHTS)
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None or match["side"] in pairs.get(match["path"], {}):
            raise RewriteError(
                f"{folder} holds {key!r}, which is no factor of a LoRA; expected lora_A and lora_B alone"
            )
        pairs.setdefault(match["path"], {})[match["side"]] = tensor
    loras = {}
    for path, sides in sorted(pairs.items()):
        if set(sides) != {"A", "B"}:
            raise RewriteError(f"{folder} holds lora_{''.join(sides)} of {path} alone; expected both factors")
        loras[path] = Lora(sides["A"], sides["B"].flatten(1), _scaling(config, path, len(sides["A"])))
    if not loras:
        raise RewriteError(f"{folder} holds no factors at all; expected lora_A and lora_B for one module at least")
    shared = {lora.scaling for lora in loras.values()}
    strength = shared.pop() if len(shared) == 1 else 1.0
    layers = {layer.weight: layer for layer in generator.layers.values()}
    stored = identity.state(generator.module)
    operations, upstream = {}, set()
    for path, lora in loras.items():
        name = f"{path}.weight"
        if (layer := layers.get(name)) is not None:
            upstream |= set(layer.upstream)
        if layer is not None and (layer.out_axis, layer.in_axis) != (0, 1):
            raise RewriteError(f"the adapter changes {name}, a {layer.kind}, and PEFT has no LoRA for that; refused")
        left = lora.b if lora.scaling == strength else (lora.b.double() * lora.scaling).float()
        operations[name] = (_add(name, left, lora.a, stored.get(name)),)
    return Edit(
        operations,
        describe(generator.module, operations, upstream, generator.architecture),
        strength=strength,
        made_by={"tool": "rewrite", "version": version("rewrite"), "verb": "import"},
        notes={"adapter": digest, "base": "taken to be the weights it was imported onto; an adapter does not say"},
    )


def _kind(operation: Any) -> str:
    return operation.kind if not isinstance(operation, Add) else f"{operation.form_name} add"


def _lora(name: str, add: Add) -> tuple[Tensor, Tensor]:
    """A (r, in, ...) and B (out, r), float32, whose product is dW, number for number."""
    form, axes = add.form, len(add.shape)
    assert isinstance(form, LowRank)
    kernel = tuple(range(2, axes))
    if name.endswith(".weight") and axes in (2, 4):
        left = _folded(form.left, form.left_axes, add.shape)
        right = _folded(form.right.T, form.right_axes, add.shape)
        if set(form.left_axes) == {0}:
            return right.movedim(-1, 0), left
        if form.right_axes == (1,) and set(form.left_axes) == {0, *kernel}:
            return _turned(left, right)
    raise RewriteError(
        f"the edit changes {name} of shape {add.shape} by {form.left_axes} x {form.right_axes}, for which PEFT has no "
        f"LoRA; expected the `weight` of a linear or convolution module, (out, in, ...), and not of a transposed one"
    )


def _folded(factor: Tensor, axes: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """A factor (rows, r) over its axes in order, then r."""
    order = sorted(range(len(axes)), key=axes.__getitem__)
    return factor.reshape(*(shape[axis] for axis in axes), -1).permute(*order, len(axes))


def _turned(response: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """A rule's factors, (out, kh, kw, r) and (in, r), as LoRA's: one rank for each tap of the kernel."""
    kernel = response.shape[1:-1]
    taps = torch.eye(math.prod(kernel)).reshape(-1, *kernel)
    a = torch.einsum("ir,t...->rti...", context, taps).flatten(0, 1)
    return a, rearrange(response.flatten(1, -2) if kernel else response[:, None], "o t r -> o (r t)")


def _add(name: str, b: Tensor, a: Tensor, weight: Tensor | None) -> Add:
    shape = (len(b), *a.shape[1:])
    if weight is not None and (tuple(weight.shape) != shape or b.ndim != 2 or b.shape[1] != len(a)):
        raise RewriteError(
            f"the adapter's factors for {name} are {tuple(a.shape)} and {tuple(b.shape)}, and the weight is "
            f"{tuple(weight.shape)}; expected (r, in, ...) and (out, r), so give the model that it was trained on"
        )
    return Add(shape, LowRank(b, a.flatten(1), (0,), tuple(range(1, len(shape)))))


def _config(path: Path) -> dict[str, Any]:
    try:
        config = canonical.parse(read_regular(path, CONFIG_LIMIT))
    except OSError as error:
        raise RewriteError(
            f"{path} cannot be read ({error.strerror or error}); give the folder of a PEFT adapter"
        ) from None
    except EditError as error:
        raise RewriteError(f"{path} is no configuration of an adapter: {error}") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        found = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise RewriteError(f"{path} is of an adapter of type {found!r}; only LORA can be an edit")
    if wrong := [name for name in MEANT_OTHERWISE if config.get(name)]:
        raise RewriteError(f"{path} sets {', '.join(wrong)}, with which an adapter is more than LoRA; merge it instead")
    if not isinstance(config.get("alpha_pattern") or {}, dict):
        raise RewriteError(f"{path} has an alpha_pattern that is no object of names; get a fresh copy of it")
    if config.get("bias", "none") not in ("none", None) or config.get("init_lora_weights") not in STARTS:
        raise RewriteError(
            f"{path} has bias {config.get('bias')!r} and init_lora_weights {config.get('init_lora_weights')!r}, which "
            f"change the base as well; expected bias none and a start that leaves it alone"
        )
    return config


def _scaling(config: Mapping[str, Any], path: str, rank: int) -> float:
    alpha = config.get("lora_alpha", 8)
    patterns = config.get("alpha_pattern") or {}
    for pattern, value in patterns.items():
        name = _NAME.fullmatch(pattern)
        if name is None:
            raise RewriteError(
                f"alpha_pattern {pattern!r} is a regular expression, which is not run here; expected a module's name"
            )
        plain = name["name"].replace("\\.", ".")
        if path == plain or (not pattern.startswith("^") and path.endswith(f".{plain}")):
            alpha = value
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha) or not rank:
        raise RewriteError(f"alpha is {alpha!r} for {path}; expected a finite number")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors as float32, and the SHA-256 of the file."""
    try:
        with open_regular(path) as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > HEADER_LIMIT:
                raise RewriteError(f"{path} claims a header of {length} bytes; expected at most {HEADER_LIMIT}")
            # The stock reader takes the last of two keys that are alike, and any depth.
            canonical.parse(stream.read(length))
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        with safe_open(path, framework="pt") as file:
            return {name: _float(name, file.get_tensor(name)) for name in file.keys()}, digest  # noqa: SIM118
    except OSError as error:
        raise RewriteError(
            f"{path} cannot be read ({error.strerror or error}); give the folder of a PEFT adapter"
        ) from None
    except (SafetensorError, MemoryError) as error:
        raise RewriteError(f"{path} is no sound safetensors file ({error}); get a fresh copy of it") from None
    except RewriteError:
        raise
    except EditError as error:
        raise RewriteError(f"{path} is no sound safetensors file: {error}") from None


def _float(name: str, tensor: Tensor) -> Tensor:
    if tensor.dtype not in TYPES or tensor.ndim not in (2, 4) or not finite(tensor):
        raise RewriteError(
            f"{name} is a tensor of {tensor.dtype} and shape {tuple(tensor.shape)}; expected finite float16, bfloat16 "
            f"or float32 numbers on two axes, or four"
        )
    return tensor.float()


__all__ = ["CONFIG", "WEIGHTS", "Lora", "factors", "read", "write"]
