"""A teacher learns from the training images only, is stored once, and continues to the same bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from satm.errors import ConfigError, Interrupted, UnknownName
from satm.progress import NoProgress
from satm.teachers import TEACHERS, TeacherConfig, check_teacher, missing_epochs, train_teacher
from satm.teachers.train import teacher_store
from tests.helpers import StopAfter, image_data

CONFIG = TeacherConfig(architecture="convnetbn3_w4", epochs=4, lr=0.1, batch_size=16, augment="color_crop", drop_at=0.5)


@pytest.fixture
def data():
    return image_data()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    return lambda name: monkeypatch.setenv("SATM_HOME", str(tmp_path / name))


def state(teacher):
    return {name: each.clone() for name, each in teacher.network.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_teacher_is_trained_once_and_knows_the_classes(data, elsewhere):
    elsewhere("home")
    assert missing_epochs(data, CONFIG) == 4
    first = train_teacher(data, CONFIG)
    assert missing_epochs(data, CONFIG) == 0
    again = train_teacher(data, CONFIG, progress=StopAfter(0))  # nothing to train, nothing to stop
    assert equal(state(first), state(again))
    assert first.id == again.id == teacher_store(data, CONFIG).key
    assert first.records[-1].validation > 0.6
    assert (len(first.records), first.num_classes, first.image_shape) == (4, 3, (1, 8, 8))
    assert not first.network.training
    assert not any(p.requires_grad for p in first.network.parameters())
    sizes = [each.numel() * each.element_size() for each in first.network.state_dict().values()]
    assert first.bytes == sum(sizes)
    assert any("running_mean" in name for name in state(first))  # buffers count too


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("batches", "stored"), [(0, 0), (4, 1), (8, 2)])  # three batches an epoch
def test_an_interrupted_training_continues_to_the_same_bits(data, elsewhere, momentum, batches, stored):
    config = replace(CONFIG, momentum=momentum)
    elsewhere("at once")
    at_once = train_teacher(data, config)
    elsewhere("interrupted")
    with pytest.raises(Interrupted, match=rf"{stored} of 4 epochs of the teacher.*the same command continues"):
        train_teacher(data, config, progress=StopAfter(batches))
    assert missing_epochs(data, config) == 4 - stored
    again = train_teacher(data, config)
    assert equal(state(again), state(at_once))
    assert again.records == at_once.records


def test_validation_and_test_images_do_not_shape_it(data, elsewhere):
    elsewhere("one")
    one = train_teacher(data, CONFIG)
    other = image_data()
    elsewhere("other")
    changed = replace(other, validation=other.validation.subset(torch.arange(2)), test=other.test.of_classes([0]))
    assert equal(state(one), state(train_teacher(changed, CONFIG)))
    elsewhere("without")
    without = train_teacher(replace(other, validation=other.validation.of_classes([])), CONFIG)
    assert equal(state(one), state(without))
    assert without.records[-1].validation is None


def test_the_key_hashes_everything_that_shapes_a_teacher(data):
    def key(data=data, **changes):
        return teacher_store(data, replace(CONFIG, **changes)).key

    changes = [{"seed": 1}, {"epochs": 5}, {"lr": 0.2}, {"architecture": "convnet3_w4"}, {"augment": None}]
    different = [key(), key(replace(data, fingerprint="other")), *(key(**each) for each in changes)]
    assert len(set(different)) == len(different)
    assert key() == key(architecture="dd_convnetbn3_w4")  # one name of the same network


def test_a_damaged_file_is_trained_again_and_it_says_so(data, elsewhere):
    elsewhere("home")
    config = replace(CONFIG, epochs=1)
    before = train_teacher(data, config)
    path = teacher_store(data, config).path
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    assert missing_epochs(data, config) == 1
    said = []

    class Listening(NoProgress):
        def say(self, message):
            said.append(message)

    assert equal(state(train_teacher(data, config, progress=Listening())), state(before))
    assert "is damaged (the checksum of" in said[0]
    assert not missing_epochs(data, config)


def test_what_cannot_be_trained_is_refused_before_it_starts(data):
    with pytest.raises(UnknownName, match="did you mean resnet18"):
        check_teacher(data, replace(CONFIG, architecture="resnet181"))
    with pytest.raises(ConfigError, match="--teacher"):
        check_teacher(data, replace(CONFIG, architecture=None))
    with pytest.raises(ConfigError, match=r"class checks of patterns has no training image.*--labels own"):
        check_teacher(replace(data, train=data.train.of_classes([0, 1])), CONFIG)
    odd = replace(data, train=data.train.subset(torch.arange(33)))
    with pytest.raises(ConfigError, match=r"one image \(33 images in batches of 16\); change teacher\.batch_size or"):
        check_teacher(odd, replace(CONFIG, architecture="timm/resnet18"))
    for change, match in (({"epochs": 0}, "epochs 0"), ({"drop_at": 0.0}, "drop_at"), ({"lr": -1.0}, "learning rate")):
        with pytest.raises(ConfigError, match=match):
            replace(CONFIG, **change)
    with pytest.raises(UnknownName):
        replace(CONFIG, augment="blur")


def test_a_teacher_of_other_classes_is_refused(data, elsewhere):
    elsewhere("home")
    teacher = train_teacher(data, replace(CONFIG, epochs=1))
    with pytest.raises(ConfigError, match=r"knows 3 classes of images .* the set has 10"):
        teacher.check_fits(10, (1, 8, 8))
    with pytest.raises(ConfigError, match="labels teacher"):
        teacher.check_fits(3, (3, 8, 8))


def test_a_data_set_allows_only_its_own_operations():
    on = TEACHERS["paper"].on("convnetbn3", "color_crop_scale_rotate")
    assert (on.architecture, on.augment) == ("convnetbn3", "color_crop_scale_rotate")
    assert TEACHERS["paper"].on("convnetbn3", None).augment == TEACHERS["paper"].augment


def test_the_teachers_have_the_documented_numbers():
    """Ours; docs/choices.md has the table of learning rates."""
    found = {
        name: (t.epochs, t.batch_size, t.lr, t.momentum, t.weight_decay, t.drop_at) for name, t in TEACHERS.items()
    }
    same = (0.05, 0.9, 5e-4, 0.8)
    assert found == {"paper": (50, 128, *same), "cpu": (10, 128, *same), "smoke": (5, 64, *same)}
