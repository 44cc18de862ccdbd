"""For the tests of others: `edit_check` judges an edit as `rewrite check` does, and fails with the figures.

    def test_the_edit(edit_check):
        edit_check("my.safetensors", model="scenes", region=[0.2, 0.3, 0.8, 0.6], harm=1, distance_outside=0.05)

pytest finds it by itself, and torch is only imported where the fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rewrite.check import Bounds, Verdict

LPIPS = {"lpips": "distance", "lpips_in": "distance inside", "lpips_out": "distance outside"}
"""Limits that are of LPIPS, and of no other distance."""
PUBLISHED = frozenset({"lpips-alex", "lpips-vgg", "lpips-squeeze"})
"""Distances that are LPIPS: one whose trunk is not the published one goes by a longer name."""
KID = "kid"
"""A limit that is of the published Inception's features, and of no others."""
LEAST = "_least"
"""An ending of limits that something must reach: effect_least=1."""


@pytest.fixture
def edit_check(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Verdict]:
    """A function (edit, *, model, region, concept, samples, bounds, **limits) to a verdict that passed.

    `limits` are findings by name, with _ for a space: harm, tone, effect_least, distance_outside, change_outside, ...;
    lpips, lpips_in and lpips_out ask for `distance="lpips-alex"`, kid for `eye="inception"`. The test fails with the
    figures and the path of the page where a finding is beyond its limit, or undecided after `cap` seeds.
    """

    def judged(
        edit: str | Path,
        *,
        model: str | Path,
        strength: float | None = None,
        region: Sequence[float] | None = None,
        concept: str | None = None,
        segmenter: str | None = None,
        samples: int = 250,
        cap: int = 4_000,
        eye: str | None = None,
        distance: str | None = None,
        truncation: float = 1.0,
        bounds: str | Path | None = None,
        **limits: float,
    ) -> Verdict:
        __tracebackhide__ = True
        import edits
        import rewrite
        from rewrite import check as gate
        from rewrite.judged import keep

        if bounds and limits:
            pytest.fail(f"{min(limits)} is a limit, and so are those in {bounds}; give one or the other", pytrace=False)
        if region is not None and concept is not None:
            pytest.fail("region and concept both say where the edit may act; give one of them", pytrace=False)
        generator = rewrite.load(model)
        known = None
        if name := segmenter or ("scenes" if generator.name == "scenes" else ""):
            from rewrite import concepts

            known = concepts.segmenter(name)
        if concept is not None and known is None:
            pytest.fail(f"{concept!r} needs the segmenter that knows it; name one, or give a region", pytrace=False)
        place = gate.box(region) if region is not None else None
        if concept is not None and known is not None:
            place = gate.concept(known, concept, of=name)
        view = gate.view(
            eye=eye or ("inception" if KID in limits else "lite0@64/320"),
            distance=distance or ("lpips-alex" if LPIPS.keys() & limits else "pd-lite0"),
            place=place,
            segmenter=known,
            truncation=truncation,
        )
        asked = gate.read_bounds(Path(bounds)) if bounds else _bounds(limits, view.distance.identity.name)
        applied = [(edits.load(edit), strength)]
        verdict = gate.check(generator, applied, view, samples=samples, cap=max(cap, samples), bounds=asked)
        if verdict.outcome != "PASS":
            page = keep(generator, applied, verdict, tmp_path_factory.mktemp(Path(edit).stem))
            pytest.fail(_said(str(edit), verdict, page), pytrace=False)
        return verdict

    return judged


def _bounds(limits: dict[str, float], distance: str) -> Bounds | None:
    from rewrite.check import Bounds, Limit

    if not limits:
        return None
    if LPIPS.keys() & limits and distance not in PUBLISHED:
        pytest.fail(f"a limit of LPIPS was asked for, and the distance is {distance}; name it distance", pytrace=False)
    made = {}
    for given, value in limits.items():
        name = LPIPS.get(given, given.removesuffix(LEAST).replace("_", " "))
        made[name] = Limit(least=value) if given.endswith(LEAST) else Limit(most=value)
    return Bounds(limits=made)


def _said(edit: str, verdict: Verdict, page: Path) -> str:
    lines = [f"{edit}: {verdict.outcome} after {len(verdict.seen.seeds)} seeds"]
    for one in verdict.judgements:
        low, high = one.finding.low, one.finding.high
        lines.append(f"  {one.name}: {one.finding.value:.4g} [{low:.4g}, {high:.4g}], {one.asked}: {one.outcome}")
    return "\n".join([*lines, f"  see {page}"])
