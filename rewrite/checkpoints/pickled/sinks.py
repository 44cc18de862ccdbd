"""Names that only a file made to do harm would call. Nothing here calls them; a file that names one is refused."""

from __future__ import annotations

from rewrite.checkpoints.pickled.values import Name
from rewrite.errors import RewriteError

# What genuine snapshots name stays out, since it is only written down here: StyleGAN-XL's hold functions by value
# and `builtins.getattr`.
_MODULES = (
    "os posix nt subprocess sys socket ctypes _ctypes shutil pty runpy importlib imp code codeop pdb bdb timeit "
    "webbrowser commands popen2 pickle _pickle cPickle marshal shelve multiprocessing _posixsubprocess asyncio "
    "urllib http ftplib smtplib tempfile zipimport pkgutil pip ensurepip cffi _winapi winreg msvcrt"
)
_BUILTINS = "eval exec execfile compile __import__ open input raw_input globals breakpoint help exit"
MODULES, BUILTINS = frozenset(_MODULES.split()), frozenset(_BUILTINS.split())
ANYWHERE = frozenset({"os", "posix", "nt", "subprocess", "sys", "socket", "ctypes"})
"""Also where another module leads to them."""
MEMBERS = frozenset(
    {
        ("torch", "load"), ("torch.serialization", "load"), ("torch.hub", "load"), ("numpy", "load"),
        ("dill", "loads"), ("dill._dill", "loads"), ("cloudpickle", "loads"), ("joblib", "load"),
    }
)  # fmt: skip


def refuse(name: Name) -> None:
    """RewriteError if this is such a name, also one that reaches through another module (`torch.serialization.os`)."""
    root, *inner = f"{name.module}.{name.name}".split(".")
    builtin = root in ("builtins", "__builtin__", "__builtins__")
    if (
        root in MODULES
        or ANYWHERE & set(inner)
        or (builtin and BUILTINS & set(inner))
        or (name.module, name.name) in MEMBERS
    ):
        raise RewriteError(
            f"it would call {_short(str(name))} wherever it is unpickled, which no checkpoint needs; nothing of it was "
            f"run: do not open it with anything else, and tell whoever offers it"
        )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


__all__ = ["refuse"]
