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
from scenes.contest import Contest, _slope, blurred, sampled
from scenes.discriminator import Discriminator
from scenes.settings import Settings, Shape
from torch.nn import functional as F
from typer.testing import CliRunner

import rewrite
from rewrite.errors import RewriteError
from rewrite.models.stylegan2 import double

TINY = Shape(channels=(8, 8, 8, 8, 4), z=8, w=8, depth=2, critic=(8, 8, 8, 8))
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
    # What is finer than 16 px is not trained yet.
    still |= {name for name in before if ".b32." in name or ".b64." in name}
    still |= {name for name in before if name.startswith(("D.stems.64", "D.stems.32", "D.fine"))}
    assert {name for name in before if torch.equal(before[name], after[name])} == still
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
    assert torch.allclose(sampled(G, z, 32, 0.0), double(sampled(G, z, 16)), atol=1e-6)
    assert torch.equal(sampled(G, z, 64), G(z, noise="none"))
    real = torch.rand(2, 3, 64, 64)
    assert torch.allclose(blurred(real, 32, 0.0), double(blurred(real, 16)), atol=1e-6)
    assert torch.equal(blurred(real, 64), real)


@pytest.mark.parametrize("resolution", [64, 32])
def test_the_discriminator_begins_a_resolution_as_the_one_before(resolution: int) -> None:
    D, images = Discriminator(TINY.critic), torch.randn(4, 3, resolution, resolution)
    for fine, coarse in zip(D(images, 0.0), D(F.avg_pool2d(images, 2)), strict=True):
        torch.testing.assert_close(fine, coarse)
    assert [tuple(verdict.shape) for verdict in D(images)] == [(4, 1), (4, 1, 8, 8)]


def test_the_slope_of_an_image_does_not_depend_on_its_resolution() -> None:
    """Of a discriminator that sees the image's mean alone: R1 is the same at 16 px as at 64."""

    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor, _: float) -> tuple[torch.Tensor, torch.Tensor]:
            return images.mean((1, 2, 3))[:, None], images.new_zeros(len(images), 1, 8, 8)

    slopes = [_slope(Mean(), torch.randn(4, 3, side, side), 1.0, SETTINGS) for side in (16, 32, 64)]
    torch.testing.assert_close(slopes[0], slopes[2])
    torch.testing.assert_close(slopes[1], slopes[2])


def test_the_shipped_shape_is_within_its_limit() -> None:
    contest = Contest.begin(Shape(), SETTINGS, "cpu")
    assert sum(parameter.numel() for parameter in contest.G.parameters()) <= 3_000_000


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Both hold the same weights after each step: the first one's sheet and state speak for both."""
    np.save(tmp_path / "scenes.npy", DATA)
    script = str(Path(train_scenes.__file__))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script,
        "train", "--out", str(tmp_path), "--images", "24", "--batch", "8", "--log-every", "1",
        "--channels", "8,8,8,8,4", "--critic", "8,8,8,8",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [8, 16, 24]


def test_the_command_trains_resumes_and_exports(tmp_path: Path) -> None:
    def run(*words: str) -> None:
        result = CliRunner().invoke(train_scenes.app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output

    def go_on(images: int) -> None:
        run("train", "--out", str(tmp_path), "--images", str(images), "--batch", "4", "--log-every", "1",
            "--channels", "8,8,8,8,4", "--critic", "8,8,8,8", "--threads", str(torch.get_num_threads()))  # fmt: skip

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
