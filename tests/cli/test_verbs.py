"""Each verb does what it says."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import edits
from rewrite.models import load
from rewrite.models.zoo import ZOO


def test_models_lists_the_zoo(rewrite) -> None:
    said = rewrite("models", "--json")
    assert [model["name"] for model in said.facts] == list(ZOO)
    assert [model["name"] for model in said.facts if model["pulled"]] == ["scenes"]
    assert all(model["licence"] and model["origin"] for model in said.facts)
    shown = rewrite("models").out
    assert all(name in shown for name in ZOO)


def test_pull_fetches_by_name(rewrite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "ffhq.safetensors"

    def pulled(_name: str, *, progress) -> Path:
        progress("fetching", 0, 1)
        target.write_bytes(b"weights")
        return target

    monkeypatch.setattr("rewrite.models.pull", pulled)
    said = rewrite("pull", "ffhq", "--json")
    assert said.facts["path"] == str(target)
    assert said.facts["bytes"] == 7
    assert "non-commercial" in said.facts["licence"]


def test_inspect_shows_card_and_layers(rewrite, tiny: Path) -> None:
    facts = rewrite("inspect", tiny, "--json").facts
    assert (facts["name"], facts["architecture"], facts["resolution"]) == (str(tiny), "dcgan", 16)
    assert [layer["name"] for layer in facts["layers"]] == ["main.0", "main.3", "main.6"]
    shown = rewrite("inspect", tiny).out
    assert "MIT" in shown
    assert "12 x 8 x 4 x 4" in shown


def test_sample_renders_a_grid(rewrite, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "grid.png"
    said = rewrite("sample", tiny, "--seeds", "0-2,7", "--size", 32, "--out", out, "--json")
    assert said.facts["seeds"] == [0, 1, 2, 7]
    assert Image.open(out).width > 64
    assert [path.name for path in out.parent.iterdir()] == ["grid.png"]


def test_sample_applies_edits_at_strengths(rewrite, tiny: Path, edit: Path, tmp_path: Path) -> None:
    pictures = []
    for options in ([], ["--edit", f"{edit}:0"], ["--edit", edit], ["--edit", f"{edit}:1"], ["-e", f"{edit}:3"]):
        out = tmp_path / f"{len(pictures)}.png"
        assert rewrite("sample", tiny, "--seeds", "1", "--out", out, *options).code == 0
        pictures.append(out.read_bytes())
    base, absent, own, one, three = pictures
    assert base == absent
    assert own == one
    assert len({base, one, three}) == 3


def test_rule_writes_an_edit_and_tells_its_notes(rewrite, tiny: Path, made: Path, tmp_path: Path) -> None:
    out, preview = tmp_path / "e.safetensors", tmp_path / "sheets" / "e.png"
    said = rewrite(
        "rule", tiny, made / "recipe.yaml", "--out", out,
        "--rank", 1, "--strength", 0.5, "--preview", preview, "--preview-seeds", "4,5", "--json",
    )  # fmt: skip
    edit = edits.load(out)
    assert said.err == ""
    assert said.facts["content"] == edit.content
    assert said.facts["notes"] == edit.notes
    assert edit.notes["rank"] == 1
    assert edit.strength == 0.5
    assert edit.recipe["rank"] == 1
    assert Image.open(preview).height > 2 * 192
    shown = rewrite("rule", tiny, made / "recipe.yaml", "--out", out).out
    assert all(word in shown for word in ("residual", "background shift", "rank", "main.3"))


def test_rule_tells_what_auto_chose(rewrite, tiny: Path, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.safetensors"
    shown = rewrite("rule", tiny, made / "recipe.yaml", "--out", out, "--mu", "auto").out
    assert "auto chose" in shown
    assert "one paste example" in shown


def test_rule_completes_a_mask_file(rewrite, tiny: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.new("RGB", (16, 16), "white").save(mask)
    from rewrite.regions import inline

    url = inline(str(mask), tmp_path).replace("\n", "")
    file, out = tmp_path / "masks.json", tmp_path / "e.safetensors"
    file.write_text(f'{{"object": [1, "{url}"], "paste": [2, "{url}"], "key": [[2, "{url}"]]}}')
    rewrite("rule", tiny, file, "--out", out).failed_with("--layer", "--rank", "--truncation")
    unsaid = ("--layer", "main.3", "--rank", 1, "--truncation", 1)
    said = rewrite("rule", tiny, file, "--out", out, *unsaid, "--mu", 1, "--nu", 0)
    assert said.code == 0
    shown = rewrite("show", out).out
    assert "image/png" in shown
    assert "base64" not in shown


def test_show_tells_what_is_inside(rewrite, edit: Path) -> None:
    facts = rewrite("show", edit, "--json").facts
    loaded = edits.load(edit)
    assert facts["content"] == loaded.content
    assert facts["recipe"] == loaded.recipe
    assert facts["operations"][0]["rank"] == 2
    shown = rewrite("show", edit).out
    assert loaded.content in shown
    assert "main.3.weight" in shown
    assert "low-rank" in shown


def test_compose_keeps_members_and_strengths(rewrite, edit: Path, second: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.safetensors"
    said = rewrite("compose", edit, f"{second}:0.5", "--out", out, "--json")
    members = {member["content"]: member["coefficient"] for member in said.facts["members"]}
    assert members == {edits.load(edit).content: 1.0, edits.load(second).content: 0.5}
    shown = rewrite("show", out).out
    assert all(content[:12] in shown for content in members)


def test_apply_bakes_a_model(rewrite, tiny: Path, edit: Path, second: Path, tmp_path: Path) -> None:
    out = tmp_path / "edited.safetensors"
    said = rewrite("apply", tiny, edit, f"{second}:0.5", "--out", out, "--json")
    baked, generator = load(out), load(tiny)
    with edits.applied(generator.module, (edits.load(edit), 1.0), (edits.load(second), 0.5)):
        for name, tensor in generator.module.state_dict().items():
            assert torch.equal(tensor, baked.module.state_dict()[name])
    assert baked.card["history"] == said.facts["history"]
    assert [entry["strength"] for entry in said.facts["history"]] == [1.0, 0.5]
    assert "at 0.5" in rewrite("inspect", out).out


def test_force_overrides_the_base_and_is_recorded(rewrite, made: Path, edit: Path, tmp_path: Path) -> None:
    out = tmp_path / "forced.safetensors"
    said = rewrite("apply", made / "other.safetensors", edit, "--out", out, "--force", "--json")
    assert said.facts["history"][0]["forced"] == ["main.3.weight"]
    assert "upstream" in said.err


def test_demo_calls_the_demo(rewrite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def run(out: Path, *, device: str, progress) -> SimpleNamespace:
        progress("rendering", 0, 1)
        called.append((out, device))
        return SimpleNamespace(page=out / "index.html", left_out=["faces are left out"])

    monkeypatch.setitem(sys.modules, "rewrite.demo", SimpleNamespace(run=run))
    said = rewrite("demo", "--out", tmp_path / "demo", "--json")
    assert called == [(tmp_path / "demo", "cpu")]
    assert said.facts["page"].endswith("index.html")
    assert said.facts["left_out"] == ["faces are left out"]
    assert "faces are left out" in said.err


def test_strength_zero_is_absence(rewrite, tiny: Path, edit: Path, second: Path, tmp_path: Path) -> None:
    out = tmp_path / "edited.safetensors"
    said = rewrite("apply", tiny, f"{edit}:0", second, "--out", out, "--json")
    assert [entry["content"] for entry in said.facts["history"]] == [edits.load(second).content]
    assert len(load(out).card["history"]) == 1


def test_a_file_is_called_by_its_path(rewrite, tiny: Path, edit: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments in (["apply", tiny, edit, "--out", out], ["sample", tiny, "--seeds", 1, "--out", out]):
        assert rewrite(*arguments, "--json").facts["model"] == str(tiny)
    assert load(tiny).name == ""
