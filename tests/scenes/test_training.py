"""The training: a step moves both networks, and a run that was killed goes on as if it had not been."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import train_scenes
from scenes import archive, render
from scenes.contest import Contest, blurred, sampled
from scenes.discriminator import Discriminator
from scenes.settings import Settings, Shape
from typer.testing import CliRunner

import rewrite
from rewrite.errors import RewriteError

TINY = Shape(channels=(8, 8, 8, 8, 4), z=8, w=8, depth=2, critic=(4, 4, 8, 8, 8))
SETTINGS = Settings(batch=4, warm=16, images=64, growth=((16, 8), (32, 16)), fade=8)
DATA = render(range(24))[0]


def train(contest: Contest, steps: int) -> Contest:
    for _ in range(steps):
        batch = archive.batch(DATA, contest.images, SETTINGS.batch)
        contest.step(torch.from_numpy(batch).float() / 127.5 - 1, SETTINGS)
    return contest


def weights(contest: Contest) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor.clone()
        for part in ("G", "D", "average")
        for name, tensor in getattr(contest, part).state_dict().items()
    }


def test_a_step_moves_both_networks_and_the_average() -> None:
    contest = Contest.begin(TINY, SETTINGS, "cpu")
    before, after = weights(contest), weights(train(contest, 1))
    # Trained without noise: its strengths stay 0, so that samples depend on the latent alone.
    still = {name for name in before if "noise" in name or name.endswith("w_avg")}
    # What is finer than 16 px is not trained yet, and of the discriminator only the heads ever are.
    still |= {name for name in before if ".b32." in name or ".b64." in name}
    still |= {name for name in before if name.startswith("D.") and not name.endswith("weight.original")}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved >= before.keys() - still
    assert not {name for name in moved & still if not name.startswith("D.heads")}
    assert (contest.images, contest.steps) == (4, 1)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = weights(train(Contest.begin(TINY, SETTINGS, "cpu"), 9))
    killed = train(Contest.begin(TINY, SETTINGS, "cpu"), 5)
    killed.save(tmp_path / "state.pt")
    train(killed, 2)
    again = train(Contest.resume(tmp_path / "state.pt", SETTINGS, "cpu", TINY), 4)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(again).items())


def test_a_run_is_not_resumed_with_other_networks(tmp_path: Path) -> None:
    Contest.begin(TINY, SETTINGS, "cpu").save(tmp_path / "state.pt")
    with pytest.raises(RewriteError, match="another folder"):
        Contest.resume(tmp_path / "state.pt", SETTINGS, "cpu", Shape())


def test_the_rate_rises_holds_and_falls_to_its_least() -> None:
    settings = Settings(batch=10, warm=100, images=1000, decay=0.25, least=0.1)
    rates = [settings.rate_at(images, settings.progress(images, 0)) for images in (0, 200, 750, 875, 1000)]
    assert rates == pytest.approx([0.1, 1, 1, 0.55, 0.1])
    assert Settings(minutes=2).progress(10**9, 1) == 0.5
    assert Settings().progress(10**9, 10**9) == 0


def test_resolutions_come_in_one_after_another() -> None:
    bands = [
        Settings(batch=2, growth=((16, 10), (32, 20)), fade=8).band(images) for images in (0, 9, 10, 14, 19, 20, 99)
    ]
    assert bands == [(16, 1), (16, 1), (32, 0.25), (32, 0.75), (32, 1), (64, 0.25), (64, 1)]


def test_a_new_resolution_begins_as_the_one_before() -> None:
    G, z = Contest.begin(TINY, SETTINGS, "cpu").average, torch.randn(2, 8)
    assert torch.allclose(sampled(G, z, 32, 0.0), sampled(G, z, 16), atol=1e-6)
    assert torch.equal(sampled(G, z, 64), G(z, noise="none"))
    real = torch.rand(2, 3, 64, 64)
    assert torch.allclose(blurred(real, 64, 0.0), blurred(real, 32))
    assert torch.equal(blurred(real, 64), real)


def test_what_is_blurred_has_no_detail_left() -> None:
    fine = torch.ones(1, 3, 64, 64)
    fine[..., ::2] = -1
    assert blurred(fine, 32).abs().max() < 1e-6


def test_no_head_learns_from_what_the_others_may_not_change() -> None:
    D = Discriminator(TINY.critic)
    images = torch.randn(4, 3, 64, 64, requires_grad=True)
    projected = D.project(images)
    assert [tuple(x.shape[1:]) for x in projected] == [(4, 32, 32), (4, 16, 16), (8, 8, 8), (8, 4, 4), (8, 2, 2)]
    torch.stack([verdict.mean() for verdict in D.judge(projected)]).sum().backward()
    learnt = {name for name, parameter in D.named_parameters() if parameter.grad is not None}
    assert learnt
    assert all(name.startswith("heads.") for name in learnt)
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_the_shipped_shape_is_within_its_limit() -> None:
    contest = Contest.begin(Shape(), SETTINGS, "cpu")
    assert sum(parameter.numel() for parameter in contest.G.parameters()) <= 3_000_000


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Both hold the same weights after each step: the first one's sheet and state speak for both."""
    np.save(tmp_path / "scenes.npy", DATA)
    script = str(Path(train_scenes.__file__))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29411", script,
        "train", "--out", str(tmp_path), "--images", "12", "--batch", "4", "--log-every", "1",
        "--channels", "8,8,8,8,4", "--critic", "4,4,8,8,8",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [4, 8, 12]


def test_the_command_trains_resumes_and_exports(tmp_path: Path) -> None:
    def run(*words: str) -> None:
        result = CliRunner().invoke(train_scenes.app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output

    def go_on(images: int) -> None:
        run("train", "--out", str(tmp_path), "--images", str(images), "--batch", "4", "--log-every", "1",
            "--channels", "8,8,8,8,4", "--critic", "4,4,8,8,8", "--threads", str(torch.get_num_threads()))  # fmt: skip

    np.save(tmp_path / "scenes.npy", DATA)
    go_on(8)
    go_on(12)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3
    assert list(tmp_path.glob("samples-*.png"))
    run("export", "--out", str(tmp_path), "--to", str(tmp_path / "small.safetensors"))
    G = rewrite.load(str(tmp_path / "small.safetensors"))
    assert G.card["images"] == 12
    assert G.synthesize(G.latents([0, 1])).shape == (2, 3, 64, 64)
    assert G.styles(G.latents([0]), truncation=0.5).isfinite().all()
