"""Learning rates of evaluations: policies side by side, chosen by five networks, kept apart in the registry."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import satm
from evaluation import RECIPES
from registry import Registry
from satm.cli import run
from satm.errors import ConfigError
from satm.progress import NoProgress

SETTINGS = {"architecture": "convnet3_w4"}
ASKED = {"recipe": "brief", "repeats": 2}
EPOCHS = 2


class Counted(NoProgress):
    """Counts the epochs of all bars by name, and keeps what is said."""

    def __init__(self):
        self.epochs, self.lines = {}, []

    def bar(self, name, total, *, done=0):
        return Advancing(self, name)

    def say(self, message):
        self.lines.append(message)

    @property
    def networks(self):
        return {name: epochs / EPOCHS for name, epochs in self.epochs.items()}


class Advancing:
    def __init__(self, counted, name):
        self.counted, self.name = counted, name

    def advance(self, steps=1, **facts):
        self.counted.epochs[self.name] = self.counted.epochs.get(self.name, 0) + steps

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set with a step size and one without."""
    folder = tmp_path_factory.mktemp("rates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SATM_HOME", str(folder / "home"))
        for method in ("mtt", "random"):
            more = {"experts.count": 1, "outer_steps": 1} if method == "mtt" else {}
            preset = satm.choose_preset("digits", ipc=1, method=method, profile="smoke", settings=SETTINGS | more)
            satm.condense(preset, registry=folder / "satm.db")
        yield folder


@pytest.fixture
def registry(made, tmp_path, monkeypatch):
    monkeypatch.setenv("SATM_HOME", str(made / "home"))
    brief = replace(
        RECIPES.get("smoke"), name="brief", epochs=EPOCHS, drop_at=(), grid=(1e-9, 0.05, 1e6), rate_networks=5
    )
    monkeypatch.setitem(RECIPES._items, "brief", brief)
    path = tmp_path / "copy.db"
    path.write_bytes((made / "satm.db").read_bytes())
    return path


def summaries(registry):
    return {(row.memory, row.policy): row for row in satm.results(registry=registry, metric="accuracy")}


def test_both_policies_lie_side_by_side_and_a_repeat_trains_nothing(registry):
    counted = Counted()
    asked = {**ASKED, "baseline": "random", "learning_rate": "both", "registry": registry}
    satm.evaluate("digits/ipc1/mtt", progress=counted, **asked)
    # of the set 2 networks each policy; of random images 2, because they have only the grid
    assert counted.networks["convnet3_w4"] == 6
    assert counted.networks["convnet3_w4: learning rate"] == 2 * 5 * 3  # memories, networks and rates
    found = summaries(registry)
    assert set(found) == {("condensed", "learned"), ("condensed", "grid"), ("random", "grid")}
    assert all(row.n == 2 and row.rate is not None for row in found.values())
    assert found["condensed", "learned"].rate == satm.load("digits/ipc1/mtt", registry=registry).step_size
    assert {found[key].recipe.endswith("lr grid (5 networks)") for key in found if key[1] == "grid"} == {True}
    assert found["condensed", "learned"].recipe_id != found["condensed", "grid"].recipe_id
    again = Counted()
    satm.evaluate("digits/ipc1/mtt", progress=again, **asked)
    assert again.epochs == {}
    for policy in ("learned", "grid"):
        satm.evaluate("digits/ipc1/mtt", progress=again, **asked | {"learning_rate": policy})
    assert again.epochs == {}
    assert summaries(registry) == found


def test_a_result_says_how_its_rate_was_chosen(registry):
    satm.evaluate("digits/ipc1/mtt", learning_rate="grid", registry=registry, **ASKED)
    satm.evaluate("digits/ipc1/mtt", learning_rate="grid", registry=registry, **ASKED | {"repeats": 3})
    with Registry.open(registry, read_only=True) as store:
        rows = store.results(metric="accuracy")
    assert len(rows) == 3
    for row in rows:  # the third network is of a later session
        assert (row.policy, row.rate) == ("grid", 0.05)
        assert row.detail["grid"] == rows[0].detail["grid"]
        assert row.detail["grid"]["networks"] == 5
        assert [rate for rate, _ in row.detail["grid"]["scores"]] == [1e-9, 0.05, 1e6]
        assert row.detail["grid"]["edge"] is None


def test_the_number_of_networks_is_part_of_the_recipe_only_if_it_counts(registry):
    recipe = RECIPES.get("brief")
    assert recipe.rate_networks == 5
    for rate in ("learned", 0.05):
        assert "rate_networks" not in replace(recipe, learning_rate=rate).to_dict()
    grid = recipe.variant(learning_rate="grid")
    assert grid.to_dict()["rate_networks"] == 5
    one = replace(recipe, rate_networks=1)
    assert "rate_networks" not in one.variant(learning_rate="grid").to_dict()
    assert one.variant(learning_rate="grid").name == "brief, lr grid"
    for each in (grid, one.variant(learning_rate="grid")):
        assert type(each).from_dict(json.loads(json.dumps(each.to_dict()))) == each
    assert one.without_step_size() is one
    assert recipe.without_step_size() == grid
    assert replace(recipe, learning_rate=0.05).without_step_size().learning_rate == 0.05


def test_matrices_of_both_policies_share_random_images(registry, capsys):
    asked = {**ASKED, "architectures": ["convnet3_w4"], "against": "random", "registry": registry}
    learned, grid = satm.evaluate_matrices(["digits/ipc1/mtt"], **asked)
    assert (learned.policy, grid.policy) == ("learned", "grid")
    assert learned.randoms == grid.randoms
    assert learned.sets != grid.sets
    assert (learned.sets[0].policies, grid.sets[0].policies) == ({"convnet3_w4": "learned"}, {"convnet3_w4": "grid"})
    command = ["eval-arch", "digits/ipc1/mtt", "--arch", "convnet3_w4", "--recipe", "brief", "--repeats", "2"]
    command += ["--learning-rate", "both", "--against", "random", "--threads", "1", "--registry", str(registry)]
    assert run([*command, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["memory"], row["policy"]) for row in rows] == [
        ("condensed", "learned"),
        ("random", "grid"),
        ("condensed", "grid"),
        ("random", "grid"),
    ]
    assert all(row["rate"] > 0 and row["diverged"] == 0 and row["mean_all"] == row["mean"] for row in rows)


def test_bad_policies_are_refused_in_one_line(registry, capsys):
    assert run(["eval", "--learning-rate", "best", "--registry", str(registry)]) == 2
    assert "--learning-rate best: expected learned, grid, both or a number" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="learning rate 'best'"):
        satm.evaluate("digits/ipc1/mtt", learning_rate="best", registry=registry)
    assert summaries(registry) == {}


def test_a_stream_is_judged_under_both_policies(registry):
    command = ["eval-cl", "digits/ipc1/mtt", "--recipe", "brief", "--steps", "2", "--orders", "1", "--networks", "1"]
    assert run([*command, "--learning-rate", "both", "--threads", "1", "--registry", str(registry)]) == 0
    found = satm.results(registry=registry, protocol="class-incremental", metric="final_accuracy")
    assert {row.policy for row in found} == {"learned", "grid"}
