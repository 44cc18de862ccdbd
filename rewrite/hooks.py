"""Observe, replace or stop at a module of a running network, and leave no trace behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from torch import Tensor, nn

from rewrite.errors import RewriteError


class _Stop(Exception):
    """Unwinds a forward pass once the last watched module has been seen."""


class Observed:
    """First inputs and outputs of the watched modules, by the name they were given."""

    def __init__(self) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    def run(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a network, as far as the module named by `last`."""
        with suppress(_Stop):
            function(*arguments)


@contextmanager
def observe(modules: Mapping[str, nn.Module], *, last: str | None = None) -> Iterator[Observed]:
    """Record each module's first input and output; stop the pass at the *input* of `last`.

    Run the network with `Observed.run`. On leaving, a module that was never reached is an error.
    """
    seen, handles = Observed(), []

    def before(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen.inputs[name] = inputs[0].clone()
            if name == last:
                raise _Stop

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
            # A network that goes on in place would write into what was observed.
            seen.outputs[name] = output.clone()

        return hook

    try:
        for name, module in modules.items():
            handles.append(module.register_forward_pre_hook(before(name)))
            handles.append(module.register_forward_hook(after(name)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
    missed = [name for name in modules if name not in seen.inputs]
    if missed:
        raise RewriteError(f"the forward pass never reached {', '.join(missed)}; observe modules that it calls")


@contextmanager
def replace_input(module: nn.Module, value: Tensor) -> Iterator[None]:
    """Within the block the module is given `value` for its first input, whatever it is called with."""
    handle = module.register_forward_pre_hook(lambda _module, inputs: (value, *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def overhear(modules: Mapping[str, nn.Module], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Within the block `see` is given each module's name and output as it runs; it must not write to it."""

    def after(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: see(name, output)

    handles = [module.register_forward_hook(after(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replace_output(module: nn.Module, value: Tensor) -> Iterator[None]:
    """Within the block the module returns `value`, whatever it is called with."""
    handle = module.register_forward_hook(lambda _module, _inputs, _output: value)
    try:
        yield
    finally:
        handle.remove()
