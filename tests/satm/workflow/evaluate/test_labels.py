"""`--labels teacher`: any memory can be judged with a teacher's labels, and its rows say so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import satm
from evaluation import RECIPES, Recipe, evaluate
from registry import Registry
from satm.cli import run
from satm.errors import ConfigError, Interrupted
from satm.networks import plan_for
from satm.rng import Seed
from satm.teachers import TEACHERS, TeacherConfig, TeacherLabels, train_teacher
from satm.teachers.store import TeacherStore, stored_bytes
from satm.workflow.incremental.memories import tensor_bytes
from tests.helpers import StopAfter, image_data

TEACHER = TeacherConfig(epochs=1, batch_size=256)
QUICK = {"recipe": "brief", "learning_rate": 0.05, "repeats": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A registry with random digits, and its SATM_HOME."""
    folder = tmp_path_factory.mktemp("labels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SATM_HOME", str(folder / "home"))
        preset = satm.choose_preset(
            "digits", ipc=1, method="random", profile="smoke", settings={"architecture": "convnet3_w4"}
        )
        satm.condense(preset, registry=folder / "satm.db")
    return folder / "satm.db"


@pytest.fixture
def copy(made, tmp_path, monkeypatch):
    monkeypatch.setattr("satm.workflow.teachers.TEACHERS", dict.fromkeys(TEACHERS, TEACHER))
    brief = replace(RECIPES.get("smoke"), name="brief", epochs=2, drop_at=())
    monkeypatch.setitem(RECIPES._items, "brief", brief)
    path = tmp_path / "copy.db"
    path.write_bytes(made.read_bytes())
    return path


def rows(path, **filters):
    with Registry.open(path, read_only=True) as store:
        return store.results(metric="accuracy", **filters)


def test_rows_of_a_teacher_are_rows_of_their_own_and_name_it(copy):
    satm.evaluate(registry=copy, **QUICK)
    satm.evaluate(registry=copy, labels="teacher", baseline="random", **QUICK)
    satm.evaluate(registry=copy, labels=satm.ByTeacher(temperature=4.0), **QUICK)
    found = rows(copy)
    assert len({row.recipe_id for row in found}) == 3
    assert sorted(row.memory for row in found) == ["condensed"] * 3 + ["random"]
    own, *by_teacher = sorted(found, key=lambda row: "labels" in row.detail)
    assert "labels" not in own.detail
    assert {row.detail["labels"]["temperature"] for row in by_teacher} == {4.0, 20.0}
    assert {row.detail["labels"]["architecture"] for row in by_teacher} == {"convnetbn3_w4"}
    (key,) = {row.detail["labels"]["teacher"] for row in by_teacher}
    with Registry.open(copy, read_only=True) as store:
        recipes = {store.recipe(row.recipe_id).name for row in by_teacher}
        stored = {store.recipe(row.recipe_id).config["labels"]["temperature"] for row in by_teacher}
    assert any(name.endswith("teacher convnetbn3_w4, T 20") for name in recipes)
    assert stored == {4.0, 20.0}
    assert TeacherStore({}).folder.joinpath(f"{key}.safetensors").exists()
    before = {(row.recipe_id, row.memory): row.value for row in found}
    satm.evaluate(registry=copy, labels="teacher", baseline="random", **QUICK)  # nothing is trained again
    assert {(row.recipe_id, row.memory): row.value for row in rows(copy)} == before


def test_a_stopped_teacher_goes_on_and_nothing_is_stored_before(copy, monkeypatch):
    longer = dict.fromkeys(TEACHERS, replace(TEACHER, epochs=2))
    monkeypatch.setattr("satm.workflow.teachers.TEACHERS", longer)
    with pytest.raises(Interrupted, match="1 of 2 epochs of the teacher stored"):
        satm.evaluate(registry=copy, labels="teacher", progress=StopAfter(7), **QUICK)  # 6 batches an epoch
    assert rows(copy) == []
    satm.evaluate(registry=copy, labels="teacher", **QUICK)
    assert len(rows(copy)) == 1


def test_a_matrix_and_a_stream_take_a_teacher_too(copy):
    satm.evaluate_matrix(architectures=["convnetbn3_w4"], against="random", registry=copy, labels="teacher", **QUICK)
    assert {(row.architecture, row.memory) for row in rows(copy)} == {
        (arch, memory) for arch in ("convnet3_w4", "convnetbn3_w4") for memory in ("condensed", "random")
    }
    brief = {"recipe": "brief", "learning_rate": 0.05, "steps": 2, "orders": 1, "networks": 1, "registry": copy}
    satm.evaluate_incremental(**brief)
    satm.evaluate_incremental(**brief, labels="teacher")
    satm.evaluate_incremental(**brief, labels="teacher", memory="random", budget="bytes")
    found = {("labels" in row.detail, row.memory): row.detail for row in rows(copy, protocol="class-incremental")}
    assert set(found) == {(False, "condensed"), (True, "condensed"), (True, "random[bytes]")}
    plain, taught = (found[labels, "condensed"]["budget"]["bytes"] for labels in (False, True))
    synthetic = satm.load("latest", registry=copy)
    assert plain == tensor_bytes(synthetic)
    assert taught - plain == found[True, "condensed"]["labels"]["bytes"]
    network = plan_for("convnetbn3_w4", synthetic).create(Seed(0))
    assert taught - plain == stored_bytes(network) > 4 * sum(p.numel() for p in network.parameters())  # buffers too
    real = found[True, "random[bytes]"]["budget"]
    assert real["bytes"] == real["images"] * 16 * 16 + taught - plain


def test_rded_condenses_and_is_judged_by_its_recipe(tmp_path, monkeypatch):
    """The teacher that chose the crops labels the batches: one network, trained once."""
    monkeypatch.setitem(RECIPES._items, "rded-smoke", short := replace(RECIPES.get("rded-smoke"), epochs=2))
    settings = {"architecture": "convnetbn3_w4", "teacher.epochs": 5, "candidates": 20, "crops": 2}
    preset = satm.choose_preset("digits", ipc=2, method="rded", profile="smoke", settings=settings)
    assert (preset.config.recipe, preset.config.settings.labels) == ("rded-smoke", "hard")
    record = satm.condense(preset, registry=tmp_path / "satm.db").record
    (parent,) = [each for each in record.parents if each.startswith("teacher:")]
    satm.evaluate(registry=tmp_path / "satm.db", repeats=1)
    (row,) = rows(tmp_path / "satm.db")
    assert f"teacher:{row.detail['labels']['teacher']}" == parent
    assert (row.architecture, row.step_size, row.detail["policy"]) == ("convnetbn3_w4", 0.001, "fixed")
    satm.evaluate(registry=tmp_path / "satm.db", repeats=1, labels="own")
    assert len(rows(tmp_path / "satm.db")) == 2
    assert short.labels.temperature == 20.0


def test_what_cannot_be_is_refused_in_one_line_before_work_starts(copy, capsys, tmp_path):
    at = ["--registry", str(copy), "--threads", "1", "--recipe", "brief"]
    for arguments, code, message in (
        (["eval", "--labels", "magic"], 2, "--labels magic: expected teacher or own"),
        (["eval", "--labels", "teacher", "--temperature", "0"], 2, "expected a finite number above 0"),
        (["eval", "--labels", "teacher", "--temperature", "-3"], 2, "temperature -3"),
        (["eval", "--labels", "teacher", "--teacher", "resnet181"], 2, "did you mean resnet18"),
        (["eval", "--labels", "teacher", "--teacher", "convnet5"], 2, "use convnet4"),
        (["eval", "--temperature", "0"], 2, "expected a finite number above 0"),
        (["eval", "--labels", "own", "--teacher", "resnet18bn"], 2, "--teacher resnet18bn beside --labels own"),
        (["eval", "--labels", "own", "--temperature", "4"], 2, "--temperature 4 beside --labels own"),
        (["eval-arch", "--arch", "convnet3_w4", "--labels", "teacher", "--temperature", "0"], 2, "above 0"),
        (["eval-cl", "--labels", "teacher", "--protocol", "der"], 2, "protocol der trains in a loop of its own"),
    ):
        assert run([*arguments, *at]) == code, arguments
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        assert message in line
    arguments = ["eval", "--registry", str(copy), "--recipe", "rded", "--compilation", "compiled", "--threads", "1"]
    assert run(arguments) == 2
    assert "trains by adamw, and only SGD is compiled; set it to auto" in capsys.readouterr().err
    assert not TeacherStore({}).folder.exists()
    assert rows(copy) == []


def test_a_teacher_needs_the_real_images(tmp_path, capsys):
    """A set whose images are gone: the message names the option first."""
    root = tmp_path / "root"
    for part in ("train", "test"):
        for name in ("a", "b"):
            (root / "toy" / part / name).mkdir(parents=True)
            for number in range(4):
                _picture(root / "toy" / part / name / f"{number}.png", number)
    registry = str(tmp_path / "toy.db")
    condensing = ["condense", "toy", "--method", "random", "--profile", "smoke", "--registry", registry]
    assert run([*condensing, "--data-root", str(root), "--set", "architecture=convnet3_w4"]) == 0
    capsys.readouterr()
    (root / "toy").rename(tmp_path / "gone")
    assert run(["eval", "--labels", "teacher", "--registry", registry]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "labels teacher: a teacher needs the set's real images, and" in line


def _picture(path, number):
    from PIL import Image

    image = Image.new("RGB", (16, 16), (10 * number, 20, 30))
    image.putpixel((number, 2), (255, 255, 255))
    image.save(path)


def test_the_library_refuses_a_recipe_without_its_teacher_and_one_of_other_classes():
    data = image_data()
    recipe = Recipe(name="taught", epochs=1, learning_rate=0.1, repeats=1, source="test").labelled(
        TeacherLabels(teacher=replace(TEACHER, architecture="convnetbn3_w4"))
    )
    with pytest.raises(ConfigError, match=r"has its labels from a teacher, and there is none; train one.*--labels own"):
        evaluate(data.train, data, ["convnet3_w4"], recipe, seed=Seed(0))
    other = train_teacher(data.of_classes([0, 1]), recipe.labels.teacher)
    with pytest.raises(ConfigError, match="the teacher knows 2 classes"):
        evaluate(data.train, data, ["convnet3_w4"], recipe, seed=Seed(0), teacher=other)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    (result,) = evaluate(
        data.train, data, ["convnet3_w4"], recipe, seed=Seed(0), teacher=train_teacher(data, recipe.labels.teacher)
    )
    assert torch.isfinite(torch.tensor(result.accuracy))
