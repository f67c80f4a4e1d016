"""Every evaluation recipe equals what was published (`published.csv`), or the difference is listed with a reason."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import pytest

from evaluation import RECIPES, Recipe
from evaluation.recipe import Case
from evaluation.recipes import BY_DATASET, RDED_CASES
from protocols.base import PROTOCOLS
from protocols.order import class_orders, split_classes
from protocols.published import PUBLISHED
from satm.augment import STRATEGY, CutMix, DSARanges
from satm.errors import UsageError
from satm.presets import find_preset
from satm.presets.profiles import class_incremental_repeats
from satm.rng import Seed
from satm.schedule import WarmRestarts
from satm.teachers import TEACHERS, TeacherLabels
from tests.golden.compared import Value, table

Table = Mapping[str, Recipe]
METHODS = ("mtt", "ftd", "tesla", "datm", "dc", "dsa", "dcc", "dsac", "dm", "cafe", "idc")
RANKED = ("mtt", "datm", "dc", "dsa", "dm")
"""The methods for whose sets DD-Ranking has a file with hard labels or DATM's; RDED's has another recipe."""


# What a recipe calls a published parameter.

Read = Callable[[Recipe], object]


def ranges(recipe: Recipe) -> DSARanges:
    return recipe.ranges or DSARanges()


def padding(recipe: Recipe) -> str:
    """GDumb's words for a shift by an eighth of the 32 pixels of a CIFAR image."""
    flips = {"crop+flip": "; horizontal flip except MNIST, SVHN, KMNIST", "crop": ""}
    crop = f"RandomCrop(padding {32 * ranges(recipe).crop:g})"
    return crop + flips[recipe.augment] if recipe.augment in flips else str(recipe.augment)


IDC_CODE = "Efficient-Dataset-Condensation ceac95a continual-learning/utils"


def restarts(name: str) -> Read:
    return lambda recipe: getattr(recipe.restarts, name, "none")


ONE: Mapping[str, Read] = {
    "optimizer": lambda recipe: recipe.optimizer or "sgd",
    "momentum": lambda recipe: recipe.momentum,
    "weight_decay": lambda recipe: recipe.weight_decay,
    "decay": lambda recipe: recipe.decay,
    "repeats": lambda recipe: recipe.repeats,
    "batch_size": lambda recipe: recipe.batch_size,
    "augment": lambda recipe: recipe.augment or "none",
    "Epoch": lambda recipe: recipe.epochs - 1,  # `evaluate_synset` trains one epoch more
    "learning_rate": lambda recipe: "syn_lr" if recipe.learning_rate == "learned" else recipe.learning_rate,
}

FIELD: Mapping[str, Read] = {
    "eval.optimizer": ONE["optimizer"],
    "eval.momentum": ONE["momentum"],
    "eval.weight_decay": ONE["weight_decay"],
    "eval.lr_drop_factor": ONE["decay"],
    "eval.lr_drop_after_epoch_index": lambda recipe: recipe.drop_at[0] - 1,
    "eval.lr_drop_after": lambda recipe: "Epoch//2+1" if recipe.drop_at == ((recipe.epochs - 1) // 2 + 2,) else "other",
    "eval.epochs_run": lambda recipe: recipe.epochs,
    "epoch_eval_train": ONE["Epoch"],
    "eval.epoch_eval_train": ONE["Epoch"],
    "eval.lr": ONE["learning_rate"],
    "lr_net": ONE["learning_rate"],
    "eval.batch": ONE["batch_size"],
    "batch_train": ONE["batch_size"],
    "eval.batch_train": ONE["batch_size"],
    "num_eval": ONE["repeats"],
    "dsa_strategy": ONE["augment"],
    "eval.dsa_strategy": ONE["augment"],
    "eval.augmentation": ONE["augment"],
    "eval.crop": lambda recipe: 28 * ranges(recipe).crop,
    "eval.scale": lambda recipe: ranges(recipe).scale - 1,
    "eval.rotate": lambda recipe: ranges(recipe).rotate,
    "dsa_param.crop_pad": lambda recipe: ranges(recipe).crop,
    "dsa_param.flip": lambda recipe: ranges(recipe).flip,
    "dsa_param.scale": lambda recipe: ranges(recipe).scale,
    "dsa_param.rotate": lambda recipe: ranges(recipe).rotate,
    "dsa_param.cutout": lambda recipe: ranges(recipe).cutout,
    "dsa_param.brightness": lambda recipe: ranges(recipe).brightness,
    "dsa_param.saturation": lambda recipe: ranges(recipe).saturation,
    "dsa_param.contrast": lambda recipe: ranges(recipe).contrast,
}
"""The parameters of `evaluate_synset`."""

IDC_CL: Mapping[str, Read] = {
    "epochs": lambda recipe: recipe.epochs,
    "train_batch_size": ONE["batch_size"],
    "base_lr": ONE["learning_rate"],
    "lr_milestones": lambda recipe: ",".join(map(str, recipe.drop_at)),
    "lr_factor": ONE["decay"],
    "weight_decay": ONE["weight_decay"],
    "momentum": ONE["momentum"],
    "mix_p": lambda recipe: recipe.cutmix.probability if recipe.cutmix else 0,
    "beta_param": lambda recipe: recipe.cutmix.alpha if recipe.cutmix else "none",
    "DiffAug": ONE["augment"],
    "strong_aug": lambda recipe: recipe.augment is not None,
    "nb_runs": ONE["repeats"],
}
"""The parameters of IDC's continual learning that a recipe has."""

GDUMB: Mapping[str, Read] = {
    "optimizer": ONE["optimizer"],
    "momentum": ONE["momentum"],
    "maxlr": ONE["learning_rate"],
    "minlr": lambda recipe: recipe.sgd(0.05).lr * recipe.restarts.floor if recipe.restarts else "none",
    "weight_decay": ONE["weight_decay"],
    "batch_size": ONE["batch_size"],
    "cutmix_alpha": lambda recipe: recipe.cutmix.alpha if recipe.cutmix else "none",
    "cutmix_prob": lambda recipe: recipe.cutmix.probability if recipe.cutmix else "none",
    "clip": lambda recipe: recipe.clip_norm or "none",
    "scheduler": lambda recipe: "CosineAnnealingWarmRestarts" if recipe.restarts else "none",
    "T_0": restarts("first"),
    "T_mult": restarts("growth"),
    "warmup_passes": restarts("warmup"),
    "warmup_factor": restarts("warmup_factor"),
    "augmentation": padding,
    "seeds": lambda recipe: ",".join(map(str, range(recipe.repeats))),
    "num_passes": lambda recipe: recipe.epochs,
    "regularization": lambda recipe: "cutmix" if recipe.cutmix else "none",
}

RANKING: Mapping[str, Read] = {
    "optimizer": ONE["optimizer"],
    "lr_scheduler": lambda recipe: "step" if recipe.drop_at and not recipe.restarts else "none",
    "step_size": lambda recipe: recipe.drop_at[0],
    "gamma": ONE["decay"],
    "weight_decay": ONE["weight_decay"],
    "momentum": ONE["momentum"],
    "num_eval": ONE["repeats"],
    "num_epochs": lambda recipe: recipe.epochs,
    "syn_batch_size": ONE["batch_size"],
    "data_aug_func": lambda recipe: "dsa" if recipe.augment == STRATEGY else "other",
    "default_lr": ONE["learning_rate"],
}

RDED: Mapping[str, Read] = {
    "re_epochs": lambda recipe: recipe.epochs,
    "re_batch_size": ONE["batch_size"],
    "adamw_lr": ONE["learning_rate"],
    "adamw_weight_decay": ONE["weight_decay"],
    "adamw_betas": lambda recipe: ",".join(
        str(getattr(recipe.optimisation(0.1), name, 0)) for name in ("beta1", "beta2")
    ),
    "optimizer": lambda recipe: recipe.optimizer or "sgd",
    "mix_type": lambda recipe: "cutmix" if recipe.cutmix and recipe.cutmix.probability == 1 else "other",
    "cutmix": lambda recipe: recipe.cutmix.alpha if recipe.cutmix else "none",
    "temperature": lambda recipe: recipe.labels.temperature if recipe.labels else "none",
    "relabel": lambda recipe: "teacher on every augmented batch" if recipe.labels else "none",
    "hflip": lambda recipe: recipe.augment == "flip",
    # What DD-Ranking calls the same.
    "num_epochs": lambda recipe: recipe.epochs,
    "syn_batch_size": ONE["batch_size"],
    "syn_lr": ONE["learning_rate"],
    "weight_decay": ONE["weight_decay"],
    "data_aug_func": lambda recipe: "cutmix" if recipe.cutmix else "other",
}

IDC: Mapping[str, Read] = {
    "epochs": lambda recipe: recipe.epochs,
    "batch_size": ONE["batch_size"],
    "lr": ONE["learning_rate"],
    "momentum": ONE["momentum"],
    "weight_decay": ONE["weight_decay"],
    "repeat": ONE["repeats"],
    "mixup": lambda recipe: "cut" if recipe.cutmix else "vanilla",
    "beta": lambda recipe: recipe.cutmix.alpha if recipe.cutmix else "none",
    "mix_p": lambda recipe: (
        "1.0; 0.5 on CIFAR, SVHN, MNIST, Fashion" if recipe.cutmix and recipe.cutmix.probability == 0.5 else "other"
    ),
    # Its code applies flip and colour always, and one of the others (misc/augment.py).
    "dsa_strategy": lambda recipe: (
        "color_crop_flip_scale_rotate" if recipe.augment == "flip+color+crop_scale_rotate" else "other"
    ),
    "eval.optimizer": ONE["optimizer"],
    "eval.lr_gamma": ONE["decay"],
    "eval.lr_milestones": lambda recipe: (
        "2/3 and 5/6 of epochs" if recipe.drop_at == (2 * recipe.epochs // 3, 5 * recipe.epochs // 6) else "other"
    ),
}

STUDENTS = {
    **{f"conv{depth}": f"convnetbn{depth}" for depth in (3, 4, 5, 6)},
    "resnet18": "resnet18bn",
    "resnet18_modified": "resnet18bn",
    "efficientnet_b0": "timm/efficientnet_b0",
    "mobilenet_v2": "timm/mobilenetv2_100",
    "vit_b_16": "timm/vit_base_patch16_224",
}
"""RDED's networks by our names. Those that it trains at its usual learning rate need no place here."""

CLASSES = {"cifar10": 10, "imagenette": 10, "imagewoof": 10, "imagenet-10": 10, "cifar100": 100, "imagenet-100": 100}
CLASSES |= {"tiny-imagenet": 200, "imagenet-1k": 1000, "*": 10}

ARGUMENTS = "RDED 3f6453d argument.py:234-315"
PROSE = (
    *(
        Value("rded", "*", "10", name, "adamw_lr", value, ARGUMENTS)
        for name, value in (
            ("vgg11", "0.0005"),
            ("alexnet", "0.0001"),
            ("efficientnet_b0", "0.002"),
            ("mobilenet_v2", "0.0025"),
            ("vit_b_16", "0.0001"),
            ("resnet50", "0.001"),
        )
    ),
    *(
        Value("rded", dataset, ipc, "resnet18", "re_batch_size", size, ARGUMENTS)
        for dataset, sizes in (
            ("cifar10", ("10", "50", "100")),
            ("imagenet-100", ("20", "100", "200")),
            ("imagenet-1k", ("20", "100", "200")),
            ("tiny-imagenet", ("100", "100", "100")),
        )
        for ipc, size in zip(("1", "10", "50"), sizes, strict=True)
    ),
    Value("idc", "*", "*", "", "repeat", "3", "IDC ceac95a README.md"),
    Value("gdumb", "*", "*", "", "warmup_factor", "0.1", "GDumb 4f412d7 src/main.py:10-95"),
    Value("idc-cl", "*", "*", "", "beta_param", "1.0", f"{IDC_CODE}/incremental_train_and_eval.py"),
    # With strong_aug: flip and color on every image, and one of the others drawn for each batch.
    Value("idc-cl", "*", "*", "", "DiffAug", "flip+color+crop_scale_rotate", f"{IDC_CODE}/augment.py"),
    *(
        Value(name, "*", "*", "", "eval.lr_drop_factor", "0.1", "the same `evaluate_synset` as MTT's")
        for name in ("ftd", "tesla", "datm")
    ),
    Value("tesla", "*", "*", "", "eval.lr", "syn_lr", "the same `evaluate_synset` as MTT's"),
    *(Value(f"dd-ranking/{name}", "*", "*", "", "gamma", "0.1", "torch's StepLR by default") for name in RANKED),
    Value(
        "dd-ranking/mtt",
        "*",
        "*",
        "",
        "default_lr",
        "syn_lr",
        "DD-Ranking 9ee9a16: the step size that comes with a set",
    ),
)
"""Values that their sources state in words or take from their libraries, so that the table has no row for them."""

DEPARTURES: Mapping[tuple[str, str, str], tuple[object, str]] = {
    # (recipe, parameter, published value): our value and the reason
    ("datm", "batch_train", "256"): (128, "the default of its program; each of its files says 128"),
    ("datm", "num_eval", "1"): (5, "one network has no spread; five are its program's default"),
    ("dm", "num_eval", "5"): (20, "its README's command; its program and DSA's say 20"),
    ("dm", "num_eval", "3"): (20, "a class-incremental evaluation counts its own networks; see below"),
    ("dc-mnist", "dsa_strategy", "none"): ("crop_scale_rotate", "DC's own augmentation, as DSA's operations"),
    ("dc-mnist", "dsa_param.crop_pad", "0.125"): (4 / 28, "DC's own: 4 pixels"),
    ("dc-mnist", "dsa_param.rotate", "15"): (45.0, "DC's own: 45 degrees"),
    ("prabhu2020-mnist", "cutmix_alpha", "1"): ("none", "no CutMix on MNIST"),
    ("prabhu2020-mnist", "cutmix_prob", "0.5"): ("none", "no CutMix on MNIST"),
    ("prabhu2020-mnist", "augmentation", "RandomCrop(padding 4); horizontal flip except MNIST, SVHN, KMNIST"): (
        "RandomCrop(padding 4)",
        "no flip on MNIST",
    ),
    ("prabhu2020-tiny-imagenet", "num_passes", "64"): (128, "a recipe does not know the size of the memory"),
    ("dd-ranking", "data_aug_func", "none"): ("dsa", "one recipe for the sets of every method; DC's differs in this"),
    ("dd-ranking", "step_size", "absent"): (500, "missing in two files of MTT, present in all others"),
}

OTHERS: Mapping[tuple[str, str], str] = {
    # (method, parameter): why no recipe has it
    ("datm", "eval.label_softmax"): "a set says itself that its labels are logits",
    ("dc", "eval.noise"): "a range of an operation that DC's own strategy for MNIST leaves out",
    ("gdumb", "precision"): "float32: a departure of the recipe",
    ("gdumb", "reported"): "the last epoch: a departure of the recipe",
    ("gdumb", "sampling"): "the memory, not the training: a condensed set, or real images drawn at random",
    ("gdumb", "model"): "the networks are chosen with --arch",
    ("idc-cl", "temperature"): "the protocol has it: tested below",
    ("idc-cl", "beta"): "the protocol has it: tested below",
    ("idc-cl", "steps"): "the published comparison has it: tested below",
    ("idc-cl", "classes_per_step"): "the published comparison has it: tested below",
    ("dd-ranking", "use_zca"): "a set brings its preprocessing",
    ("dd-ranking", "model_name"): "tested below",
}

OTHER_DATA = ("svhn",)
"""Published data sets whose images the suite knows nothing of, so that it cannot leave out an augmentation."""

OF_IDC_ONLY = ("svhn", "mnist", "fashion", "imagenet-10", "imagenet-100", "speech-commands-8")
"""Data sets that only IDC's table has. Its recipe is that for CIFAR-10 and CIFAR-100."""

OURS: Mapping[str, Mapping[str, Any]] = {
    "rded-cpu": {"scale": "cpu", "epochs": 150, "labels": TeacherLabels(temperature=20.0, teacher=TEACHERS["cpu"])},
    "rded-smoke": {
        "scale": "smoke",
        "epochs": 60,
        "repeats": 2,
        "rate_networks": 1,
        "labels": TeacherLabels(temperature=20.0, teacher=TEACHERS["smoke"]),
    },
    "cpu": {"scale": "cpu", "epochs": 300, "drop_at": (151,), "grid": (0.003, 0.01, 0.03, 0.1, 0.3)},
    "smoke": {
        "scale": "smoke",
        "epochs": 60,
        "drop_at": (31,),
        "grid": (0.003, 0.01, 0.03, 0.1, 0.3),
        "repeats": 2,
        "rate_networks": 1,
    },
}
"""The recipes of the smaller scales: `mtt` or `rded`, with these fields."""

WORDS = ("name", "summary", "version", "source", "departures")
"""Fields of a recipe that decide no number."""


def recipes() -> dict[str, Recipe]:
    return {name: RECIPES.get(name) for name in RECIPES}


def named(method: str) -> str:
    """The recipe that judges the sets of a method at paper scale."""
    if method.endswith("rded"):
        return "rded"
    if method.startswith("dd-ranking/"):
        return "dd-ranking"
    if method == "gdumb":
        return PROTOCOLS.get("gdumb-original").recipe or "none"
    if method == "idc-cl":
        return PROTOCOLS.get("idc").recipe or "none"
    return find_preset("cifar10", 10, method="dm" if method == "dm-cl" else method, profile="paper").config.recipe


def readers(method: str) -> Mapping[str, Read]:
    if method.endswith("rded"):
        return RDED
    if method in ("idc", "idc-cl"):
        return IDC if method == "idc" else IDC_CL
    return GDUMB if method == "gdumb" else RANKING if method.startswith("dd-ranking/") else FIELD


def covered() -> Iterator[tuple[Value, str, Read]]:
    """Each published value of a recipe, with each recipe that has it and how it is read there."""
    methods = (*METHODS, "dm-cl", "gdumb", "idc-cl", "rded", *(f"dd-ranking/{name}" for name in (*RANKED, "rded")))
    rows = [row for row in (*table(), *PROSE) if row.method in methods]
    special = {(row.method, row.dataset, row.parameter) for row in rows if row.dataset != "*"}
    names = {method: named(method) for method in methods}
    for row in rows:
        read, name = readers(row.method).get(row.parameter), names[row.method]
        elsewhere = {"dsa": (*OTHER_DATA, "mnist"), "idc": OF_IDC_ONLY}.get(row.method, ())
        if read is None or row.dataset in elsewhere:
            continue
        if row.dataset != "*":
            yield row, BY_DATASET.get((name, row.dataset), name), read
            continue
        yield row, name, read
        for (base, dataset), variant in BY_DATASET.items():
            if base == name and (row.method, dataset, row.parameter) not in special:
                yield row, variant, read


COVERED = list(covered())
GRID = tuple(float(each) for row in table() if row.parameter == "lr_grid" for each in row.value.split(","))


def fitted(recipe: Recipe, row: Value) -> Recipe:
    """The recipe with its numbers for the data set, the IPC and the network of a row."""
    if not row.method.endswith("rded"):
        return recipe
    student = re.sub(r".*_to_(.*)_cr\d", r"\1", row.variant).replace("resnet-18", "resnet18").replace("-", "_")
    ipc = 10 if row.ipc == "*" else int(row.ipc)
    return recipe.for_set(row.dataset, CLASSES[row.dataset], ipc).on(STUDENTS.get(student, student))


def differences(found: Table) -> list[str]:
    """Every way in which the recipes differ from what was published and from the lists above."""
    wrong = []
    for row, name, read in COVERED:
        expected, reason = DEPARTURES.get((name, row.parameter, row.value), (row.value, row.source))
        if row.value == "Epoch+1":
            continue  # the epochs are compared as `epoch_eval_train`
        value = read(fitted(found[name], row))
        if not same(value, expected):
            wrong.append(f"{name}: {row.parameter} {value}, expected {expected} ({row.method}, {reason})")
    return wrong + [text for name in found for text in unpublished(found, name)]


def unpublished(found: Table, name: str) -> Iterator[str]:
    """The fields of a recipe for which nothing is published: they have no effect, or they are ours."""
    recipe, gdumb, base = found[name], name.startswith("prabhu2020"), "rded" if name.startswith("rded") else "mtt"
    if name in OURS:
        expected = {each.name: getattr(found[base], each.name) for each in fields(Recipe)} | OURS[name]
    else:
        expected = {"scale": "paper", "grid": GRID, "rate_networks": 5}  # five networks: ours
        if name == "rded":
            labels = TeacherLabels(temperature=20.0, teacher=TEACHERS["paper"])
            expected |= {"labels": labels, "drop_at": (), "decay": 0.1, "repeats": 5, "restarts": None}
            expected |= {"clip_norm": None, "cases": RDED_CASES}
        else:
            expected |= {"optimizer": None, "labels": None, "cases": None}
            expected |= {"drop_at": (), "decay": 0.1} if gdumb else {"restarts": None, "clip_norm": None}
            # The other recipes have one drop.
            mixed = gdumb or name in ("idc", "idc-cl")
            expected |= {} if mixed else {"cutmix": None, "drop_at": recipe.drop_at[:1]}
        expected |= {} if name == "dc-mnist" else {"ranges": None}
    for key, value in expected.items():
        if key not in WORDS and getattr(recipe, key) != value:
            yield f"{name}: {key} {getattr(recipe, key)}, expected {value}"


def same(value: object, published: object) -> bool:
    """Equal as numbers, to nine digits, or else as words."""
    try:
        return float(str(value)) == pytest.approx(float(str(published)), rel=1e-9)
    except ValueError:
        return str(value) == str(published)


def test_every_recipe_is_the_published_one_or_the_difference_is_listed() -> None:
    assert not differences(recipes())


def test_every_listed_departure_is_a_published_value_that_the_recipe_does_not_have() -> None:
    published = {(name, row.parameter, row.value): read for row, name, read in COVERED}
    assert set(DEPARTURES) <= set(published)
    for key, (ours, reason) in DEPARTURES.items():
        assert reason
        assert same(published[key](RECIPES.get(key[0])), ours)
        assert not same(ours, key[2])


def test_every_published_parameter_of_an_evaluation_is_read_or_listed() -> None:
    read = {(row.method, row.parameter) for row, _, _ in COVERED}
    for row in table():
        family = row.method.partition("/")[0]
        if row.method in METHODS and row.parameter.startswith("eval."):
            assert (row.method, row.parameter) in read | set(OTHERS), row
        elif row.method in ("gdumb", "idc-cl") or row.method in {f"dd-ranking/{name}" for name in RANKED}:
            assert (row.method, row.parameter) in read or (family, row.parameter) in OTHERS, row


def test_each_method_is_judged_by_its_own_recipe_at_paper_and_by_the_scales_below_it() -> None:
    expected = {"mtt": "mtt", "ftd": "mtt", "satm": "mtt", "tesla": "tesla", "datm": "datm", "dc": "dc", "dsa": "dm"}
    expected |= {"idc": "idc", "dream": "idc", "dcc": "dc", "dsac": "dm", "cafe": "cafe"}
    for method, name in (expected | {"dm": "dm", "random": "dm", "herding": "dm", "kcenter": "dm"}).items():
        for profile, recipe in (("paper", name), ("cpu", "cpu"), ("smoke", "smoke")):
            preset = find_preset("cifar10", 10, method=method, profile=profile)
            assert preset.config.recipe == recipe
            said = any(f"evaluated by the recipe `{recipe}`" in each for each in preset.departures)
            assert said == (profile != "paper")
    assert find_preset("cifar10", 10, method="mdc", base="datm", profile="paper").config.recipe == "datm"


def test_the_networks_are_the_published_ones() -> None:
    for row in table():
        if row.method in {f"dd-ranking/{name}" for name in RANKED} and row.parameter == "model_name":
            size = 64 if row.dataset == "tiny-imagenet" else 32
            preset = find_preset(row.dataset, int(row.ipc), method="mtt", profile="paper", image_size=size)
            assert preset.config.architecture == row.value.lower().replace("-", "")


def test_class_incremental_repeats_are_dms() -> None:
    found = {row.parameter: row.value for row in table() if row.method == "dm-cl"}
    assert class_incremental_repeats("paper") == (int(found["class_orders"]), int(found["num_eval"]))


def test_idcs_continual_learning_is_the_published_one() -> None:
    found = {row.parameter: row for row in table() if row.method == "idc-cl"}
    figure, loss = PUBLISHED.get("idc-cifar100"), PROTOCOLS.get("idc").configured("paper")
    assert {(row.dataset, row.ipc) for row in found.values()} == {(figure.dataset, str(figure.ipc))}
    ours = {
        "temperature": loss.temperature,
        "beta": loss.beta,
        "steps": figure.steps,
        "classes_per_step": CLASSES[figure.dataset] // figure.steps,
        "nb_runs": figure.orders * figure.networks,
        "base_lr": figure.learning_rate,
    }
    assert all(same(value, found[name].value) for name, value in ours.items())
    assert (figure.protocol, figure.recipe) == ("idc", PROTOCOLS.get("idc").recipe)
    # IDC's class order (cifar100_order.pkl) is sorted within each step; it begins 2, 7, 8, 13 and 3, 6, 18, 27.
    steps = split_classes(class_orders(figure.order, ["?"] * 100).order(0, 100, Seed(0)), figure.steps)
    assert [sorted(step)[:4] for step in steps] == [
        [2, 7, 8, 13],
        [3, 6, 18, 27],
        [0, 1, 4, 5],
        [10, 14, 19, 20],
        [9, 12, 21, 25],
    ]


# Mutations: one number of one recipe is changed, and the comparison above notices.


WORDED: Mapping[str, tuple[Any, ...]] = {
    "learning_rate": ("grid", 0.013),
    "scale": ("paper", "cpu", "smoke"),
    "augment": (None, "crop", "color_crop_cutout_scale_rotate", "crop+flip"),
    "restarts": (None, WarmRestarts()),
    "cutmix": (None, CutMix()),
    "clip_norm": (None, 3.0),
    "ranges": (None, DSARanges(rotate=20.0)),
    "optimizer": (None, "adamw"),
    "labels": (None, TeacherLabels(temperature=20.0, teacher=TEACHERS["smoke"])),
    "cases": (None, (Case(ipc=10, batch_size=20),)),
}
"""Values to take in place of a recipe's, for fields that may hold something else than numbers."""


def moved(value: Any, draw: random.Random) -> Iterator[Any]:
    """`value` with one of its numbers changed, by about a third. Each number of a group of settings has its turn."""
    if isinstance(value, float):
        yield from (value * 0.7, value * 1.3)
    elif isinstance(value, int):
        yield value + draw.choice([1, max(1, value // 3)])
    elif isinstance(value, tuple):
        if not value or isinstance(value[-1], int | float):
            yield (*value, 0.5) if value and isinstance(value[-1], float) else (*value, 200)
        for index, number in enumerate(value):
            for changed in moved(number, draw):
                yield (*value[:index], changed, *value[index + 1 :])
    elif isinstance(value, WarmRestarts | CutMix | DSARanges | TeacherLabels | Case):
        for name in (each.name for each in fields(value)):
            number = getattr(value, name)
            for changed in moved(number, draw):
                with suppress(UsageError):  # out of its range
                    yield replace(value, **{name: changed})


def mutants(recipe: Recipe, key: str, draw: random.Random) -> Iterator[Recipe]:
    """`recipe` with another value of `key`. Values that it refuses are left out."""
    value = getattr(recipe, key)
    for each in (*moved(value, draw), *(each for each in WORDED.get(key, ()) if each != value)):
        try:
            yield replace(recipe, **{key: each})
        except UsageError:
            continue


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_with_one_number_changed_is_noticed(name: str) -> None:
    draw = random.Random(name)
    whole, tried = recipes(), 0
    before = differences(whole)
    for each in fields(Recipe):
        if each.name in WORDS:
            continue
        for mutant in mutants(whole[name], each.name, draw):
            tried += 1
            assert differences(whole | {name: mutant}) != before, (
                f"{each.name} {getattr(mutant, each.name)} goes unnoticed"
            )
    assert tried >= 20
