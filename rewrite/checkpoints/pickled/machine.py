"""The pickle machine: protocols 2 to 5, an opcode at a time, over values that cannot run.

Where a pickle would call something, `construct` is given its name and arguments and says what stands for the
result. Opcodes of protocols 0 and 1 that no checkpoint needs (text numbers, INST, OBJ, EXT, ...) are refused.
Strings of bytes are views of the file. Python's `pickletools` documents the opcodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from rewrite.checkpoints.pickled.effort import OBJECT, Effort
from rewrite.checkpoints.pickled.values import Blob, Items, Name, Record, Value
from rewrite.errors import RewriteError

LINE_LIMIT = 512
INTEGER_LIMIT = 64
"""Bytes of an integer."""

_DOUBLE = struct.Struct(">d")


class Construct(Protocol):
    """What stands for the result of calling `name` with `args`; RewriteError if that is refused."""

    def __call__(self, name: Name, args: tuple[Value, ...]) -> Value: ...


class Machine:
    """Reads one pickle from `source`, which lies `base` bytes into the file, or is no part of it if that is None."""

    def __init__(
        self,
        source: memoryview,
        base: int | None,
        effort: Effort,
        construct: Construct,
        known: Callable[[Name], None],
        persistent: Callable[[Value], Value] | None = None,
    ):
        self.source = source
        self.base = base
        self.effort = effort
        self.construct = construct
        self.known = known
        self.persistent = persistent
        self.at = 0
        self.stack: list[Value] = []
        self.below: list[list[Value]] = []
        self.memo: dict[int, Value] = {}

    def run(self, at: int = 0) -> Value:
        """The value of the pickle that begins at `at`; `self.at` is then where it ends. RewriteError if unsound."""
        self.at, self.stack, self.below, self.memo = at, [], [], {}
        source, effort = self.source, self.effort
        try:
            while True:
                code = source[self.at]
                self.at += 1
                effort.left -= 1
                if code == STOP:
                    return self.stack.pop()
                if effort.left < 0:
                    effort.spend(0)
                operation = OPERATIONS.get(code)
                if operation is None:
                    raise RewriteError(
                        f"its pickle has opcode {bytes([code])!r} at byte {self.at - 1}; expected one of protocols 2 "
                        f"to 5, as torch and pickle write them"
                    )
                operation(self)
        except IndexError:
            raise RewriteError(f"its pickle is cut short or damaged before byte {self.at}") from None
        except (KeyError, UnicodeDecodeError, struct.error):
            raise RewriteError(f"its pickle is damaged before byte {self.at}") from None

    def take(self, count: int) -> memoryview:
        """The next `count` bytes, not copied."""
        found = self.source[self.at : self.at + count]
        if len(found) != count:
            raise RewriteError(f"its pickle ends at byte {len(self.source)}, inside a value of {count} bytes")
        self.at += count
        return found

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        """Text up to a line feed, which is taken too."""
        found = bytes(self.source[self.at : self.at + LINE_LIMIT]).partition(b"\n")
        if not found[1]:
            raise RewriteError(f"its pickle names something of more than {LINE_LIMIT} letters at byte {self.at}")
        self.at += len(found[0]) + 1
        return found[0].decode()

    def text(self, length: int) -> None:
        self.effort.text(length)
        self.stack.append(str(self.take(length), "utf-8", "surrogatepass"))

    def old_text(self, length: int) -> None:
        """Of Python 2: letters or bytes, which it does not say."""
        found = self.blob(length)
        self.effort.text(length)
        try:
            self.stack.append(str(found.view, "ascii"))
        except UnicodeDecodeError:
            self.stack.append(found)

    def blob(self, length: int) -> Blob:
        self.effort.spend(OBJECT)
        offset = None if self.base is None else self.base + self.at
        return Blob(self.take(length), offset)

    def integer(self, length: int) -> None:
        if length > INTEGER_LIMIT:
            raise RewriteError(f"its pickle has an integer of {length} bytes; expected {INTEGER_LIMIT} at most")
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def since_mark(self) -> list[Value]:
        """What was pushed since the last mark, taken from the stack with it."""
        found, self.stack = self.stack, self.below.pop()
        return found

    def name(self, module: Value, name: Value) -> None:
        if type(module) is not str or type(name) is not str or len(module) + len(name) > 2 * LINE_LIMIT:
            raise RewriteError("its pickle names something by what is no text")
        self.effort.spend(OBJECT)
        self.effort.text(len(module) + len(name))
        found = Name(module, name)
        self.known(found)
        self.stack.append(found)

    def call(self, what: Value, args: Value) -> None:
        if type(what) is not Name or type(args) is not tuple:
            # Of a function that came by value, say: what it would have made is as unknown as itself.
            what, args = Name(_kind(what), "(called)"), (what, args)
        self.stack.append(self.construct(what, args))

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Record):
            if target.state is not None:
                raise RewriteError(f"its pickle gives one {target.name} two states")
            target.state = state
        elif hasattr(target, "build"):
            target.build(state)
        elif not (isinstance(target, Items) and (state is None or isinstance(state, Items | tuple))):
            raise RewriteError(f"its pickle changes a {_kind(target)}, which no writer does")

    def extend(self, values: list[Value]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Record):
            target.items.extend(values)
        else:
            raise RewriteError(f"its pickle puts values into a {_kind(target)}, which is no list")

    def put(self, values: list[Value]) -> None:
        target = self.stack[-1]
        if len(values) % 2:
            raise RewriteError("its pickle gives a dictionary a key without a value")
        pairs = zip(values[::2], values[1::2], strict=True)
        if isinstance(target, Items):
            target.pairs.extend(pairs)
        elif isinstance(target, Record):
            target.items.extend(pairs)
        else:
            raise RewriteError(f"its pickle puts pairs into a {_kind(target)}, which is no dictionary")


def _kind(value: Value) -> str:
    return str(value.name) if isinstance(value, Record) else type(value).__name__


def _constant(value: Value) -> Callable[[Machine], None]:
    """Of a value that nothing can change."""
    return lambda m: m.stack.append(value)


def _new_of(make: Callable[[], Value]) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(make())


def _push(make: Callable[[Machine], Value]) -> Callable[[Machine], None]:
    def operation(m: Machine) -> None:
        value = make(m)
        # Only now, since making it may have left the stack of a mark.
        m.stack.append(value)

    return operation


def _tuple(count: int) -> Callable[[Machine], None]:
    def operation(m: Machine) -> None:
        if len(m.stack) < count:
            raise IndexError
        m.stack[-count:] = [tuple(m.stack[-count:])]

    return operation


def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.since_mark()


def _mark(m: Machine) -> None:
    m.below.append(m.stack)
    m.stack = []


def _global(m: Machine) -> None:
    module = m.line()
    m.name(module, m.line())


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.name(module, name)


def _reduce(m: Machine) -> None:
    args, what = m.stack.pop(), m.stack.pop()
    m.call(what, args)


def _new(m: Machine) -> None:
    keywords, args, what = m.stack.pop(), m.stack.pop(), m.stack.pop()
    if not (isinstance(keywords, Items) and not keywords.pairs) and type(args) is tuple:
        args = (*args, keywords)
    m.call(what, args)


def _one_item(m: Machine) -> None:
    value = m.stack.pop()
    m.extend([value])


def _one_pair(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.put([key, value])


def _persistent(m: Machine) -> None:
    if m.persistent is None:
        raise RewriteError("its pickle points at data outside of itself, and there is none")
    m.stack.append(m.persistent(m.stack.pop()))


def _memoize(at: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def operation(m: Machine) -> None:
        m.memo[at(m)] = m.stack[-1]

    return operation


STOP = ord(".")
OPERATIONS: dict[int, Callable[[Machine], object]] = {
    # frame and protocol
    0x80: lambda m: _protocol(m.number(1)),
    0x95: lambda m: m.number(8),
    # stack and memo
    ord("("): _mark,
    ord("0"): _pop,
    ord("1"): lambda m: m.since_mark(),
    ord("2"): _push(lambda m: m.stack[-1]),
    ord("q"): _memoize(lambda m: m.number(1)),
    ord("r"): _memoize(lambda m: m.number(4)),
    0x94: _memoize(lambda m: len(m.memo)),
    ord("h"): _push(lambda m: m.memo[m.number(1)]),
    ord("j"): _push(lambda m: m.memo[m.number(4)]),
    # plain values
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("K"): _push(lambda m: m.number(1)),
    ord("M"): _push(lambda m: m.number(2)),
    ord("J"): lambda m: m.integer(4),
    0x8A: lambda m: m.integer(m.number(1)),
    0x8B: lambda m: m.integer(m.number(4)),
    ord("G"): _push(lambda m: _DOUBLE.unpack(m.take(8))[0]),
    # text and bytes
    0x8C: lambda m: m.text(m.number(1)),
    ord("X"): lambda m: m.text(m.number(4)),
    0x8D: lambda m: m.text(m.number(8)),
    ord("U"): lambda m: m.old_text(m.number(1)),
    ord("T"): lambda m: m.old_text(m.number(4)),
    ord("C"): _push(lambda m: m.blob(m.number(1))),
    ord("B"): _push(lambda m: m.blob(m.number(4))),
    0x8E: _push(lambda m: m.blob(m.number(8))),
    0x96: _push(lambda m: m.blob(m.number(8))),
    # containers; a set is a list
    ord(")"): _constant(()),
    ord("]"): _new_of(list),
    ord("}"): _new_of(Items),
    0x8F: _new_of(list),
    ord("t"): _push(lambda m: tuple(m.since_mark())),
    0x91: _push(lambda m: m.since_mark()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("a"): _one_item,
    ord("e"): lambda m: m.extend(m.since_mark()),
    0x90: lambda m: m.extend(m.since_mark()),
    ord("s"): _one_pair,
    ord("u"): lambda m: m.put(m.since_mark()),
    # names, and what would call them
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _reduce,
    0x92: _new,
    ord("b"): Machine.build,
    ord("Q"): _persistent,
}


def _protocol(version: int) -> None:
    if version > 5:
        raise RewriteError(f"its pickle is of protocol {version}; this version reads 2 to 5")


__all__ = ["Construct", "Machine"]
