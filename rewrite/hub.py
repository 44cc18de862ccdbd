"""Edits on the Hugging Face hub, by address: hf://user/repo/file.safetensors, or hf://user/repo@revision/file.

Through the package huggingface_hub, which brings its own cache and knows who you are; it comes with `rewrite[hub]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import edits
from rewrite.errors import RewriteError

# A path leaves one of two slashes.
_ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>.+))?", re.ASCII)
_SCHEME = "hf:/"


@dataclass(frozen=True)
class Address:
    """A repository of models, and in it a file ("" is the repository itself)."""

    repo: str
    file: str = ""
    revision: str | None = None

    def __str__(self) -> str:
        revision, file = f"@{self.revision}" if self.revision else "", f"/{self.file}" if self.file else ""
        return f"hf://{self.repo}{revision}{file}"


def address(text: str | Path) -> Address | None:
    """What `text` names on the hub, or None if it is a path; RewriteError if it begins like one and is none."""
    if not str(text).startswith(_SCHEME):
        return None
    match = _ADDRESS.fullmatch(str(text))
    parts = (match["file"] or "").split("/") if match else []
    if match is None or any(part in (".", "..") for part in (*parts, *match["repo"].split("/"))) or "" in parts[:-1]:
        raise RewriteError(
            f"{str(text)!r} is no address; expected hf://user/repo/file, or hf://user/repo@revision/file"
        )
    return Address(match["repo"], match["file"] or "", match["revision"])


def local(place: str | Path) -> Path:
    """The path of a file; one on the hub is fetched first. RewriteError if it cannot be."""
    found = address(place)
    if found is None:
        return Path(place)
    if not found.file:
        raise RewriteError(f"{found} is a whole repository; add the file: {found}/NAME.safetensors")
    download = _hub("hf_hub_download")
    return Path(_asked(found, download, repo_id=found.repo, filename=found.file, revision=found.revision))


def load(place: str | Path) -> edits.Edit:
    """The edit of a path or an address."""
    return edits.load(local(place))


def push(to: Address, files: Mapping[str, Path | bytes], *, message: str, private: bool = False) -> str:
    """Put files into a repository, which is made if it is not there, in one commit; where they can be seen.

    RewriteError if that cannot be done; then nothing was changed.
    """
    api, addition = _hub("HfApi")(), _hub("CommitOperationAdd")
    contents = {
        name: content if isinstance(content, bytes) else content.read_bytes() for name, content in files.items()
    }
    _asked(to, api.create_repo, repo_id=to.repo, private=private, exist_ok=True)
    commit = _asked(
        to,
        api.create_commit,
        repo_id=to.repo,
        operations=[addition(path_in_repo=name, path_or_fileobj=content) for name, content in contents.items()],
        commit_message=message,
        revision=to.revision,
    )
    return str(getattr(commit, "commit_url", "") or to)


def _asked(what: Address, call: Any, **arguments: Any) -> Any:
    try:
        return call(**arguments)
    # Whatever its client for HTTP raises, which changes from version to version.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RewriteError(
            f"the hub did not do what was asked of {what} ({reason}); check the name, the network, and with "
            f"`hf auth login` who you are"
        ) from error


def _hub(name: str) -> Any:
    try:
        return getattr(import_module("huggingface_hub"), name)
    except ImportError:
        raise RewriteError(
            "huggingface_hub is not installed, and hf:// needs it; run `pip install 'rewrite[hub]'`"
        ) from None
