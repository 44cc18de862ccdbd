"""Files of every container: recognised by what is in them, and read as their own programs would read them."""

import argparse
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import nvidia
from safetensors.torch import save_file
from torch import Tensor, nn

from rewrite.checkpoints.foreign import Foreign
from rewrite.checkpoints.read import read
from rewrite.errors import RewriteError

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.uint16,
)  # fmt: skip


@pytest.fixture
def opened(tmp_path: Path):
    """What is read from a file of these bytes."""

    def run(content: bytes, name: str = "file.jpg") -> Foreign:
        (tmp_path / name).write_bytes(content)
        return read(tmp_path / name)

    return run


def saved(value: Any, *, old: bool = False, protocol: int = 2) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, _use_new_zipfile_serialization=not old, pickle_protocol=protocol)
    return content.getvalue()


def same(found: Foreign | dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    tensors = found.tensors if isinstance(found, Foreign) else found
    assert set(tensors) == set(expected)
    for name, tensor in expected.items():
        assert (tensors[name].dtype, tensors[name].shape) == (tensor.dtype, tensor.shape)
        # Bits, so that NaN is NaN, and types that cannot be compared are.
        assert torch.equal(bits(tensors[name]), bits(tensor))


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def every_kind() -> dict[str, Tensor]:
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    return {
        **{str(dtype): (torch.rand(3, 2) * 2).to(dtype) for dtype in DTYPES},
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 3),
        "not a number": torch.tensor([float("nan"), float("inf")]),
        "a view": base[1:3, ::2],
        "turned": base.T,
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "parameter": nn.Parameter(torch.ones(2)),
    }


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_torch_files_hold_what_was_saved(opened, old: bool, protocol: int) -> None:
    content = saved(every_kind(), old=old, protocol=protocol)
    found = opened(content)
    assert found.container == ("torch stream" if old else "torch zip")
    assert found.code == ()
    assert found.unexplained == ()
    same(found, every_kind())
    if protocol == 2 and not old:  # Of the others torch reads back less than it writes.
        same(found, torch.load(io.BytesIO(content), weights_only=True))


def test_places_hold_the_very_numbers(opened) -> None:
    for content in (saved(every_kind()), saved(every_kind(), old=True), nvidia.snapshot()):
        found = opened(content)
        assert set(found.network.places) == set(found.tensors)
        for name, place in found.network.places.items():
            stored = bytearray(content[place.offset : place.offset + place.length])
            if stored:
                there = torch.frombuffer(stored, dtype=place.dtype).as_strided(place.shape, place.stride)
                same({name: there.contiguous()}, {name: found.tensors[name]})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_an_nvidia_snapshot(opened, protocol: int) -> None:
    found = opened(nvidia.snapshot(protocol=protocol))
    assert (found.container, found.chosen, set(found.networks)) == ("pickle", "G_ema", {"G", "D", "G_ema"})
    same(found, nvidia.stylegan2(1))
    same(dict(found.networks["G"].tensors), nvidia.stylegan2(0))
    facts = found.network.facts
    assert (facts["class"], facts["origin"], facts["init_kwargs"]["img_resolution"]) == ("Generator", "persistent", 8)
    assert facts["attributes"] == {"z_dim": 3, "w_dim": 5}
    assert facts["modules"]["synthesis"]["attributes"] == {"num_ws": 4, "img_resolution": 8}
    assert found.facts["sources"] == {facts["source"]: nvidia.SOURCE}
    assert found.facts["training_set_kwargs"]["path"] == "x.zip"
    assert found.unexplained == ()
    assert "Generator" in found.code[0]
    assert any("G_ema was chosen by its name" in why for why in found.why)
    json.dumps(found.facts, allow_nan=False)
    json.dumps(facts, allow_nan=False)


def test_a_bare_generator_is_the_file_itself(opened) -> None:
    found = opened(nvidia.dumps(nvidia.network(nvidia.stylegan2(3))))
    assert found.chosen == ""
    same(found, nvidia.stylegan2(3))


def test_numbers_among_attributes_are_kept(opened) -> None:
    """StyleGAN-XL's super-resolution networks can be rebuilt from those alone."""
    attributes = {
        "": {"layer_names": ["L0", "L2"], "rate": np.float64(0.5), "freqs": np.arange(3), "big": np.ones(5000)}
    }
    network = nvidia.network({"w": torch.ones(1)}, attributes=attributes)
    facts = opened(nvidia.dumps({"G_ema": network})).network.facts
    assert facts["attributes"] == {
        "layer_names": ["L0", "L2"], "rate": 0.5, "freqs": [0, 1, 2], "big": {"shape": [5000], "dtype": "float64"},
    }  # fmt: skip


def test_modules_of_torch_inside_are_read_by_their_state(opened) -> None:
    """StyleGAN-XL embeds classes by a plain Embedding; whole modules are what beginners save."""
    network = nvidia.network({"fc.weight": torch.ones(2, 2)})
    network.add_module("embed", nn.Embedding(3, 2))
    same(
        opened(nvidia.dumps({"G_ema": network})), {"fc.weight": torch.ones(2, 2), "embed.weight": network.embed.weight}
    )
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    for old in (False, True):
        found = opened(saved({"netG": module}, old=old))
        same(found, module.state_dict())
        assert found.network.facts["modules"]["1"]["attributes"]["eps"] == 1e-5


def test_discriminators_pickled_by_value_stay_records(opened) -> None:
    """Snapshots of StyleGAN-XL hold functions as code, which their own loader cannot find again."""
    from layouts.assemble import blob, call, dictionary, module, name, number, row, tensor, text, whole

    code = call("dill._dill", "_create_code", number(0), blob(b"\x00"))
    function = call(
        "dill._dill", "_create_function", code, dictionary(x=call("builtins", "getattr", text("a"), text("b")))
    )
    method = function + row(text("self")) + b"R"
    discriminator = call("dill._dill", "_create_type", name("__builtin__", "__main__"), text("D")) + row() + b"\x81"
    content = whole(dictionary(D=discriminator, forward=method, G_ema=module(dictionary(weight=tensor()))))
    found = opened(content)
    assert torch.equal(found.tensors["weight"], torch.tensor([[0.0, 1], [2, 3]]))
    assert {"dill._dill._create_function", "builtins.getattr", "__builtin__.__main__"} <= set(found.unexplained)
    assert any("import and call" in one for one in found.code)


def test_arrays_by_dill(opened) -> None:
    from layouts.assemble import blob, call, dictionary, module, name, number, numbers, row, tensor, text, whole

    kind = call("numpy", "dtype", text("<f8"), b"\x89", b"\x88")
    state = row(number(1), numbers(2), kind, b"\x89", blob(np.array([0.5, 2.0]).tobytes()))
    make = name("numpy.core.multiarray", "_reconstruct")
    args = row(name("numpy", "ndarray"), numbers(0), blob(b"b"))
    array = call("dill._dill", "_create_array", make, args, state, b"N")
    found = opened(whole(dictionary(G_ema=module(dictionary(weight=tensor()), size=array))))
    assert found.network.facts["attributes"] == {"size": [0.5, 2.0]}
    assert found.unexplained == ()


def test_networks_of_tensorflow(opened) -> None:
    found = opened(nvidia.tensorflow())
    assert (found.chosen, found.network.facts["origin"]) == ("Gs", "tensorflow")
    assert found.network.shapes == {
        "lod": (), "synthesis/4x4/Conv/noise_strength": (),
        "dlatent_avg": (5,), "mapping/Dense0/weight": (3, 5), "mapping/Dense0/bias": (5,),
        "synthesis/4x4/Const/const": (1, 4, 4, 4), "synthesis/noise0": (1, 1, 4, 4),
    }  # fmt: skip
    whole = nvidia.loads(nvidia.tensorflow())[2]
    stored = {
        **dict(whole.variables),
        **{f"{key}/{name}": v for key, part in whole.components.items() for name, v in part.variables},
    }
    assert all(
        float(found.tensors[name].float().sum()) == float(torch.as_tensor(v).sum()) for name, v in stored.items()
    )
    assert "lod" not in found.network.places
    assert found.network.facts["init_kwargs"]["resolution"] == 8
    assert list(found.facts["sources"].values()) == [nvidia.SOURCE]


def test_arguments_beside_the_weights_do_not_hide_them(opened) -> None:
    """`argparse.Namespace` is what makes torch refuse rosinality's training checkpoints."""
    value = {
        "g_ema": {"w": torch.ones(2)},
        "args": argparse.Namespace(size=256, lr=0.002),
        "latent_avg": torch.zeros(3),
    }
    for old in (False, True):
        found = opened(saved(value, old=old))
        assert (found.chosen, found.facts["args"]) == ("g_ema", {"size": 256, "lr": 0.002})
        assert torch.equal(found.networks[""].tensors["latent_avg"], torch.zeros(3))
        assert found.code == ()


def test_wrappers_and_prefixes_are_stripped_and_said(opened) -> None:
    w = {"w": torch.ones(2), "b": torch.zeros(2)}

    def prefixed(prefix: str) -> dict[str, Tensor]:
        return {prefix + name: tensor for name, tensor in w.items()}

    for value, chosen, prefix in (
        (w, "", ""),
        (prefixed("module."), "", "module."),
        (prefixed("_orig_mod.module.generator."), "", "_orig_mod.module.generator."),
        ({"state_dict": prefixed("G."), "epoch": 3}, "state_dict", "G."),
        ({"models": {"generator": w, "generator_smooth": prefixed("module.")}}, "models.generator_smooth", "module."),
        ({"params": prefixed(""), "params_ema": w}, "params_ema", ""),
        ({"g": prefixed("x."), "d": prefixed("y."), "g_ema": w}, "g_ema", ""),
        ({"model": {"ema": w}, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, "model.ema", ""),
        (
            {"state_dict": {**prefixed("generator."), **prefixed("discriminator.")}, "hyper_parameters": {"lr": 1}},
            "state_dict.generator", "",
        ),
    ):  # fmt: skip
        found = opened(saved(value))
        assert found.chosen == chosen
        same(found, w)
        assert any(f"{prefix!r}" in why for why in found.why) == bool(prefix), found.why
    assert found.facts["hyper_parameters"] == {"lr": 1}
    assert set(found.networks) == {"state_dict.generator", "state_dict.discriminator"}
    unknown = opened(saved({"one": {"a": torch.ones(1)}, "two": {"a": torch.ones(5)}}))
    assert unknown.chosen == "two"
    assert any("the largest" in why for why in unknown.why)


def test_safetensors_numpy_and_openvino(opened, tmp_path: Path) -> None:
    tensors = {
        name: tensor for name, tensor in every_kind().items() if name not in ("a view", "turned", "channels last")
    }
    save_file(tensors, tmp_path / "x", {"by": "somebody"})
    found = opened((tmp_path / "x").read_bytes())
    assert (found.container, found.facts["metadata"]) == ("safetensors", {"by": "somebody"})
    same(found, tensors)
    arrays = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.asfortranarray(np.eye(3)), "c": np.array(2)}
    for write in (np.savez, np.savez_compressed):
        content = io.BytesIO()
        write(content, **arrays)
        found = opened(content.getvalue())
        assert found.container == "numpy"
        same(
            found,
            {
                name: torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)
                for name, array in arrays.items()
            },
        )
    content = io.BytesIO()
    np.save(content, arrays["b"])
    same(opened(content.getvalue()), {"array": torch.eye(3, dtype=torch.float64)})
    (tmp_path / "net.bin").write_bytes(np.arange(4, dtype="<f4").tobytes())
    xml = (
        '<?xml version="1.0"?><net version="10"><layers><layer id="0" name="m.w" type="Const">'
        '<data element_type="f32" shape="2, 2" offset="0" size="16"/></layer></layers></net>'
    )
    found = opened(xml.encode(), "net.xml")
    assert (found.container, found.facts) == ("OpenVINO IR", {"nodes": {"Const": 1}})
    same(found, {"m.w": torch.arange(4.0).reshape(2, 2)})


def test_what_is_read_is_free_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(saved({"w": torch.ones(3)}))
    before = path.read_bytes()
    tensor = read(path).tensors["w"]
    tensor.zero_()
    assert path.read_bytes() == before
    assert read(path).tensors["w"].tolist() == [1, 1, 1]


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain, st.sampled_from([2, 3, 4, 5]))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_plain_values_are_what_pickle_says(value: Any, protocol: int) -> None:
    import pickle

    from rewrite.checkpoints.pickled.constructors import Constructors
    from rewrite.checkpoints.pickled.effort import Effort
    from rewrite.checkpoints.pickled.machine import Machine
    from rewrite.checkpoints.pickled.values import Blob, Items

    def back(found: Any) -> Any:
        if isinstance(found, Blob):
            return bytes(found.view)
        if isinstance(found, Items):
            return {key: back(one) for key, one in found.pairs}
        return type(found)(map(back, found)) if isinstance(found, list | tuple) else found

    content = pickle.dumps(value, protocol)
    constructors = Constructors(Effort())
    machine = Machine(memoryview(content), 0, constructors.effort, constructors, constructors.known)
    assert back(machine.run()) == value
    assert machine.at == len(content)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none", "No such file"),
        (tmp_path / ("x" * 5000), "name"),
        (Path("/dev/zero"), "regular"),
    ):
        with pytest.raises(RewriteError, match=reason) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_folders_are_described(tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="without a checkpoint"):
        read(tmp_path)
    (tmp_path / "a.pt").touch()
    with pytest.raises(RewriteError, match=r"give one of the files in it: a\.pt"):
        read(tmp_path)
    (tmp_path / "model_index.json").touch()
    with pytest.raises(RewriteError, match="diffusers pipeline"):
        read(tmp_path)
    shutil.rmtree(tmp_path)
