"""The training of the segmenter: reproducible, folded without a trace, and it learns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import train_segmenter
from scenes import CLASSES
from torch.nn import functional as F
from train_segmenter import SMALL, evaluate, folded, measured, normed, painted, shifted, softened, train

from rewrite.concepts.scenes import UNet, segmenter
from rewrite.errors import RewriteError


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As the commands do; the other tests get theirs back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(out: Path, **options: object) -> Path:
    train(out, **{"images": 48, "widths": "4,4,4", "batch": 16, "held_out": 4, "minutes": None, **options})
    return out


def test_the_same_command_gives_the_same_file(tmp_path: Path) -> None:
    one, two = run(tmp_path / "one.safetensors"), run(tmp_path / "two.safetensors")
    assert one.read_bytes() == two.read_bytes()
    assert run(tmp_path / "other.safetensors", seed=1).read_bytes() != one.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"one.safetensors", "two.safetensors", "other.safetensors"}


def test_a_file_states_its_training_and_what_it_is_measured_to_confuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_segmenter, "SMALL", 3)
    file = run(tmp_path / "x.safetensors", images=40, held_out=8)
    tested = segmenter(file)
    assert tested.classes == CLASSES
    assert tested.facts.training["scenes"] == 40
    assert tested.facts.training["labels kept in half precision"] > 0.99
    assert [(part.first, part.scenes) for part in tested.facts.held_out] == [(1_000_000, 3), (1_000_003, 5)]
    assert torch.equal(tested.confusion.counts, measured(tested, range(1_000_000, 1_000_008)).counts)
    assert SMALL == 256
    capsys.readouterr()
    evaluate(file, scenes=8)
    said = capsys.readouterr().out
    assert all(name in said for name in CLASSES)
    assert f"the file says {tested.confusion.mean_iou:.4f}" in said


def test_minutes_end_a_plan(tmp_path: Path) -> None:
    tested = segmenter(run(tmp_path / "x.safetensors", images=100_000, minutes=1e-9))
    assert tested.facts.training["scenes"] == 0


def test_held_out_scenes_are_never_trained_on(tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="held-out"):
        run(tmp_path / "x.safetensors", images=1_000_001)
    assert not list(tmp_path.iterdir())


def test_folding_the_normalisation_changes_nothing() -> None:
    torch.manual_seed(0)
    network = normed(UNet(5, (4, 6, 8)))
    images = torch.randn(8, 3, 16, 16)
    for _ in range(3):
        network(images)
    plain = folded(network)
    assert set(plain.state_dict()) == set(UNet(5, (4, 6, 8)).state_dict())
    torch.testing.assert_close(plain(images), network.eval()(images), rtol=1e-4, atol=1e-5)


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    network = normed(UNet(len(CLASSES), (8, 8, 8)))
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01)
    scenes, truth = painted(range(16))
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(network(scenes), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_shifting_moves_most_scenes_with_their_labels() -> None:
    truth = torch.arange(16 * 64**2).view(16, 64, 64)
    images = truth[:, None].expand(16, 3, 64, 64).float()
    found, labels = shifted(images, truth, torch.Generator().manual_seed(0))
    assert torch.equal(found, labels[:, None].expand(16, 3, 64, 64).float())
    assert found.is_contiguous(memory_format=torch.channels_last)
    offsets = (labels - truth)[:, 32, 32]
    down, right = -torch.round(offsets / 64).long(), -(offsets - 64 * torch.round(offsets / 64).long())
    assert max(down.abs().max(), right.abs().max()) <= train_segmenter.REACH
    assert 0.2 < ((down == 0) & (right == 0)).float().mean() < 0.7
    for n in range(16):
        inner = torch.roll(truth[n], (int(down[n]), int(right[n])), (0, 1))[8:-8, 8:-8]
        assert torch.equal(labels[n, 8:-8, 8:-8], inner)


def test_softening_changes_most_images_a_little_and_spares_the_others() -> None:
    images = painted(range(64))[0]
    found = softened(images, torch.Generator().manual_seed(0))
    assert torch.equal(found, softened(images, torch.Generator().manual_seed(0)))
    apart = (found - images).square().mean((1, 2, 3)).sqrt()
    assert 0.2 < (apart == 0).float().mean() < 0.6
    assert 0.05 < apart[apart > 0].mean() < 0.3
