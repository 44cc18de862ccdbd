"""The training: a step moves what it should, and a run that was killed goes on as if it had not been."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import train_scenes
from scenes.contest import Contest
from scenes.lesson import BATCH, Lesson
from scenes.settings import Settings, Shape
from typer.testing import CliRunner

import rewrite
from rewrite.errors import RewriteError

TINY = Shape(channels=(8, 8, 8, 8, 4), z=80, w=168, depth=2, critic=(8, 8, 8, 8))
SETTINGS = Settings(batch=4, warm=16, images=64, alone=12, fade=8)
FORM = ("--form", "80,168,2")
SMALL = (*FORM, "--channels", "8,8,8,8,4", "--critic", "8,8,8,8")


def train(contest: Contest, steps: int) -> Contest:
    for _ in range(steps):
        seeds = range(contest.images, contest.images + SETTINGS.batch)
        contest.step(*train_scenes._pair(seeds, TINY.z, "cpu"), SETTINGS)
    return contest


def weights(contest: Contest) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor.clone()
        for part in ("G", "D", "average")
        for name, tensor in getattr(contest, part).state_dict().items()
    }


def test_the_generator_is_alone_at_first_and_judged_then() -> None:
    contest = Contest.begin(TINY, SETTINGS, "cpu")
    states = [weights(contest), weights(train(contest, 3)), weights(train(contest, 2))]
    # Trained without noise: its strengths stay 0, so that samples depend on the latent alone.
    still = {name for name in states[0] if "noise" in name or name.endswith("w_avg")}
    alone, judged = (
        {name for name in before if torch.equal(before[name], after[name])}
        for before, after in itertools.pairwise(states)
    )
    assert alone == still | {name for name in states[0] if name.startswith("D.")}
    assert judged == still
    assert (contest.images, contest.steps) == (20, 5)


def test_it_learns_to_paint_the_scene_of_a_latent() -> None:
    settings = replace(SETTINGS, batch=16, images=None, alone=10**9)
    contest, batch = Contest.begin(TINY, settings, "cpu"), train_scenes._pair(range(16), TINY.z, "cpu")
    apart = [float(contest.step(*batch, settings)["unlikeness"]) for _ in range(60)]
    assert min(apart[-10:]) < 0.7 * apart[0]


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


def test_the_verdict_comes_in() -> None:
    assert [Settings(alone=10, fade=20).verdict(images) for images in (0, 10, 20, 30, 99)] == [0, 0, 0.5, 1, 1]


def test_a_lesson_explains_more_with_every_step_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    lesson = Lesson.begin(TINY)
    left = [float(lesson.step(10**6)) for _ in range(3)]
    lesson.save(tmp_path / "lesson.pt")
    left += [float(lesson.step(10**6)) for _ in range(9)]
    again = Lesson.resume(tmp_path / "lesson.pt", TINY)
    assert again.latents == 3 * BATCH
    assert [float(again.step(10**6)) for _ in range(9)] == left[3:]
    assert left[-1] < left[0]
    with pytest.raises(RewriteError, match="another folder"):
        Lesson.resume(tmp_path / "lesson.pt", replace(TINY, w=200))
    with pytest.raises(RewriteError, match="77"):
        Lesson.begin(replace(TINY, z=8)).step(10**6)


def test_the_shipped_shape_is_within_its_limit() -> None:
    contest = Contest.begin(Shape(), SETTINGS, "cpu")
    assert sum(parameter.numel() for parameter in contest.G.parameters()) <= 3_000_000


def taught(folder: Path) -> None:
    lesson = Lesson.begin(TINY)
    lesson.step(10**6)
    lesson.save(folder / "lesson.pt")


def test_an_export_lies_between_two_states(tmp_path: Path) -> None:
    contest = Contest.begin(TINY, SETTINGS, "cpu")
    ends = {}
    for share, name in enumerate(("earlier.pt", "state.pt")):
        train(contest, 4).save(tmp_path / name)
        ends[float(share)] = {k: v.clone() for k, v in contest.average.named_parameters()}
    assert not torch.equal(*(end["synthesis.b8.conv0.weight"] for end in ends.values()))
    for share in (0.0, 0.25, 1.0):
        to = tmp_path / f"{share}.safetensors"
        words = [
            "--out",
            str(tmp_path),
            "--to",
            str(to),
            "--earlier",
            str(tmp_path / "earlier.pt"),
            "--share",
            str(share),
        ]
        assert CliRunner().invoke(train_scenes.app, ["export", *words]).exit_code == 0
        for name, tensor in rewrite.load(to).module.named_parameters():
            if share in ends:
                assert torch.equal(tensor, ends[share][name])
            else:
                torch.testing.assert_close(tensor, 0.75 * ends[0.0][name] + 0.25 * ends[1.0][name])


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Both hold the same weights after each step: the first one's sheet and state speak for both."""
    taught(tmp_path)
    script = str(Path(train_scenes.__file__))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script,
        "train", "--out", str(tmp_path), "--images", "24", "--batch", "8", "--log-every", "1", "--alone", "16", *SMALL,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [8, 16, 24]
    assert ["D_loss" in line for line in lines] == [False, False, True]


def test_the_command_teaches_trains_resumes_and_exports(tmp_path: Path) -> None:
    def run(*words: str) -> None:
        result = CliRunner().invoke(train_scenes.app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output

    def go_on(images: int) -> None:
        run("train", "--out", str(tmp_path), "--images", str(images), "--batch", "4", "--log-every", "1",
            *SMALL, "--threads", str(torch.get_num_threads()))  # fmt: skip

    with pytest.raises(RewriteError, match="lesson"):
        go_on(8)
    threads = ("--threads", str(torch.get_num_threads()))
    run("lesson", "--out", str(tmp_path), "--latents", str(BATCH), *FORM, *threads)
    run("lesson", "--out", str(tmp_path), "--latents", str(2 * BATCH), *FORM, *threads)
    assert Lesson.resume(tmp_path / "lesson.pt", TINY).latents == 2 * BATCH
    go_on(8)
    go_on(12)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3
    assert list(tmp_path.glob("samples-*.png"))
    run("export", "--out", str(tmp_path), "--to", str(tmp_path / "small.safetensors"))
    G = rewrite.load(str(tmp_path / "small.safetensors"))
    assert G.card["images"] == 12
    assert G.synthesize(G.latents([0, 1])).shape == (2, 3, 64, 64)
    assert G.styles(G.latents([0]), truncation=0.5).isfinite().all()
