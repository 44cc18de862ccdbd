"""Observing, stopping and replacing leave no trace behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rewrite import hooks
from rewrite.errors import RewriteError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2))


def hook_count(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_a_pass_stops_at_the_last_watched_module():
    net, x = network(), torch.ones(1, 3)
    ran = []
    net[2].register_forward_hook(lambda *_: ran.append(True))
    with hooks.observe({"first": net[0], "second": net[1]}, last="second") as seen:
        seen.run(net, x)
    torch.testing.assert_close(seen.inputs["second"], net[0](x))
    torch.testing.assert_close(seen.outputs["first"], net[0](x))
    assert not ran
    assert "second" not in seen.outputs


def test_what_is_never_reached_is_an_error():
    net = network()
    with pytest.raises(RewriteError, match="never reached stray"), hooks.observe({"stray": nn.Linear(1, 1)}) as seen:
        seen.run(net, torch.ones(1, 3))


def test_no_hook_outlives_its_block():
    net = network()
    with pytest.raises(ValueError, match="boom"), hooks.observe({"a": net[0]}, last="a"):
        raise ValueError("boom")
    with pytest.raises(ValueError, match="boom"), hooks.replace_input(net[1], torch.zeros(1, 4)):
        raise ValueError("boom")
    assert hook_count(net) == 0


def test_a_replaced_input_is_what_the_module_sees():
    net, x, other = network(), torch.ones(1, 3), torch.randn(1, 4)
    with hooks.replace_input(net[1], other):
        replaced = net(x)
    torch.testing.assert_close(replaced, net[2](net[1](other)))
    assert not torch.equal(replaced, net(x))
