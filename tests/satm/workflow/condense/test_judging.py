"""The validation curve: judging changes nothing, is resumed, keeps the best images, and sees validation images only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import satm
from registry import Registry
from satm.errors import ConfigError, Interrupted, Pruned
from satm.methods import Outcome
from satm.progress import NoProgress
from satm.workflow.condense import judging as judging_module
from satm.workflow.condense import outer_loop, run
from satm.workflow.condense.judging import CURVE, Judge, Judging, Point, judging_recipe
from satm.workflow.condense.repeat import rebuild, resume
from tests.satm.workflow.condense.test_registry_in_the_way import Watching

QUICK = judging_recipe(networks=2, epochs=3)
EVERY_2 = Judging(every=2, recipe=QUICK)


def preset(method: str = "satm", **settings: Any) -> Any:
    return satm.choose_preset("digits", ipc=1, method=method, profile="smoke", settings={"outer_steps": 5, **settings})


def curve(path: Path, name: str = CURVE) -> dict[int, float]:
    with Registry.open(path, read_only=True) as store:
        run = store.runs(kind="condense")[-1]
        return {row.step: row.value for row in store.metrics(run.id, name)}


def test_the_set_is_the_same_bit_for_bit_with_and_without_a_curve(tmp_path: Path) -> None:
    plain = satm.condense(preset(), registry=tmp_path / "plain.db", device="cpu")
    judged = satm.condense(preset(), registry=tmp_path / "judged.db", device="cpu", judging=EVERY_2)
    assert judged.record.id == plain.record.id
    points = curve(tmp_path / "judged.db")
    assert list(points) == [1, 3, 4]  # after 2 and 4 outer steps and at the end, as the step before
    for step, mean in points.items():
        networks = [curve(tmp_path / "judged.db", f"{CURVE}.{k}")[step] for k in range(2)]
        assert mean == pytest.approx(sum(networks) / 2)
    assert curve(tmp_path / "plain.db") == {}
    with Registry.open(tmp_path / "judged.db", read_only=True) as store:
        (stored,) = store.runs(kind="condense")
        assert Judging.from_dict(stored.config["judging"]) == EVERY_2.on("digits")


def test_a_finished_run_without_a_curve_is_run_again_for_it(tmp_path: Path) -> None:
    path = tmp_path / "satm.db"
    first = satm.condense(preset("dm"), registry=path, device="cpu")
    second = satm.condense(preset("dm"), registry=path, device="cpu", judging=EVERY_2)
    third = satm.condense(preset("dm"), registry=path, device="cpu")
    assert first.record.id == second.record.id == third.record.id
    assert (first.new, second.new, third.new) == (True, False, False)
    assert second.run not in (first.run,)
    assert third.run == second.run


def test_a_stopped_run_keeps_its_curve_and_the_best_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means = iter([0.2, 0.9, 0.4] * 2)

    def point(self: Judge, step: int, synthetic: object) -> Point:
        mean = next(means)
        return Point(step=step, accuracies=(mean, mean), rate=0.1)

    monkeypatch.setattr(Judge, "_point", point)
    judging = replace(EVERY_2, keep_best=True)
    whole = satm.condense(preset("dm"), registry=tmp_path / "whole.db", device="cpu", judging=judging)
    progress = Watching(lambda done: setattr(progress, "stop", done == 4))
    stopped = tmp_path / "stopped.db"
    with pytest.raises(Interrupted):  # after step 4, before it is judged
        satm.condense(preset("dm"), registry=stopped, device="cpu", judging=judging, progress=progress)
    assert curve(stopped) == {1: 0.2}
    with Registry.open(stopped, read_only=True) as store:
        (run,) = store.runs(kind="condense")
    done = resume(run, registry=stopped)
    assert curve(stopped) == curve(tmp_path / "whole.db") == {1: 0.2, 3: 0.9, 4: 0.4}
    assert done.record.id == whole.record.id
    (best,) = done.siblings
    assert best.name == "digits/ipc1/dm-best@1"
    assert [each.id for each in whole.siblings] == [best.id]
    with Registry.open(stopped, read_only=True) as store:
        (run,) = store.runs(kind="condense")
        assert run.config["best"] == {"step": 4, CURVE: 0.9}
        assert not torch.equal(store.load(best.id).images, store.load(done.record.id).images)


def test_the_best_set_is_the_set_that_a_run_of_so_many_steps_makes(tmp_path: Path) -> None:
    path = tmp_path / "satm.db"
    judging = Judging(every=1, recipe=QUICK, keep_best=True)
    done = satm.condense(preset("dm", outer_steps=3), registry=path, device="cpu", judging=judging)
    with Registry.open(path, read_only=True) as store:
        step = store.run(done.run).config["best"]["step"]
        best = store.load(done.siblings[0].id)
    assert step == max(curve(path), key=lambda at: (curve(path)[at], -at)) + 1
    short = satm.condense(preset("dm", outer_steps=step), registry=tmp_path / "short.db", device="cpu")
    with Registry.open(tmp_path / "short.db", read_only=True) as store:
        assert torch.equal(store.load(short.record.id).images, best.images)
    assert best.config["judging"] == judging.on("digits").to_dict()
    again = rebuild(done.siblings[0].name, registry=path, anyway=True)
    assert again.differences == ()


def test_no_test_image_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    satm.condense(preset("dm"), registry=tmp_path / "true.db", device="cpu", judging=EVERY_2)
    load = run.load_data

    def noisy(*arguments: Any, **named: Any) -> Any:
        data = load(*arguments, **named)
        noise = torch.randint(0, 256, data.test.images.shape, dtype=torch.uint8)
        return replace(data, test=replace(data.test, images=noise, labels=data.test.labels.flip(0)))

    monkeypatch.setattr(run, "load_data", noisy)
    satm.condense(preset("dm"), registry=tmp_path / "noise.db", device="cpu", judging=EVERY_2)
    assert curve(tmp_path / "true.db") == curve(tmp_path / "noise.db") != {}


def test_a_set_without_a_step_size_is_judged_at_the_best_rate_of_the_grid(tmp_path: Path) -> None:
    path = tmp_path / "satm.db"
    satm.condense(preset("dm"), registry=path, device="cpu", judging=EVERY_2)
    assert set(curve(path, "validation_rate").values()) <= set(QUICK.grid)
    satm.condense(preset(), registry=path, device="cpu", judging=EVERY_2)
    rates, alphas = curve(path, "validation_rate"), curve(path, "step_size")
    assert rates[4] == pytest.approx(alphas[4])


def test_a_network_that_diverges_counts_as_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "satm.db"
    wild = replace(QUICK, learning_rate=1e30)
    satm.condense(preset("dm"), registry=path, device="cpu", judging=Judging(every=5, recipe=wild))
    assert curve(path) == {4: pytest.approx(0.1)}
    assert curve(path, "validation_diverged") == {4: 2.0}


def test_a_method_without_outer_steps_has_one_point(tmp_path: Path) -> None:
    path = tmp_path / "satm.db"
    random = satm.choose_preset("digits", ipc=1, method="random", profile="smoke")
    satm.condense(random, registry=path, device="cpu", judging=EVERY_2)
    assert list(curve(path)) == [0]


def test_without_validation_images_it_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds out no validation images \(validation=0\) to judge on"):
        satm.condense(preset(validation=0), registry=tmp_path / "satm.db", device="cpu", judging=EVERY_2)
    assert not (tmp_path / "satm.db").exists()
    with pytest.raises(ConfigError, match="judged every 0 outer steps"):
        Judging(every=0)


def test_a_watcher_may_stop_the_run_and_the_run_says_why(tmp_path: Path) -> None:
    class Impatient:
        @property
        def facts(self) -> dict[str, Any]:
            return {"study": "s", "trial": 7}

        def judged(self, points: Any) -> str | None:
            return "pruned after outer step 4" if points[-1].step == 4 else None

    path = tmp_path / "satm.db"
    with pytest.raises(Pruned):
        satm.condense(preset("dm"), registry=path, device="cpu", judging=EVERY_2, watcher=Impatient())
    with Registry.open(path, read_only=True) as store:
        (stopped,) = store.runs(kind="condense")
    assert (stopped.status, stopped.message) == ("interrupted", "pruned after outer step 4")
    assert stopped.config["tuning"] == {"study": "s", "trial": 7}
    whole = satm.condense(preset("dm"), registry=tmp_path / "whole.db", device="cpu")
    assert resume(stopped, registry=path).record.id == whole.record.id


def test_the_user_can_stop_it_while_it_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stops(NoProgress):
        at = "judge after outer step 2"
        stop = False

        def bar(self, name: str, total: int, *, done: int = 0) -> Any:
            self.stop = self.stop or name == self.at
            return super().bar(name, total, done=done)

        def stopping(self) -> bool:
            return self.stop

    path = tmp_path / "satm.db"
    with pytest.raises(Interrupted, match="while it was judged after outer step 2 of 5, all saved"):
        satm.condense(preset("dm"), registry=path, device="cpu", judging=EVERY_2, progress=Stops())
    assert curve(path) == {}
    satm.condense(preset("dm"), registry=path, device="cpu", judging=EVERY_2)
    assert list(curve(path)) == [1, 3, 4]


def test_judging_counts_for_no_outer_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "satm.db"
    clock = [0.0]
    monkeypatch.setattr(outer_loop.time, "monotonic", lambda: clock[0])

    def slow(self: Judge, step: int, synthetic: object) -> Point:
        clock[0] += 1000.0
        return Point(step=step, accuracies=(0.5, 0.5), rate=0.1)

    monkeypatch.setattr(judging_module.Judge, "_point", slow)
    satm.condense(preset("dm"), registry=path, device="cpu", judging=EVERY_2)
    assert curve(path, "outer_step_seconds") == {4: 0.0}
    assert curve(path, "peak_bytes") == {}


def test_the_state_holds_the_curve_as_json() -> None:
    assert Outcome._fields[:4] == ("images", "labels", "label_kind", "step_size")  # what the state keeps of the best
    assert json.loads(json.dumps(EVERY_2.to_dict())) == EVERY_2.to_dict()
