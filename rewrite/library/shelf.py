"""A library as it lies on disk: which entries it has, where their files are, and whether those are the pinned ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import edits
from edits.file import read_regular
from rewrite.check import Bounds, Limit, read_bounds
from rewrite.errors import RewriteError, nearest
from rewrite.library.manifest import BOUNDS, EDIT, LARGEST, Entry, Manifest, read


@dataclass(frozen=True)
class Library:
    """A folder `<root>/<model>/<name>/` an entry, and the manifest that pins them."""

    root: Path
    manifest: Manifest

    @property
    def names(self) -> list[str]:
        """All entries, sorted: those of one model stand together."""
        return sorted(self.manifest.entries)

    def entry(self, name: str) -> Entry:
        """The entry of that name; RewriteError, naming the nearest, if there is none."""
        if name not in self.manifest.entries:
            raise RewriteError(
                f"there is no entry {name!r} in the library; nearest: {nearest(name, self.names)} "
                f"(`rewrite library list` lists them all)"
            )
        return self.manifest.entries[name]

    def folder(self, name: str) -> Path:
        return self.root / name

    def chosen(self, asked: Sequence[str]) -> list[str]:
        """The entries of these models and names, all if none are given, sorted; RewriteError for one that has none.

        Folders of which the manifest knows nothing are among them: a library holds nothing else than it says.
        """
        there = {f"{path.parent.name}/{path.name}" for path in self.root.glob("[!.]*/[!.]*") if path.parent.is_dir()}
        every = sorted({*self.names, *there})
        if not every:
            raise RewriteError(f"there is no entry in the library {self.root}; give the folder of one that has some")
        found = set() if asked else set(every)
        for one in asked:
            below = {name for name in every if one in (name, name.split("/")[0])}
            if not below:
                self.entry(one)
            found |= below
        return sorted(found)

    def edit(self, name: str) -> edits.Edit:
        """An entry's edit as it is shipped, its files checked; RewriteError if it is not shipped, or unsound."""
        if not self.entry(name).is_shipped:
            raise RewriteError(
                f"{name} is shipped as a recipe alone; make its edit with `rewrite library build {name}`"
            )
        check_files(self, name)
        return edits.load(self.folder(name) / EDIT)

    def bounds(self, name: str) -> Bounds:
        """An entry's bounds."""
        return read_bounds(self.folder(name) / BOUNDS)


def opened(root: Path | None = None) -> Library:
    """The library in a folder, by default the one that comes with this package; RewriteError if it is unsound."""
    place = Path(str(files("edits"))) / "library" if root is None else root
    if place.exists() and not place.is_dir():
        raise RewriteError(f"{place} is no folder; expected that of a library")
    return Library(place, read(place))


def check_files(library: Library, name: str) -> None:
    """That the files of an entry are the pinned ones, and that its edit and bounds are of each other.

    RewriteError, or EditError for a file that is no edit, names the first that is not.
    """
    entry, folder = library.entry(name), library.folder(name)
    for place in (folder.parent, folder):
        if place.is_symlink() or not place.is_dir():
            raise RewriteError(f"{place} is no folder; expected that of the library's {name}; get it anew")
    there = {path.name for path in folder.iterdir()}
    for file in sorted(entry.files.keys() - there):
        raise RewriteError(f"{name} lacks its {file}; get the library anew, or add the entry again")
    for other in sorted(there - entry.files.keys()):
        raise RewriteError(f"{name} has a {other} that the manifest does not name; remove it, or add the entry again")
    for file, pinned in sorted(entry.files.items()):
        if digest(folder / file) != pinned:
            raise RewriteError(
                f"{folder / file} is not the file that the manifest pins (SHA-256 {pinned[:12]}); "
                f"get the library anew, or add the entry again"
            )
    if entry.is_shipped and (found := edits.load(folder / EDIT).content) != entry.content:
        raise RewriteError(f"the edit of {name} is {found[:12]}, and the manifest names {entry.content[:12]}; {_AGAIN}")
    bounds = library.bounds(name)
    if not bounds.conditions:
        raise RewriteError(f"the bounds of {name} do not say what they were measured with; {_AGAIN}")
    if bounds.edit != entry.content:
        raise RewriteError(
            f"the bounds of {name} are of edit {str(bounds.edit)[:12]}, not {entry.content[:12]}; {_AGAIN}"
        )
    for loose in _looser(bounds, entry):
        raise RewriteError(f"the bounds of {name} are looser than the manifest says: {loose}; {_AGAIN}")


def digest(path: Path) -> str:
    """SHA-256 of a file of a library; RewriteError if it is a link or cannot be read."""
    try:
        if path.is_symlink():
            raise OSError(0, "it is a link")
        return hashlib.sha256(read_regular(path, LARGEST)).hexdigest()
    except OSError as error:
        raise RewriteError(f"{path} cannot be read ({error.strerror}); get the library anew") from None


_AGAIN = "add the entry again"


def _looser(bounds: Bounds, entry: Entry) -> Iterator[str]:
    for finding, pinned in sorted(entry.limits.items()):
        found = bounds.limits.get(finding, Limit())
        if pinned.most is not None and (found.most is None or found.most > pinned.most):
            most = "anything" if found.most is None else format(found.most, "g")
            yield f"{finding} may be {most}, not {pinned.most:g}"
        if pinned.least is not None and (found.least is None or found.least < pinned.least):
            least = "anything" if found.least is None else format(found.least, "g")
            yield f"{finding} must be {least}, not at least {pinned.least:g}"
