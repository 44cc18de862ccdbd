"""The closed table: what each name that checkpoints are made with stands for. Anything else is an inert record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import torch

from rewrite.checkpoints.pickled import arrays, sinks, stream
from rewrite.checkpoints.pickled.effort import OBJECT, Effort
from rewrite.checkpoints.pickled.values import Blob, Items, Name, Record, Value
from rewrite.checkpoints.strided import Storage, Strided, strided
from rewrite.errors import RewriteError

SOURCE_LIMIT = 16 * 2**20
SOURCES_LIMIT = 1000


class Constructors:
    """Says what a call stands for, and remembers what the file would have run or named that nothing here knows."""

    def __init__(self, effort: Effort):
        self.effort = effort
        self.unknown: dict[str, None] = {}
        self.persistent: dict[str, None] = {}
        """Classes that come with their source."""
        self.sources: dict[str, str] = {}
        """By SHA-256."""
        self._digests: dict[str, str] = {}
        self._nested = False

    def inner(self) -> Constructors:
        """For a stream inside of a pickle, which holds no further one."""
        if self._nested:
            raise RewriteError("its pickle nests streams in streams, which no writer does")
        found = Constructors(self.effort)
        found.unknown, found.sources, found._nested = self.unknown, self.sources, True
        return found

    def known(self, name: Name) -> None:
        """Called with each name in the file, before it is used; RewriteError if it is one of `sinks`."""
        sinks.refuse(name)
        if self._make(name) is None and not _inert(name):
            self.unknown[str(name)] = None

    def beside(self, sources: Mapping[str, str]) -> None:
        """Classes whose source torch wrote beside them."""
        for name, source in sources.items():
            self.persistent[name] = None
            self.keep(source)

    def keep(self, source: str) -> str:
        """Keep Python source as text; its SHA-256."""
        if source not in self._digests:
            digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
            letters = sum(map(len, self.sources.values())) + len(source)
            if letters > SOURCE_LIMIT or len(self.sources) >= SOURCES_LIMIT:
                raise RewriteError(
                    f"it holds more than {SOURCE_LIMIT} letters of Python source, or of {SOURCES_LIMIT} files; it is "
                    f"refused"
                )
            self.sources[digest] = source
            self._digests[source] = digest
        return self._digests[source]

    def __call__(self, name: Name, args: tuple[Value, ...]) -> Value:
        make = self._make(name)
        return Record(name, args) if make is None else make(self, args)

    def _make(self, name: Name) -> Callable[[Constructors, tuple[Value, ...]], Value] | None:
        # These two are copied from project to project, under other modules.
        if name.name == "_reconstruct_persistent_obj" and name.module.split(".")[-1] == "persistence":
            return _persistent
        if name.name == "EasyDict":
            return _mapping
        return TABLE.get((name.module, name.name))


_COMMON = (
    "dnnlib.tflib.network.Network tfutil.Network argparse.Namespace types.SimpleNamespace "
    "numpy.ndarray torch.Tensor torch.device torch.nn.parameter.Parameter "
    "pathlib.Path pathlib.PosixPath pathlib.WindowsPath pathlib.PurePosixPath datetime.datetime datetime.timedelta "
    "builtins.dict builtins.list builtins.int builtins.float builtins.str builtins.tuple builtins.object"
)
INERT = frozenset(_COMMON.split())


def _inert(name: Name) -> bool:
    """Whether it is common knowledge, and a record of it says enough."""
    return (
        str(name) in INERT
        or name.module.startswith("torch.nn.modules.")
        or (name.module == "torch" and (name.name.endswith("Storage") or _is_dtype(name.name)))
        or (name.module in ("torch.cuda", "torch.storage") and name.name.endswith("Storage"))
    )


TORCH_KINDS = {str(kind).removeprefix("torch."): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}


def _is_dtype(name: str) -> bool:
    return name in TORCH_KINDS


def _persistent(table: Constructors, args: tuple[Value, ...]) -> Value:
    """An object of NVIDIA's `persistence`: class name, state, and the source of its module, which is not run."""
    match args:
        case (Items() as meta,):
            found = meta.named(table.effort)
            name, source = found.get("class_name"), found.get("module_src")
            if type(name) is str and (source is None or type(source) is str):
                record = Record(Name("persistent", name), (), table.keep(source) if source else None)
                record.state = found.get("state")
                table.persistent[name] = None
                return record
    raise RewriteError("it holds a persistent object in a form that NVIDIA's code does not write")


def _mapping(table: Constructors, args: tuple[Value, ...]) -> Value:
    found = Items()
    match args:
        case (Items() as other,) | (_, Items() as other):
            table.effort.spend(len(other.pairs))
            found.pairs.extend(other.pairs)
        case (list(pairs),):
            table.effort.spend(len(pairs))
            for pair in pairs:
                if not isinstance(pair, list | tuple) or len(pair) != 2:
                    raise RewriteError("a dictionary is made of something else than pairs")
                found.pairs.append((pair[0], pair[1]))
    return found


def _sequence(table: Constructors, args: tuple[Value, ...]) -> Value:
    match args:
        case ():
            return []
        case (list() | tuple() as values,):
            table.effort.spend(len(values))
            return list(values)
    raise RewriteError("a set is made of something else than a list")


def _bytes(table: Constructors, args: tuple[Value, ...]) -> Value:
    """Bytes, which protocol 2 writes as text in Latin-1."""
    match args:
        case ():
            table.effort.spend(OBJECT)
            return Blob(memoryview(b""), None)
        case (Blob() as blob,):
            return blob
        case (str(text), "latin1" | "latin-1"):
            table.effort.spend(OBJECT)
            table.effort.text(len(text))
            try:
                return Blob(memoryview(text.encode("latin-1")), None)
            except UnicodeEncodeError:
                pass
    raise RewriteError("its pickle makes bytes of something that is none")


def _storage(table: Constructors, args: tuple[Value, ...]) -> Value:
    match args:
        case (Blob() as blob,):
            return stream.single(blob.view, blob.offset, table)
    raise RewriteError("a tensor's numbers are no bytes")


def _tensor(_: Constructors, args: tuple[Value, ...]) -> Value:
    match args:
        case (Storage() as storage, start, shape, stride, *_):
            return strided(storage, start, shape, stride)
    raise RewriteError("it holds a tensor in a form that torch does not write")


def _tensor_of_dtype(_: Constructors, args: tuple[Value, ...]) -> Value:
    match args:
        case (Storage() as storage, start, shape, stride, _, _, Name("torch", kind), *_) if _is_dtype(kind):
            return strided(storage, start, shape, stride, TORCH_KINDS[kind])
    raise RewriteError("it holds a tensor in a form that torch does not write")


def _parameter(_: Constructors, args: tuple[Value, ...]) -> Value:
    match args:
        case (Strided() as tensor, *_):
            return tensor
    return Record(Name("torch.nn.parameter", "Parameter"), args)


def _with_attributes(table: Constructors, args: tuple[Value, ...]) -> Value:
    """A tensor that has attributes, which are left out."""
    match args:
        case (Name() as what, Name(), tuple() as inner, *_) if what.name != "_rebuild_from_type_v2":
            return table(what, inner)
    raise RewriteError("it holds a tensor in a form that torch does not write")


TABLE: Mapping[tuple[str, str], Callable[[Constructors, tuple[Value, ...]], Value]] = {
    ("collections", "OrderedDict"): _mapping,
    ("collections", "defaultdict"): _mapping,
    ("collections", "Counter"): _mapping,
    ("builtins", "set"): _sequence,
    ("__builtin__", "set"): _sequence,
    ("builtins", "frozenset"): _sequence,
    ("__builtin__", "frozenset"): _sequence,
    ("builtins", "bytearray"): _bytes,
    ("__builtin__", "bytearray"): _bytes,
    ("__builtin__", "bytes"): _bytes,
    ("builtins", "bytes"): _bytes,
    ("_codecs", "encode"): _bytes,
    ("torch", "Size"): lambda table, args: tuple(_sequence(table, args)),
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _with_attributes,
    ("dill._dill", "_create_array"): lambda table, args: arrays.by_dill(args, table.effort),
    ("numpy", "dtype"): lambda _, args: arrays.dtype(args),
    **{
        (f"numpy.{core}.{place}", name): make
        for core in ("core", "_core")
        for place, name, make in (
            ("multiarray", "_reconstruct", lambda table, _: arrays.Array(table.effort)),
            ("multiarray", "scalar", lambda table, args: arrays.scalar(args, table.effort)),
            ("numeric", "_frombuffer", lambda table, args: arrays.from_buffer(args, table.effort)),
        )
    },
}


__all__ = ["Constructors"]
