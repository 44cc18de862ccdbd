import copy
import dataclasses
import math
import pickle

import pytest
import torch

from edits import Add, Base, Dense, Edit, EditError, LowRank, Scale, Set, Slices, compose, describe


def test_content_changes_with_every_component(make, net):
    known = describe(net, ["linear"], ["conv"], "net")
    left, right = torch.ones(6, 2), torch.ones(2, 5)
    index, values = torch.tensor([0, 2]), torch.ones(2, 5)

    def nudged(tensor):
        changed = tensor.clone()
        changed.view(-1)[-1] += 1
        return changed

    def low(a=left, b=right, axes=((0,), (1,)), projective=None):
        return Add((6, 5), LowRank(a, b, *axes), projective)

    other = dict.fromkeys(("float32", "float16", "bfloat16"), "0" * 64)
    bases = [
        known,
        dataclasses.replace(known, architecture="other"),
        dataclasses.replace(known, upstream=None),
    ]
    for precision, digest in other.items():
        touched = known.touched["linear"]
        digests = dataclasses.replace(touched.digests, **{precision: digest})
        bases.append(dataclasses.replace(known, touched={"linear": dataclasses.replace(touched, digests=digests)}))
        upstream = dataclasses.replace(known.upstream.digests, **{precision: digest})
        bases.append(dataclasses.replace(known, upstream=dataclasses.replace(known.upstream, digests=upstream)))
    bases.append(dataclasses.replace(known, upstream=dataclasses.replace(known.upstream, names=("bias",))))
    operations = [
        (low(),),
        (low(nudged(left)),),
        (low(b=nudged(right)),),
        (low(torch.ones(6, 1), torch.ones(1, 5)),),
        (low(torch.ones(30, 2), torch.ones(2, 1), ((0, 1), ())),),
        (low(torch.ones(30, 2), torch.ones(2, 1), ((1, 0), ())),),
        (low(projective="left"),),
        (low(projective="right"),),
        (low(), low()),
        (Add((6, 5), Dense(torch.ones(6, 5))),),
        (Add((6, 5), Slices(0, index, values)),),
        (Add((6, 5), Slices(0, nudged(index), values)),),
        (Add((6, 5), Slices(0, index, nudged(values))),),
        (Add((6, 5), Slices(1, index, torch.ones(6, 2))),),
        (Scale((6, 5), 0, index, torch.ones(2)),),
        (Scale((6, 5), 1, index, torch.ones(2)),),
        (Set((6, 5), Slices(0, index, values)),),
    ]
    edits = [Edit({"linear": operations[0]}, base) for base in bases]
    edits += [Edit({"linear": made}, known) for made in operations[1:]]
    renamed = Base("net", {"other": known.touched["linear"]}, known.upstream)
    edits.append(Edit({"other": operations[0]}, renamed))
    edits += [
        compose([(edits[0], 1.0)]),
        compose([(edits[0], 0.5)]),
        compose([(edits[0], 1.0), (edits[-2], 1.0)]),
    ]
    assert len({edit.content for edit in edits}) == len(edits)


def test_content_leaves_out_what_is_said_about_the_edit(make, net):
    plain = make.edit(net, 1)
    told = make.edit(net, 1, strength=0.0, recipe={"a": [1, 2.5]}, made_by={"v": 1}, notes={"n": None})
    assert told.content == plain.content


def test_rows_tell_what_an_edit_does(make, net):
    generator = torch.Generator().manual_seed(1)
    add = make.low_rank((6, 5), (0,), (1,), 3, generator)
    scale = Scale((6, 5), 1, torch.tensor([0]), torch.zeros(1))
    edit = make.single(net, "linear", add, scale)
    low, scaled = edit.rows
    dense = add.form.left.double() @ add.form.right.double()
    assert (low.parameter, low.kind, low.form, low.shape, low.rank) == (
        "linear",
        "add",
        "low-rank",
        (6, 5),
        3,
    )
    assert low.norm == pytest.approx(float(dense.norm()))
    assert (scaled.kind, scaled.form, scaled.rank, scaled.norm) == ("scale", "slices", None, None)
    assert compose([(edit, 0.5)]).rows[0].coefficient == 0.5
    assert edit.touched == ("linear",)
    assert edit.content[:12] in repr(edit)
    assert len(repr(edit)) < 200


def test_an_edit_survives_copy_and_pickle(make, net):
    edit = make.edit(net, 2, recipe={"a": 1})
    assert copy.deepcopy(edit).content == pickle.loads(pickle.dumps(edit)).content == edit.content


def test_recipe_is_copied_and_becomes_plain_json(make, net):
    recipe = {"paste": (1, 2)}
    edit = make.edit(net, 2, recipe=recipe)
    recipe["paste"] = "gone"
    assert edit.recipe == {"paste": [1, 2]}


@pytest.mark.parametrize("strength", [math.nan, math.inf, -math.inf, "1", None, True])
def test_a_strength_is_a_finite_number(make, net, strength):
    with pytest.raises(EditError):
        make.edit(net, 1).accepted(strength)


@pytest.mark.parametrize("strength", [-0.1, 1.1, 2])
def test_a_scale_takes_0_to_1(make, net, strength):
    with pytest.raises(EditError, match="0 to 1"):
        make.edit(net, 1, kinds=("scale",)).accepted(strength)


@pytest.mark.parametrize("strength", [0.5, -1, 2])
def test_a_set_takes_0_or_1(make, net, strength):
    with pytest.raises(EditError, match="0 or 1"):
        make.edit(net, 1, kinds=("set slices",)).accepted(strength)


@pytest.mark.parametrize("strength", [-3, 0, 0.5, 1e6])
def test_an_add_takes_any_finite_number(make, net, strength):
    assert make.edit(net, 1, kinds=("low-rank", "dense", "slices")).accepted(strength) == strength


def bad(make, net):
    add = Add((6, 5), Dense(torch.ones(6, 5)))
    base = describe(net, ["linear"])
    deep = []
    for _ in range(60):
        deep = [deep]
    return {
        "nothing": lambda: Edit({}, Base("", {})),
        "no operation": lambda: Edit({"linear": ()}, base),
        "no base": lambda: Edit({"linear": (add,)}, None),
        "other parameter": lambda: Edit({"conv": (add,)}, base),
        "other shape": lambda: Edit({"linear": (Add((5, 6), Dense(torch.ones(5, 6))),)}, base),
        "no operations": lambda: Edit({"linear": ("add",)}, base),
        "strength": lambda: Edit({"linear": (add,)}, base, math.nan),
        "recipe nan": lambda: Edit({"linear": (add,)}, base, recipe=[math.nan]),
        "recipe key": lambda: Edit({"linear": (add,)}, base, recipe={1: 2}),
        "recipe object": lambda: Edit({"linear": (add,)}, base, recipe=torch.ones(1)),
        "recipe depth": lambda: Edit({"linear": (add,)}, base, recipe=deep),
        "recipe surrogate": lambda: Edit({"linear": (add,)}, base, recipe="\ud800"),
        "recipe huge": lambda: Edit({"linear": (add,)}, base, recipe=10**5000),
        "notes": lambda: Edit({"linear": (add,)}, base, notes=["x"]),
        "made_by": lambda: Edit({"linear": (add,)}, base, made_by="me"),
        "name": lambda: describe({"a\nb": torch.ones(1)}, ["a\nb"]),
        "members and operations": lambda: dataclasses.replace(
            compose([(make.edit(net), 1.0)]), operations={"linear": (add,)}
        ),
        "members' base": lambda: dataclasses.replace(compose([(make.edit(net), 1.0)]), base=base),
        "members' order": lambda: Edit({}, base, members=((make.edit(net), 1.0),) * 2),
    }


def test_an_edit_that_does_not_fit_together_is_refused(make, net):
    for name, made in bad(make, net).items():
        try:
            made()
        except EditError:
            continue
        pytest.fail(f"accepted: {name}")
