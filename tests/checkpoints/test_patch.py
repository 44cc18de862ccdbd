"""The same kind of file back: every byte as it was but the numbers that changed, and its own program reads it."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import nvidia
from safetensors.torch import load, save

from rewrite.checkpoints.patch import write
from rewrite.checkpoints.read import read
from rewrite.errors import RewriteError

NAME = "synthesis.b8.conv0.weight"


def written(content: bytes, tmp_path: Path, changes) -> bytes:
    source, out = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(content)
    write(source, out, changes)
    return out.read_bytes()


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_snapshot_keeps_all_other_bytes_and_a_plain_reader_sees_the_weights(protocol: int, tmp_path: Path) -> None:
    content = nvidia.snapshot(protocol=protocol)
    torch.manual_seed(9)
    changes = {
        name: torch.randn(nvidia.stylegan2(1)[name].shape) for name in (NAME, "synthesis.b4.conv1.noise_strength")
    }
    after = written(content, tmp_path, {"G_ema": changes})
    assert len(after) == len(content)
    touched = np.zeros(len(content), dtype=bool)
    for name in changes:
        place = read(tmp_path / "in.bin").network.places[name]
        touched[place.offset : place.offset + place.length] = True
    differs = np.frombuffer(after, np.uint8) != np.frombuffer(content, np.uint8)
    assert not differs[~touched].any()
    assert differs[touched].any()
    before, seen = nvidia.loads(content), nvidia.loads(after)
    for network in ("G", "D", "G_ema"):
        for name, tensor in before[network].state_dict().items():
            expected = changes.get(name, tensor) if network == "G_ema" else tensor
            assert torch.equal(seen[network].state_dict()[name], expected), (network, name)
    assert seen["G_ema"].module_src == nvidia.SOURCE
    assert pickle.dumps(seen["training_set_kwargs"]["path"]) == pickle.dumps("x.zip")


def test_nothing_changed_is_the_file_itself(tmp_path: Path) -> None:
    content = nvidia.snapshot()
    assert written(content, tmp_path, {}) == content
    assert written(content, tmp_path, {"G_ema": nvidia.stylegan2(1)}) == content


def test_archives_streams_and_safetensors(tmp_path: Path) -> None:
    turned = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    value = {"g_ema": {"module.w": turned, "module.h": torch.ones(3).half()}, "step": 3}
    new = {"w": torch.randn(2, 3, 4, 4), "h": torch.full((3,), 0.25)}
    for old in (False, True):
        content = io.BytesIO()
        torch.save(value, content, _use_new_zipfile_serialization=not old)
        after = written(content.getvalue(), tmp_path, {"g_ema": new})
        assert len(after) == len(content.getvalue())
        seen = torch.load(io.BytesIO(after), weights_only=True)
        assert torch.equal(seen["g_ema"]["module.w"], new["w"])
        assert seen["g_ema"]["module.w"].stride() == turned.stride()
        assert torch.equal(seen["g_ema"]["module.h"], new["h"].half())
        if not old:
            with zipfile.ZipFile(io.BytesIO(after)) as archive:
                assert archive.testzip() is None  # Checksums too.
    after = written(save({"w": torch.ones(2), "v": torch.ones(2)}), tmp_path, {"": {"v": torch.zeros(2)}})
    assert {name: tensor.tolist() for name, tensor in load(after).items()} == {"w": [1, 1], "v": [0, 0]}
    packed = io.BytesIO()
    np.savez(packed, w=np.ones(3, "f4"))
    with np.load(io.BytesIO(written(packed.getvalue(), tmp_path, {"": {"w": torch.zeros(3)}}))) as arrays:
        assert arrays["w"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"G_ema": {"synthesis.b8.conv9.weight": torch.ones(1)}}, "has no tensor G_ema.synthesis.b8.conv9.weight"),
        ({"Gs": {NAME: torch.ones(1)}}, "has no tensor Gs"),
        ({"G_ema": {NAME: torch.ones(4, 4, 3)}}, "has shape"),
        ({"G_ema": {NAME: torch.full((4, 4, 3, 3), float("nan"))}}, "not finite"),
        ({"G_ema": {NAME: torch.full((4, 4, 3, 3), 1e300, dtype=torch.float64)}}, "too large for torch.float32"),
    ],
)
def test_what_the_file_cannot_hold_is_refused(changes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match=reason) as caught:
        written(nvidia.snapshot(), tmp_path, changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.bin").exists()


def test_shared_packed_and_whole_numbers_are_refused(tmp_path: Path) -> None:
    shared, content = torch.ones(4), io.BytesIO()
    torch.save({"a": shared, "b": shared[:2], "n": torch.arange(3), "e": torch.ones(1).expand(1)}, content)
    packed = io.BytesIO()
    np.savez_compressed(packed, w=np.ones(3, "f4"))
    for source, changes, reason in (
        (content.getvalue(), {"a": torch.zeros(4)}, "as the same numbers"),
        (content.getvalue(), {"b": torch.zeros(2)}, "as the same numbers"),
        (content.getvalue(), {"n": torch.zeros(3)}, "with a point"),
        (packed.getvalue(), {"w": torch.zeros(3)}, "not store w as plain numbers"),
    ):
        with pytest.raises(RewriteError, match=reason):
            written(source, tmp_path, {"": changes})
    with pytest.raises(RewriteError, match=r"not store G_ema\.mapping\.w_avg as plain"):
        written(nvidia.snapshot(protocol=2), tmp_path, {"G_ema": {"mapping.w_avg": torch.zeros(5)}})
