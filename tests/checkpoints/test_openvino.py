"""OpenVINO graphs: constants and edges come out, lies do not; a network survives the way there and back."""

import math
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import torch

from rewrite.checkpoints import openvino
from rewrite.errors import RewriteError
from rewrite.models import mobilestylegan
from rewrite.models.mobilestylegan import MobileStyleGAN


class Writer:
    """A small exporter: each call adds a node and returns its id."""

    def __init__(self) -> None:
        self.layers: list[str] = []
        self.edges: list[str] = []
        self.blob = b""

    def node(self, kind: str, *inputs: int, name: str = "", **data: Any) -> int:
        number = len(self.layers)
        attributes = " ".join(f"{key}={quoteattr(str(value))}" for key, value in data.items())
        self.layers.append(
            f'<layer id="{number}" name={quoteattr(name or f"{kind}_{number}")} type="{kind}">'
            f"<data {attributes}/></layer>"
        )
        # Edges are written last port first: their order in the file means nothing.
        self.edges += [
            f'<edge from-layer="{source}" from-port="0" to-layer="{number}" to-port="{port}"/>'
            for port, source in reversed(list(enumerate(inputs)))
        ]
        return number

    def const(self, value: Any, name: str = "", kind: str = "f32") -> int:
        array = np.asarray(value, openvino.TYPES[kind])
        self.blob += bytes(-len(self.blob) % 4)
        shape, offset = ", ".join(map(str, array.shape)), len(self.blob)
        self.blob += array.tobytes()
        return self.node("Const", name=name, element_type=kind, shape=shape, offset=offset, size=array.nbytes)

    @property
    def xml(self) -> bytes:
        layers, edges = "".join(self.layers), "".join(self.edges)
        return (
            f'<?xml version="1.0" ?><net name="n" version="10"><layers>{layers}</layers><edges>{edges}</edges></net>'
        ).encode()

    def graph(self) -> openvino.Graph:
        return openvino.read(self.xml, self.blob)


def exported(module: MobileStyleGAN, *, slope: float = 0.2, gain: float = math.sqrt(2)) -> tuple[Writer, Writer]:
    """A MobileStyleGAN as Model Optimizer wrote it: demodulated weights and noise have no names."""
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    mapping = Writer()
    x = mapping.node("Parameter", name="var")
    for i in range(module.geometry["depth"]):
        x = mapping.node("MatMul", x, mapping.const(state[f"mapping.{i}.weight"]), transpose_b="true")
        bias = mapping.node("Reshape", mapping.const(state[f"mapping.{i}.bias"]), mapping.const([1, -1], kind="i64"))
        x = mapping.node("PReLU", mapping.node("Add", x, bias), mapping.const([slope]))
        x = mapping.node("Multiply", x, mapping.const([[gain]]))

    net = Writer()
    w = net.node("Parameter", name="style")

    def style(path: str, prefix: str) -> int:
        weight = net.const(state[f"{path}.modulation.weight"], f"m.{prefix}.modulation.weight")
        bias = net.const(state[f"{path}.modulation.bias"][None], f"m.{prefix}.modulation.bias")
        return net.node("Reshape", net.node("Add", net.node("MatMul", w, weight), bias))

    def layer(path: str, x: int, kernel: str) -> int:
        weight = state[f"{path}.{kernel}.weight"]
        fan_in = weight.shape[1] * (1 if path.endswith("to_img") else 9)
        scaled = net.node("Multiply", style(path, f"{path}.conv"), net.const([[[[1 / math.sqrt(fan_in)]]]]))
        x = net.node("Multiply", scaled, x)
        if kernel == "pointwise":
            depthwise = net.const(state[f"{path}.depthwise"][:, None], f"m.{path}.conv.weight_dw")
            x = net.node("GroupConvolution", x, depthwise)
        if path.endswith("to_img"):
            x = net.node("Convolution", x, net.const(weight, f"m.{path}.conv.weight"))
            return net.node("Add", x, net.const(state[f"{path}.conv.bias"][None, :, None, None], f"m.{path}.bias"))
        x = net.node("Convolution", x, net.const(weight))
        x = net.node("Add", x, net.const(state[f"{path}.noise"][None, None]))
        x = net.node("Add", x, net.const(state[f"{path}.bias"][None, :, None, None], f"m.{path}.bias"))
        return net.node("PReLU", x, net.const([slope]))

    x = layer("conv1", net.const(state["input"], "m.input.input"), "conv")
    for i in range(len(module.layers)):
        x = net.node("Multiply", style(f"layers.{i}.up", f"layers.{i}.up"), x)
        haar = net.const(np.full((2, 1, 1, 2, 1), math.sqrt(0.5)))
        x = net.node("GroupConvolutionBackpropData", x, haar)
        x = layer(f"layers.{i}.conv2", layer(f"layers.{i}.conv1", x, "pointwise"), "pointwise")
    layer(f"layers.{len(module.layers) - 1}.to_img", x, "conv")
    return mapping, net


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobilestylegan, "MEAN_DRAWS", 4000)


def small() -> MobileStyleGAN:
    return MobileStyleGAN.random(0, noise=0.1, style=8, depth=3, channels=(8, 8, 4))


@pytest.mark.usefixtures("few_draws")
def test_a_network_survives_the_way_there_and_back() -> None:
    before = small()
    mapping, synthesis = exported(before)
    after = mobilestylegan.from_openvino(mapping.graph(), synthesis.graph())
    assert after.geometry == before.geometry
    for name, tensor in before.state_dict().items():
        if name != "mean_style":
            assert torch.equal(after.state_dict()[name], tensor), name
    many = after.map(torch.randn(20_000, 8))[:, 0]
    assert torch.allclose(after.mean_style, many.mean(0), atol=5 * float(many.std()) / math.sqrt(4000))
    assert after.mapping[0].weight.dtype == torch.float32  # type: ignore[union-attr]


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda: exported(small(), slope=0.1), "is not 0.2"),
        (lambda: exported(small(), gain=1.0), "is not 1.41421"),
        (lambda: (Writer(), exported(small())[1]), "no layers"),
        (lambda: (exported(small())[0], Writer()), "m.input.input"),
        (lambda: tuple(reversed(exported(small()))), "another network|MobileStyleGAN"),
    ],
)
def test_another_network_is_refused(spoil: Callable[[], tuple[Writer, Writer]], reason: str) -> None:
    mapping, synthesis = spoil()
    with pytest.raises(RewriteError, match=reason) as caught:
        mobilestylegan.from_openvino(mapping.graph(), synthesis.graph())
    assert "\n" not in str(caught.value)


def test_constants_of_every_type_and_shape() -> None:
    writer = Writer()
    for kind in openvino.TYPES:
        writer.const([[1, 2, 3], [4, 5, 6]], f"matrix {kind}", kind)
    writer.const(7.0, "scalar")
    graph = writer.graph()
    for kind, dtype in openvino.TYPES.items():
        found = graph.constant(f"matrix {kind}")
        assert found.dtype == np.dtype(dtype)
        assert found.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert graph.constant("scalar").shape == ()


def test_inputs_are_in_port_order_and_walks_end() -> None:
    writer = Writer()
    a, b = writer.const([1.0], "a"), writer.const([2.0], "b")
    writer.node("Add", writer.node("Multiply", a, b, name="product"), b, name="sum")
    graph = writer.graph()
    assert [node.name for node in graph.inputs(graph.named("product"))] == ["a", "b"]
    assert graph.following(graph.named("a"), "Add").name == "sum"
    with pytest.raises(RewriteError, match="no Convolution"):
        graph.following(graph.named("a"), "Convolution")
    with pytest.raises(RewriteError, match="expected a constant"):
        graph.constant("sum")
    loop = Writer()
    loop.node("Add", 1)
    loop.node("Add", 0, name="round")
    with pytest.raises(RewriteError, match="no Const"):
        loop.graph().following(loop.graph().named("round"), "Const")


def const(**data: Any) -> bytes:
    fields = {"element_type": "f32", "shape": "2, 2", "offset": "0", "size": "16"} | data
    writer = Writer()
    writer.node("Const", name="c", **fields)
    return writer.xml


@pytest.mark.parametrize(
    "data",
    [
        {"offset": "1"},
        {"offset": "-1"},
        {"offset": str(2**63)},
        {"offset": "9" * 5000},
        {"size": "12"},
        {"size": "0x10"},
        {"shape": "2, -2"},
        {"shape": f"{2**14}, {2**14}, {2**14}, {2**14}, {2**14}"},
        {"shape": ", ".join(["1"] * 9), "size": "4"},
        {"shape": "٢, 2"},
        {"element_type": "object"},
        {"element_type": "f64"},
        {"size": ""},
    ],
)
def test_constants_that_lie_are_refused(data: dict[str, str]) -> None:
    graph = openvino.read(const(**data), bytes(16))
    with pytest.raises(RewriteError) as caught:
        graph.constant("c")
    assert "\n" not in str(caught.value)
    assert openvino.read(const(), bytes(16)).constant("c").shape == (2, 2)


HOSTILE = {
    "doctype": b'<!DOCTYPE net [<!ENTITY a "b">]><net version="10">&a;</net>',
    "doctype in utf-16": '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE net><net version="10"/>'.encode("utf-16"),
    "external": b'<!DOCTYPE net SYSTEM "file:///etc/passwd"><net version="10"/>',
    "cut": b'<net version="10"><layers>',
    "empty": b"",
    "binary": bytes(range(256)),
    "other version": b'<net version="11"/>',
    "no version": b"<net/>",
    "other root": b'<html><net version="10"/></html>',
    "unknown encoding": b'<?xml version="1.0" encoding="klingon"?><net version="10"/>',
    "edge to nowhere": b'<net version="10"><edge from-layer="1" to-layer="2" to-port="0"/></net>',
    "port": b'<net version="10"><edge from-layer="1" to-layer="2" to-port="x"/></net>',
    "same id": b'<net version="10"><layer id="1"/><layer id="1"/></net>',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_graphs_get_one_sentence(case: str) -> None:
    with pytest.raises(RewriteError) as caught:
        openvino.read(HOSTILE[case], b"")
    assert "\n" not in str(caught.value)


def test_elements_and_bytes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "ELEMENT_LIMIT", 1000)
    with pytest.raises(RewriteError, match="more than 1000 elements"):
        openvino.read(b'<net version="10">' + b"<a>" * 5000, b"")
    monkeypatch.setattr(openvino, "XML_LIMIT", 100)
    with pytest.raises(RewriteError, match="100 at most"):
        openvino.read(b" " * 101, b"")


def test_nesting_costs_no_stack() -> None:
    deep = 200_000
    openvino.read(b'<net version="10">' + b"<a>" * deep + b"</a>" * deep + b"</net>", b"")
