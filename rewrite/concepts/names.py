"""Segmenters by name. A name gives that one, or an error: never another."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from rewrite.concepts import faces, pretrained, scenes
from rewrite.concepts.groups import Groups, grouped, read
from rewrite.concepts.interface import Segmenter, class_names
from rewrite.errors import RewriteError, nearest
from rewrite.progress import Progress, quiet

HUB = "hf:"
PLACE = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<path>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")


def segmenter(
    source: str | Path | Callable[..., Any],
    *,
    groups: Groups | str | Path | None = None,
    device: str = "cpu",
    progress: Progress = quiet,
) -> Segmenter:
    """The segmenter that `source` names, with its classes taken together by `groups`, a mapping or a YAML file of one.

    `scenes`, or the .safetensors file of another segmenter of scenes; `faces`; `hf:NAME` or a folder, for a checkpoint
    of transformers; `package.module:function`, looked for in the current folder too; or any callable that has
    `classes` and takes images to logits (a class is called without arguments first), which stays on its own device.
    RewriteError, in one sentence, if there is no such segmenter or its classes are not those that `groups` names.
    """
    found = _named(str(source), device, progress) if isinstance(source, str | Path) else _callable(source)
    if groups is None:
        return found
    return grouped(found, read(Path(groups)) if isinstance(groups, str | Path) else groups)


def _named(name: str, device: str, progress: Progress) -> Segmenter:
    path = Path(name).expanduser()
    if name == "scenes":
        return scenes.segmenter(device=device)
    if name == "faces":
        return faces.segmenter(device=device, progress=progress)
    if name.startswith(HUB):
        return pretrained.segmenter(name.removeprefix(HUB), device=device)
    if path.suffix == ".safetensors":
        return scenes.segmenter(path, device=device)
    if name and path.is_dir():
        return pretrained.segmenter(name, device=device)
    if place := PLACE.fullmatch(name):
        return _callable(_imported(place["module"], place["path"]), name)
    raise RewriteError(
        f"there is no segmenter {name!r}; nearest: {nearest(name, ['scenes', 'faces'])}, or give hf:NAME, a folder, "
        f"or package.module:function"
    )


def _imported(module: str, path: str) -> Any:
    here = os.getcwd()
    sys.path.append(here)
    try:
        found: Any = import_module(module)
    # Importing runs what a person wrote, which may raise anything.
    except Exception as error:
        raise RewriteError(
            f"{module} cannot be imported ({type(error).__name__}: {error}); check the name, and that the package is "
            f"installed or in the current folder"
        ) from error
    finally:
        sys.path.remove(here)
    for part in path.split("."):
        if not hasattr(found, part):
            raise RewriteError(f"{module} has no {path}; nearest: {nearest(part, dir(found))}")
        found = getattr(found, part)
    return found


def _callable(found: Any, name: str | None = None) -> Segmenter:
    name = name or str(getattr(found, "__name__", type(found).__name__))
    if isinstance(found, type):
        try:
            found = found()
        except TypeError as error:
            raise RewriteError(f"{name} cannot be made without arguments ({error}); give one that was made") from error
    if not callable(found):
        raise RewriteError(f"{name} is of type {type(found).__name__}; expected a callable, from images to logits")
    if not hasattr(found, "classes"):
        raise RewriteError(
            f"{name} has no classes; give it a tuple of the names of its logits, `{name.rpartition(':')[2]}.classes = "
            f"(...)`"
        )
    class_names(found)
    return cast(Segmenter, found)
