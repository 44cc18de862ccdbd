"""diff, export, import, card, show against a model, strips: each does what it says, and fails in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image

import edits
from rewrite.models import load, mobilestylegan, save


@pytest.fixture(scope="session")
def mobile(made: Path) -> Path:
    """A generator whose layers PEFT has LoRAs for."""
    module = mobilestylegan.MobileStyleGAN.random(1, style=12, depth=2, channels=(16, 8, 12, 4))
    save(mobilestylegan.generator(module, card={"licence": "MIT"}), made / "mobile.safetensors")
    return made / "mobile.safetensors"


@pytest.fixture
def mobile_edit(mobile: Path, tmp_path: Path) -> Path:
    generator = load(mobile)
    layer = generator.layers["layers.0.conv2"]
    form = edits.LowRank(torch.ones(layer.out_features, 1), torch.ones(1, layer.in_features), (0, 2, 3), (1,))
    edit = edits.Edit({layer.weight: (edits.Add(layer.shape, form),)}, edits.describe(generator.module, [layer.weight]))
    edit.save(tmp_path / "mobile edit.safetensors")
    return tmp_path / "mobile edit.safetensors"


def same(one: Path, other: Path) -> bool:
    states = [load(path).module.state_dict() for path in (one, other)]
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_diff_leads_from_one_checkpoint_to_another(rewrite, made: Path, tiny: Path, tmp_path: Path) -> None:
    out, there = tmp_path / "new" / "diff.safetensors", tmp_path / "there.safetensors"
    said = rewrite("diff", tiny, made / "other.safetensors", "--rank", "full", "--out", out, "--json")
    assert said.err == ""
    assert said.facts["notes"]["numbers_that_differ"] == 0
    assert rewrite("apply", tiny, out, "--out", there).code == 0
    assert same(there, made / "other.safetensors")
    shown = rewrite("diff", tiny, made / "other.safetensors", "--rank", 2, "--out", out).out
    assert all(word in shown for word in ("energy kept", "main.3.weight", "numbers that differ"))
    assert edits.load(out).made_by["verb"] == "diff"


def test_diff_finds_a_baked_edit_again(rewrite, tiny: Path, edit: Path, tmp_path: Path) -> None:
    baked, out = tmp_path / "baked.safetensors", tmp_path / "diff.safetensors"
    assert rewrite("apply", tiny, edit, "--out", baked).code == 0
    facts = rewrite("diff", tiny, baked, "--out", out, "--energy", 0.999999, "--json").facts
    assert {name: one["rank"] for name, one in facts["notes"]["tensors"].items()} == {"main.3.weight": 2}


@pytest.mark.parametrize("verb", ["diff", "export", "import", "card"])
def test_each_verb_has_help(rewrite, verb: str) -> None:
    assert f"\n  {verb} " in rewrite("--help").out
    said = rewrite(verb, "--help")
    assert said.code == 0
    assert f"Usage: rewrite {verb} " in said.out


def test_diff_fails_in_one_line(rewrite, tiny: Path, mobile: Path, tmp_path: Path) -> None:
    out = tmp_path / "diff.safetensors"
    rewrite("diff", tiny, mobile, "--out", out).failed_with("two architectures")
    rewrite("diff", tiny, tiny, "--out", out).failed_with("one file")
    rewrite("diff", tiny, mobile, "--rank", "0", "--out", out).failed_with("no rank")
    assert not out.exists()


def test_an_edit_goes_to_peft_and_comes_back(rewrite, mobile: Path, mobile_edit: Path, tmp_path: Path) -> None:
    folder, again = tmp_path / "adapter", tmp_path / "again.safetensors"
    said = rewrite("export", f"{mobile_edit}:0.5", "--peft", folder, "--json")
    assert said.facts["config"]["peft_type"] == "LORA"
    assert rewrite("import", folder, "--model", mobile, "--out", again, "--json").facts["strength"] == 0.5
    for path, edit in (("one", f"{mobile_edit}:0.5"), ("two", again)):
        assert rewrite("apply", mobile, edit, "--out", tmp_path / path).code == 0
    assert same(tmp_path / "one", tmp_path / "two")
    assert "layers.0.conv2.pointwise 1" in rewrite("export", mobile_edit, "--peft", folder).out


def test_export_and_import_fail_in_one_line(rewrite, tiny: Path, edit: Path, mobile: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "adapter", tmp_path / "out.safetensors"
    rewrite("export", edit, "--peft", folder).failed_with("main.3.weight", "PEFT has no LoRA")
    rewrite("export", edit, "--peft", edit).failed_with("is no folder")
    rewrite("import", folder, "--model", mobile, "--out", out).failed_with("adapter_config.json", "cannot be read")
    assert not folder.exists()
    assert not out.exists()


def test_show_holds_an_edit_against_a_model(rewrite, made: Path, tiny: Path, edit: Path) -> None:
    assert rewrite("show", edit, "--json").facts["fit"] is None
    facts = rewrite("show", edit, "--model", tiny, "--json").facts
    assert facts["fit"] == {"model": "dcgan", "touched": {"main.3.weight": "exact"}, "upstream": ["exact"]}
    weight, row = load(tiny).module.state_dict()["main.3.weight"], facts["operations"][0]
    assert row["relative"] == pytest.approx(row["norm"] / float(weight.norm()), rel=1e-5)
    shown = rewrite("show", edit, "--model", tiny).out
    assert "relative" in shown
    assert "main.3.weight exact" in shown
    stranger = rewrite("show", edit, "--model", made / "other.safetensors", "--json").facts["fit"]
    assert stranger["touched"] == {"main.3.weight": "different"}


def test_show_says_how_much_a_scale_and_a_set_change(rewrite, tiny: Path, tmp_path: Path) -> None:
    generator = load(tiny)
    name, index = "main.3.weight", torch.tensor([0, 1])
    shape = tuple(generator.module.state_dict()[name].shape)
    halved = edits.Scale(shape, 1, torch.arange(shape[1]), torch.full((shape[1],), 0.5))
    erased = edits.Set(shape, edits.Slices(0, index, torch.zeros(2, *shape[1:])))
    edit = edits.Edit({name: (halved, erased)}, edits.describe(generator.module, [name]))
    edit.save(tmp_path / "e")
    rows = rewrite("show", tmp_path / "e", "--model", tiny, "--json").facts["operations"]
    weight = generator.module.state_dict()[name].double()
    assert rows[0]["relative"] == pytest.approx(0.5)
    assert rows[1]["relative"] == pytest.approx(float(weight[:2].norm() / weight.norm()))


def test_strips_are_a_row_a_seed_and_a_column_a_strength(rewrite, tiny: Path, edit: Path, tmp_path: Path) -> None:
    out = tmp_path / "strips.png"
    options = ["--strengths", "-1,0,0.5,2", "--seeds", "1,2,3", "--size", 32, "--out", out]
    said = rewrite("sample", tiny, "--edit", edit, *options, "--json")
    assert said.facts["strengths"] == [-1.0, 0.0, 0.5, 2.0]
    picture = Image.open(out)
    assert picture.width > 4 * 32
    assert 3 * 32 < picture.height < 6 * 32
    rewrite("sample", tiny, *options).failed_with("--strengths is for one --edit")
    rewrite("sample", tiny, "--edit", f"{edit}:0.5", *options).failed_with("a strength of its own beside --strengths")
    rewrite("sample", tiny, "--edit", edit, "--strengths", "1,x", "--out", out).failed_with("no finite number")


def card_of(text: str) -> dict:
    return yaml.safe_load(text.split("---\n", 2)[1])


def test_card_is_written_beside_the_edit(rewrite, edit: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(edit.read_bytes())
    content = edits.load(edit).content
    verdict = {"outcome": "PASS", "samples": 9, "edits": [{"content": content, "strength": 1.0}], "judgements": []}
    (tmp_path / "verdict.json").write_text(json.dumps(verdict))
    (tmp_path / "bounds.json").write_text(json.dumps({"edit": content, "limits": {"harm": {"most": 1.5}}}))
    Image.new("RGB", (4, 4)).save(tmp_path / "sheet.png")
    said = rewrite("card", mine, "--licence", "MIT", "--sheet", tmp_path / "sheet.png", "--json")
    assert said.facts["out"] == str(tmp_path / "mine.md")
    assert (said.facts["verdict"], said.facts["pushed"]) == ("PASS", None)
    text = (tmp_path / "mine.md").read_text()
    assert card_of(text)["license"] == "mit"
    assert all(word in text for word in (content, "at most 1.5", "](sheet.png)", "PASS, on 9 seeds", "layer: main.3"))
    out = tmp_path / "docs" / "README.md"
    assert "--licence" in rewrite("card", mine, "--out", out, "--sheet", tmp_path / "sheet.png").err
    assert "](../sheet.png)" in out.read_text()
    assert card_of(out.read_text())["license"] == "unknown"


def test_a_verdict_on_another_edit_is_not_believed(rewrite, edit: Path, second: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(edit.read_bytes())
    other = edits.load(second).content
    for named in ([other], [other, edits.load(edit).content]):
        facts = {"outcome": "PASS", "edits": [{"content": content} for content in named]}
        (tmp_path / "verdict.json").write_text(json.dumps(facts))
        (tmp_path / "bounds.json").write_text(json.dumps({"edit": other, "limits": {"harm": {"most": 1.5}}}))
        assert rewrite("card", mine, "--json").facts["verdict"] is None
        assert "## Verdict" not in (tmp_path / "mine.md").read_text()
        rewrite("card", mine, "--verdict", tmp_path / "verdict.json").failed_with("is no verdict on edit")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A hub in a dictionary."""
    files: dict[str, bytes] = {}

    def download(*, repo_id: str, filename: str, revision: str | None) -> str:
        path = tmp_path / "hub" / filename
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(files[f"{repo_id}/{filename}"])
        return str(path)

    def commit(*, repo_id: str, operations, **_: object) -> SimpleNamespace:
        files.update({f"{repo_id}/{one.path_in_repo}": one.path_or_fileobj for one in operations})
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}")

    api = SimpleNamespace(create_repo=lambda **_: None, create_commit=commit)
    fake = SimpleNamespace(hf_hub_download=download, HfApi=lambda: api, CommitOperationAdd=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return files


def test_an_edit_goes_to_the_hub_with_its_card_and_is_used_from_there(
    rewrite, hub, tiny: Path, edit: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "sheet.png")
    out = tmp_path / "README.md"
    said = rewrite("card", edit, "--out", out, "--sheet", tmp_path / "sheet.png", "--push", "hf://me/edits", "--json")
    assert said.facts["pushed"] == "https://hub/me/edits"
    assert set(hub) == {"me/edits/README.md", "me/edits/edit.safetensors", "me/edits/sheet.png"}
    assert hub["me/edits/edit.safetensors"] == edit.read_bytes()
    assert hub["me/edits/README.md"] == out.read_bytes()
    assert "](sheet.png)" in out.read_text()
    assert "rewrite show hf://me/edits/edit.safetensors" in out.read_text()
    there = "hf://me/edits/edit.safetensors"
    assert rewrite("show", there, "--json").facts["content"] == edits.load(edit).content
    for path, given in (("here.png", edit), ("there.png", there)):
        assert rewrite("sample", tiny, "--edit", f"{given}:0.5", "--seeds", 1, "--out", tmp_path / path).code == 0
    assert (tmp_path / "here.png").read_bytes() == (tmp_path / "there.png").read_bytes()


def test_the_hub_fails_in_one_line(rewrite, hub, edit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite("show", "hf://me/edits/missing").failed_with("hf://me/edits/missing")
    rewrite("show", "hf://me").failed_with("is no address")
    rewrite("card", edit, "--out", tmp_path / "c", "--push", "me/edits").failed_with("is no address on the hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    rewrite("show", "hf://me/edits/e").failed_with("pip install 'rewrite[hub]'")
    assert not (tmp_path / "c").exists()
