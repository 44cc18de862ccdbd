"""Semantic-segmentation checkpoints of the package transformers, by folder or by name on the Hugging Face hub.

It comes with `rewrite[transformers]`. A checkpoint's own code is never run, and one in a folder needs no network.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from rewrite.errors import RewriteError

INSTALL = "run `pip install 'rewrite[transformers]'`"


@dataclass(frozen=True)
class PretrainedSegmenter:
    """A `Segmenter` of a model and the image processor that was published with it."""

    name: str
    model: Any
    processor: Any
    classes: tuple[str, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, K, h, w), as coarse as the model's, of images (N, 3, H, W) in [-1, 1]; RewriteError if it fails.

        Images are prepared as the checkpoint asks, but never cropped: logits cover all of them.
        """
        whole = {"do_center_crop": False} if getattr(self.processor, "do_center_crop", None) else {}
        try:
            ready = self.processor(images=list((images + 1) * 127.5), return_tensors="pt", **whole)
            found: Tensor = self.model(pixel_values=ready["pixel_values"].to(images.device)).logits
        except (RuntimeError, ValueError, TypeError) as error:
            height, width = images.shape[-2:]
            raise RewriteError(f"{self.name} cannot label images of {height} x {width} px ({_told(error)})") from error
        return found


def segmenter(name: str, *, device: str = "cpu") -> PretrainedSegmenter:
    """The checkpoint in a folder, or of a name on the hub, NAME or NAME@REVISION; its weights are frozen.

    RewriteError if transformers is missing, or the checkpoint cannot be had, lacks its image processor or weights of
    its own, or is of another task.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir() and name.startswith((".", "/", "~")):
        raise RewriteError(f"{name} is no folder; give one that `save_pretrained` wrote, or a name on the hub")
    repo, _, revision = (str(folder), "", "") if folder.is_dir() else name.partition("@")
    where: dict[str, Any] = {"local_files_only": True} if folder.is_dir() else {"revision": revision or None}
    try:
        model, processor = (
            getattr(import_module("transformers"), part)
            for part in ("AutoModelForSemanticSegmentation", "AutoImageProcessor")
        )
    except (ImportError, AttributeError, RuntimeError) as error:
        raise RewriteError(f"transformers cannot be used ({_told(error)}), and hf: needs it; {INSTALL}") from None
    try:
        network, loaded = model.from_pretrained(repo, output_loading_info=True, **where)
        prepare = processor.from_pretrained(repo, **where)
    except ImportError as error:
        raise RewriteError(f"{name} needs a package that is missing ({_told(error)}); {INSTALL}") from None
    # Whatever a checkpoint, the hub or its client makes them raise, which changes from version to version.
    except Exception as error:
        raise RewriteError(
            f"{name} is no semantic-segmentation checkpoint that can be loaded ({_told(error)}); check the name and "
            f"the network, or give a folder with its config, weights and preprocessor_config.json"
        ) from error
    missing = sorted([*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])])
    if missing:
        raise RewriteError(
            f"{name} has no fitting weights for {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''}, "
            f"so its labels would be noise; give a checkpoint that was trained to segment"
        )
    return PretrainedSegmenter(name, network.requires_grad_(False).eval().to(device), prepare, _names(network.config))


def _names(config: Any) -> tuple[str, ...]:
    """Those of the config; the number follows one that stands twice."""
    names = [str(config.id2label[i]).strip() for i in range(config.num_labels)]
    times = Counter(names)
    return tuple(name if times[name] == 1 else f"{name} {i}" for i, name in enumerate(names))


def _told(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
