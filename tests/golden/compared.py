"""Published values of presets (`published.csv`), how a preset spells each of them, and the listed departures."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from satm.data import CATALOGUE
from satm.data.zca import EPS
from satm.presets import NUMBERS, Numbers, Preset, find_preset
from satm.presets.mtt import SUBSETS
from satm.presets.satm import OURS as SATM_OURS
from tests.golden.generate import number


class Value(NamedTuple):
    """One published value. `parameter` is as in its source."""

    method: str
    dataset: str
    ipc: str
    variant: str
    parameter: str
    value: str
    source: str


class Asked(NamedTuple):
    """A request for a preset."""

    method: str
    dataset: str
    ipc: int


Tables = Mapping[str, Numbers]
Read = Callable[[Preset], object]

TRAJECTORY = ("satm", "mtt", "ftd", "tesla", "datm")
IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "tiny-imagenet": 100_000}  # of the training sets
EVERYWHERE = ("dc", "dsa", "dcc", "dsac", "dm", "cafe", "ncfm", "frepo")
"""The methods whose numbers are printed for every data set at once."""
WINDOWED = ("rat-bptt", "at-bptt")
"""The methods that differentiate a window of training on real images."""
PRESETS = (*TRAJECTORY, *EVERYWHERE, "mdc", "pad", "rded", "idc", "dream", "dd", "rat-bptt", "at-bptt")


# How a preset spells a published parameter.


def setting(name: str) -> Read:
    return lambda preset: getattr(preset.config.settings, name)


def expert(name: str) -> Read:
    return lambda preset: getattr(preset.config.experts, name)


def flat(name: str) -> Read:
    return lambda preset: getattr(preset.config.experts.flat, name)


def filtered(name: str) -> Read:
    return lambda preset: getattr(preset.config.experts.filter, name)


def zca(preset: Preset) -> object:
    return preset.config.zca


def whole(asked: Asked) -> int:
    """The images of the whole synthetic set."""
    return asked.ipc * CATALOGUE.get(asked.dataset).num_classes


def batch_syn(preset: Preset) -> object:
    """The synthetic images of an inner step."""
    return preset.config.settings.batch_syn or "all"


def network(preset: Preset) -> object:
    return re.sub(r"convnet(\d)$", r"ConvNetD\1", preset.config.architecture)


def decay(preset: Preset) -> object:
    """FTD prints the decay of 5,000 outer steps."""
    return preset.config.settings.outer.over(5_000).decay


def augment(preset: Preset) -> object:
    return getattr(preset.config.settings, "augment", None) or "none"


def betas(preset: Preset) -> object:
    return str((preset.config.settings.momentum_images, preset.config.settings.second_moment))


def start(preset: Preset) -> object:
    init = preset.config.settings.init
    return {"right": "samples_predicted_correctly"}.get(init, init)


def passes(preset: Preset) -> object:
    """The epochs of the outer loop: its passes over the real images."""
    settings = preset.config.settings
    return settings.outer_steps * settings.batch_real / IMAGES[preset.config.dataset]


def halving(index: int) -> Read:
    """CAFE halves the learning rate after a number of its 2,000 networks."""
    return lambda preset: preset.config.settings.halve_at[index] * 2_000


def period(preset: Preset) -> object:
    """MDC prints a period of 100 for 2,000 outer steps."""
    settings = preset.config.settings
    return settings.steps_between_choices() * 2_000 / settings.outer_steps


def in_pixels(preset: Preset) -> float:
    """IDC's learning rate for pixels in 0..1. Ours is for images that are divided by a std of 0.25."""
    return float(preset.config.settings.lr_images) * 0.25**2


def words(text: str, true: Callable[[Preset], bool]) -> Read:
    """A parameter that is printed in words: `text` if they are true of the preset."""
    return lambda preset: text if true(preset) else "other"


def sizes(preset: Preset) -> object:
    everything = preset.config.settings.competing(preset.config.ipc) == tuple(range(1, preset.config.ipc))
    return "1..ipc-1" if everything else "other"


READ: Mapping[str, Read] = {
    "syn_steps": setting("inner_steps"),
    "expert_epochs": setting("expert_epochs"),
    "max_start_epoch": setting("max_start_epoch"),
    "lr_img": setting("lr_images"),
    "lr_lr": setting("lr_step_size"),
    "lr_teacher": setting("step_size"),
    "batch_syn": batch_syn,
    "zca": zca,
    "zca_eps": lambda preset: EPS,
    "Iteration": setting("outer_steps"),
    "pix_init": start,
    "init": start,
    "dsa": lambda preset: augment(preset) != "none",
    "dsa_strategy": augment,
    "momentum_img": setting("momentum_images"),
    "momentum_lr": setting("momentum_step_size"),
    "res": lambda preset: preset.config.image_size,
    "model": network,
    "ema_decay": decay,
    "teacher_label": lambda preset: preset.config.settings.labels == "teacher",
    "buffer.num_experts": expert("count"),
    "buffer.lr_teacher": expert("lr"),
    "buffer.batch_train": expert("batch_size"),
    "buffer.mom": expert("momentum"),
    "buffer.l2": expert("weight_decay"),
    "buffer.dsa_strategy": expert("augment"),
    "buffer.zca": zca,
    "buffer.model": network,
    "buffer.rho_max": flat("rho"),
    "buffer.rho_min": flat("rho"),
    "buffer.gsam_alpha": flat("gap_weight"),
    "buffer.adaptive": flat("adaptive"),
    # DATM
    "lr_y": setting("lr_labels"),
    "Momentum_y": setting("momentum_labels"),
    "threshold": setting("threshold"),
    "min_start_epoch": setting("min_start_epoch"),
    "current_max_start_epoch": setting("first_upper_epoch"),
    "expansion_end_epoch": setting("expansion_steps"),
    "Sequential_Generation": lambda preset: preset.config.settings.first_upper_epoch is not None,
    # PAD
    "depth_ratio": setting("match_from"),
    "buffer.init_ratio": filtered("initial_share"),
    "buffer.add_end_epoch": filtered("added_until"),
    "buffer.rm_epoch_first": filtered("removed_after"),
    "buffer.rm_epoch_second": filtered("more_removed_after"),
    "buffer.rm_easy_ratio_first": filtered("removed_share"),
    "buffer.rm_easy_ratio_second": filtered("more_removed_share"),
    "buffer.scorers": filtered("scorers"),
    "buffer.scorer_epochs": filtered("scorer_epochs"),
    # DC, DSA and DM
    "lr_net": setting("lr_network"),
    "batch_real": setting("batch_real"),
    "batch_train": setting("batch_syn"),
    "net_momentum": lambda preset: preset.config.settings.training().momentum,
    "outer_loop": setting("updates"),
    "inner_loop": setting("inner_epochs"),
    # NCFM
    "num_freqs": setting("frequencies"),
    "sampling_net": lambda preset: preset.config.settings.sampler == "learned",
    "lr_sampling_net": setting("lr_sampler"),
    "alpha_for_loss": setting("amplitude"),
    "beta_for_loss": lambda preset: 1 - preset.config.settings.amplitude,
    "iter_calib": setting("calibrations"),
    "num_premodel": expert("count"),
    "pertrain_epochs": setting("expert_epochs"),
    "aug_type": augment,
    "lr_img_effective": setting("lr_images"),
    # MDC
    "adaptive_period": period,
    "sizes": sizes,
    # RDED
    "factor": setting("factor"),
    "num_crop": setting("crops"),
    "mipc": setting("candidates"),
    "min_scale_crops": setting("min_area"),
    "input_size": lambda preset: preset.config.image_size,
}

OF_ONE_METHOD: Mapping[tuple[str, str], Read] = {
    ("rded", "labels"): setting("labels"),
    **{(method, "lr"): setting("lr_images") for method in ("dd", *WINDOWED)},
    **{(method, "batch_size"): setting("batch_real") for method in ("dd", *WINDOWED)},
    **{(method, "betas"): betas for method in ("dd", *WINDOWED)},
    ("dd", "epochs"): lambda preset: preset.config.settings.outer_steps / 49,
    ("dd", "decay_epochs"): lambda preset: 400 / (preset.config.settings.halvings + 1),
    ("dd", "decay_factor"): lambda preset: preset.config.settings.share(0.15),
    ("dd", "distill_epochs"): setting("passes"),
    ("dd", "distill_steps"): lambda preset: preset.config.settings.steps_in_turn(1000),
    ("dd", "distilled_images_per_class_per_step"): lambda preset: (
        preset.config.ipc / preset.config.settings.steps_in_turn(1000)
    ),
    ("dd", "distill_lr"): setting("step_size"),
    **{(method, "epochs"): passes for method in WINDOWED},
    **{
        (method, parameter): setting(name)
        for method in WINDOWED
        for parameter, name in {
            **{"window": "window", "totwindow": "inner_steps", "inner_optim": "update", "inner_lr": "step_size"},
            **{"syn_strategy": "augment", "real_strategy": "augment_real", "clip": "clip"},
        }.items()
    },
    ("rat-bptt", "minwindow"): setting("first_place"),
    ("at-bptt", "d"): setting("spread"),
    ("at-bptt", "batches_an_epoch"): setting("window_every"),
    ("at-bptt", "acc_rise_stage1"): setting("rise_early"),
    ("at-bptt", "acc_rise_stage2"): setting("rise_middle"),
    ("at-bptt", "flag_stage2"): setting("patience_early"),
    ("at-bptt", "flag_stage3"): setting("patience_middle"),
    ("frepo", "num_train_steps"): setting("outer_steps"),
    ("frepo", "max_online_updates"): setting("updates"),
    ("frepo", "num_nn_state"): setting("pool"),
    ("frepo", "kernel.learning_rate"): setting("lr_images"),
    ("frepo", "kernel.batch_size"): setting("batch_real"),
    ("frepo", "kernel.eval_batch_size"): setting("batch_syn"),
    ("frepo", "online.learning_rate"): setting("lr_network"),
    ("frepo", "online.normalization"): lambda preset: "batch" if "bn" in preset.config.architecture else "instance",
    ("frepo", "learn_label"): setting("learn_labels"),
    ("frepo", "reg"): setting("ridge"),
    ("frepo", "alpha"): lambda preset: preset.config.settings.share(1.0),
    ("frepo", "lb_loss"): setting("margin_weight"),
    ("frepo", "betas"): lambda preset: str((preset.config.settings.momentum_images, 0.999)),
    ("frepo", "use_flip"): setting("flip"),
    ("dc", "Iteration"): setting("networks"),
    ("dsa", "Iteration"): setting("networks"),
    ("dream", "factor"): lambda preset: getattr(preset.config.decoding, "factor", 1),
    ("dream", "interval"): setting("cluster_every"),
    ("dream", "f2_init"): lambda preset: {"clustered": "kmean"}.get(preset.config.settings.init),
    ("dream", "mix_p"): setting("cutmix"),
    ("idc", "metric"): lambda preset: {"squared": "mse", "absolute": "l1"}[preset.config.settings.distance],
    ("idc", "lr_img"): lambda preset: in_pixels(preset) * 10 / preset.config.ipc,
    ("idc", "lr_img_effective"): in_pixels,
    ("idc", "n_data"): setting("images_between"),
    ("idc", "niter"): setting("networks"),
    ("idc", "inner_loop"): setting("updates"),
    ("idc", "net_type"): lambda preset: re.sub(r"\d$", "", preset.config.architecture),
    ("idc", "depth"): lambda preset: preset.config.architecture.removeprefix("convnet"),
    ("idc", "factor"): words("1 (IDC-I) or 2 (IDC)", lambda preset: preset.config.parametrisation == "factor:2"),
    ("idc", "lr"): setting("lr_network"),
    ("idc", "momentum"): setting("momentum_network"),
    ("idc", "weight_decay"): setting("weight_decay"),
    ("idc", "batch_syn_max"): setting("batch_syn"),
    ("idc", "mom_img"): setting("momentum_images"),
    ("idc", "net_epoch"): lambda preset: preset.config.settings.training().epochs,
    ("idc", "aug_type"): lambda preset: augment(preset).replace("+", "_"),
    ("idc", "mixup_net"): lambda preset: "cut" if preset.config.settings.cutmix else "vanilla",
    ("idc", "mix_p"): words(
        "1.0; 0.5 on CIFAR, SVHN, MNIST, Fashion", lambda preset: preset.config.settings.cutmix == 0.5
    ),
    ("idc", "init"): words("random; mix where factor > 1", lambda preset: preset.config.settings.init == "real"),
    **{
        (method, name): setting(ours)
        for method in ("dcc", "dsac")
        for name, ours in {
            **{"outer_loop": "networks", "inner_loop": "updates", "T": "inner_epochs"},
            **{"outer_warmup": "warmup_networks", "inner_warmup": "warmup_updates"},
        }.items()
    },
    ("cafe", "Iteration"): setting("outer_steps"),
    ("cafe", "method_augmentation"): augment,
    # The code counts the distance after the last pooling a second time, beside `first_weight`.
    ("cafe", "first_weight"): lambda preset: preset.config.settings.layer_weights[3] - 1,
    ("cafe", "second_weight"): lambda preset: preset.config.settings.layer_weights[2],
    ("cafe", "third_weight"): lambda preset: preset.config.settings.layer_weights[1],
    ("cafe", "fourth_weight"): lambda preset: preset.config.settings.layer_weights[0],
    ("cafe", "inner_weight"): setting("discrimination"),
    ("cafe", "lambda_1"): setting("replace_below"),
    ("cafe", "lambda_2"): setting("update_above"),
    ("cafe", "watcher_length"): setting("window"),
    ("cafe", "query_per_class"): setting("batch_query"),
    **{("cafe", f"lr_milestone_{i + 1}"): halving(i) for i in range(3)},
    ("ncfm", "niter"): setting("outer_steps"),
    ("ncfm", "factor"): lambda preset: getattr(preset.config.decoding, "factor", 1),
    ("ncfm", "init"): lambda preset: {"real": "mix"}.get(preset.config.settings.init),  # real images, in grids there
    **{(method, "buffer.train_epochs"): setting("teacher_epoch") for method in ("datm", "pad")},
    ("datm", "Label_Model_Timestamp"): lambda preset: -1 if preset.config.settings.teacher_epoch == 100 else "other",
}

OF_ONE_METHOD = {
    **{("dream", name): read for (method, name), read in OF_ONE_METHOD.items() if method == "idc" and name != "init"},
    **OF_ONE_METHOD,
}
"""DREAM's code is IDC's, with the same names."""

# What no preset has a counterpart of, and why.

RECIPE = "how a network is trained for an evaluation: tests/golden/test_recipes.py"
WITHIN = "how often the program evaluates or saves while it runs: an evaluation has no effect on a condensation here"
NO_LONGER = "experts are trained no longer than segments need; the snapshots up to there are the same"
CONSTANT = "experts have a constant learning rate and cross-entropy: there is no setting to change it"
NO_EFFECT = "its program does not read it"
IDC = "of IDC or DREAM, MDC's base; ours is trajectory matching"
OF_IDC = ("idc", "dream")
IDC_LAYERS = "gradients of convolutions only, as the code has it: tests/satm/methods/direct/test_idc.py"
WEIGHTS = "a length in the space of network weights; ours is one in the space of images (docs/choices.md)"
TEACHER = "of the teacher or of the training under it: tests of the recipe `rded`"

UNREAD: Mapping[tuple[str, str], str] = {
    ("*", "num_eval"): RECIPE,
    ("*", "epoch_eval_train"): RECIPE,
    ("mtt", "batch_train"): RECIPE,
    ("ftd", "batch_train"): RECIPE,
    ("tesla", "batch_train"): RECIPE,
    ("datm", "batch_train"): RECIPE,
    ("dm", "batch_train"): RECIPE,
    ("dm", "lr_net"): RECIPE,
    ("*", "eval_it"): WITHIN,
    ("*", "skip_first_eva"): WITHIN,
    ("*", "buffer.save_interval"): WITHIN,
    ("*", "buffer.train_epochs"): NO_LONGER,
    ("*", "buffer.decay"): CONSTANT,
    ("*", "buffer.lr_schedule"): CONSTANT,
    ("*", "buffer.loss_type"): CONSTANT,
    ("*", "lr_init"): NO_EFFECT,
    ("mtt", "batch_real"): NO_EFFECT,
    ("*", "buffer.batch_real"): NO_EFFECT,
    ("datm", "ema_decay"): NO_EFFECT,
    ("tesla", "gradient_factor"): "ours is the whole gradient: a departure of TESLA's rows",
    ("*", "num_exp"): "how many sets are condensed: the user runs as many seeds",
    **{
        ("frepo", f"{which}.optimizer"): "the method itself: tests/satm/methods/direct/test_frepo.py"
        for which in ("kernel", "online")
    },
    ("ncfm", "calib_weight"): "the weight is 1, beside 300 of the distance: tests/satm/methods/direct/test_ncfm.py",
    **{(method, "dis_metric"): "the distance of DC's Eq. 9; there is no other" for method in ("dc", "dcc", "dsac")},
    ("dm", "ipc_default"): "the user gives the IPC",
    **{(method, name): RECIPE for method in OF_IDC for name in ("epochs", "batch_size", "mixup", "dsa_strategy")},
    **{(method, name): IDC_LAYERS for method in OF_IDC for name in ("bias", "fc", "match")},
    ("dream", "init"): "mix only says that a start is a grid; f2_init says of which images",
    ("idc", "beta"): "the box of CutMix is uniform in area; there is no other",
    **{("mdc", name): IDC for name in ("base", "lr_img", "niter", "factor", "distance", "epochs", "repeat", "f_idx")},
    ("mdc", "adaptive_class_wise"): "sizes are chosen for all classes together; there is no other way",
    ("mdc", "adaptive_reg"): "the method itself",
    ("mdc", "seed"): "the user gives the seed",
    ("mdc", "quit_after"): "the rule that freezes a subset: tests/satm/methods/test_mdc.py",
    ("mdc", "rounding"): "distances are compared as they are",
    **{
        ("rded", name): TEACHER
        for name in (
            *("teacher", "student", "re_epochs", "re_batch_size", "adamw_lr", "mix_type", "cutmix", "mixup"),
            *("optimizer", "adamw_weight_decay", "adamw_betas", "sgd_momentum", "sgd_weight_decay", "sgd_lr"),
            *("temperature", "val_crop_scale", "lr_schedule", "loss", "best_of", "relabel", "hflip"),
        )
    },
    ("rded", "seed"): "the user gives the seed",
    ("rded", "max_scale_crops"): "the largest crop is the whole image; there is no other",
    ("rded", "synthesis_crop"): "square crops; tests/satm/methods/selection",
}

PREFIXES = {"eval.": RECIPE, "dsa_param.": RECIPE}

ELSEWHERE: Mapping[str, str] = {
    "gdumb": RECIPE,
    "dd-ranking": RECIPE,
    "dm-cl": RECIPE,
    "idc-cl": RECIPE,
    "ssd": "an online memory and its learner: tests/golden/test_online.py",
    "kip": "the suite reads and writes KIP's files, and does not condense by it",
    "sam": WEIGHTS,
    "gsam": WEIGHTS,
    "asam": f"{WEIGHTS}; its eta is compared below",
    "vasso": f"{WEIGHTS}; its theta: tests/satm/methods/outer",
}
"""Methods of the golden table that have no preset."""

VARIANTS: Mapping[str, str] = {
    "third party, no ZCA": "a transcription that is not the authors'",
    "third party, with ZCA": "a transcription that is not the authors'",
    "MLP": "the suite condenses for convolutional networks",
}

OTHER_IPC = {">50": "the author's advice in an issue: the better of two. The preset takes the loops of IPC 50"}
OTHER_DATA = (
    *("imageyellow", "imagesquawk", "imagenet-10", "imagenet-100", "mnist", "svhn", "fashion", "speech-commands-8"),
)
"""Published data sets that the catalogue does not have."""

# Values that are printed in words, that follow from the resolution, or that are ours where nothing is printed.


def said(method: str, dataset: str, ipc: int | str, source: str, **values: object) -> list[Value]:
    """Rows of the table with `values`. In a name "__" stands for a full stop."""
    return [
        Value(method, dataset, str(ipc), "", name.replace("__", "."), number(str(value)), source)
        for name, value in values.items()
    ]


def chosen(dataset: str, ipc: int, *values: object, **more: object) -> list[Value]:
    """A row of SATM's table for which the paper prints nothing."""
    names = ("syn_steps", "expert_epochs", "max_start_epoch", "batch_syn", "lr_img", "lr_lr", "zca")
    return said("satm", dataset, ipc, SATM_OURS, **dict(zip(names, values, strict=True)), **more)


RESOLUTION = {
    **dict.fromkeys(("cifar10", "cifar100"), (32, 3)),
    **dict.fromkeys(("tiny-imagenet", "imagenet-1k"), (64, 4)),
    **dict.fromkeys(SUBSETS, (128, 5)),
    "digits": (16, 3),
}
DIGITS = {"Iteration": 150, "buffer__lr_teacher": 0.05, "lr_teacher": 0.05, "buffer__batch_train": 64}

PROSE: tuple[Value, ...] = tuple(
    row
    for rows in (
        *(
            said(method, dataset, "*", "the field's networks", res=size, model=f"ConvNetD{depth}")
            for dataset, (size, depth) in RESOLUTION.items()
            for method in (*TRAJECTORY, "pad")
        ),
        said("satm", "*", "*", "Gao et al. 2025, §5.2", Iteration=10_000),
        said("satm", "*", "*", "Gao et al. 2025, Eq. 10", momentum_lr=0),
        *(
            said(
                *("satm", "*", "*", "MTT's where SATM prints nothing"),
                buffer__num_experts=100,
                buffer__lr_teacher=0.01,
                buffer__batch_train=256,
                buffer__mom=0,
                buffer__l2=0,
                lr_teacher=0.01,
                momentum_img=0.5,
                pix_init="real",
            )
            for _ in (0,)
        ),
        said("ftd", "tiny-imagenet", "*", "ours: Table 7 does not say", zca=True),
        said("ftd", "cifar10", "*", "buffer/run_buffer.sh", zca=True),
        said("ftd", "cifar100", "*", "Readme.md", zca=True),
        said("ftd", "*", "*", "FTD's buffer command", buffer__rho_max=0.01, buffer__rho_min=0.01),
        said("pad", "*", "*", "ours: docs/methods.md", buffer__scorers=10, buffer__scorer_epochs=20),
        said("pad", "*", "*", "FTD's script", buffer__adaptive=True),
        said("rded", "*", "*", "a teacher labels every batch of an evaluation: the set keeps classes", labels="hard"),
        chosen("tiny-imagenet", 50, 20, 2, 40, 300, 1e4, 1e-4, True),
        *(chosen(name, 10, 20, 2, 10, 20, 1000, 1e-4, False) for name in SUBSETS),
        chosen("imagenet-1k", 1, 50, 2, 10, 100, 1e4, 1e-4, False),
        *(chosen("imagenet-1k", ipc, 50, 2, 10, 500, 1e4, 1e-4, False) for ipc in (10, 50)),
        *(chosen("digits", ipc, 20, 1, 4, "all", 10, 1e-5, False, **DIGITS) for ipc in (1, 10)),
    )
    for row in rows
)

NCFM_RATES = {"cifar100": 0.04, "tiny-imagenet": 0.0566, "imagenet-1k": 0.126}  # 0.004 √K; of 10 classes 0.0126

DEPARTURES: Mapping[tuple[str, str, str, str], tuple[object, str]] = {
    # (method, data set, parameter, published value): our value, and what the preset says
    ("tesla", "cifar10", "lr_img", "1000"): (500, "half the printed learning rate of the images"),
    ("tesla", "cifar100", "lr_img", "1000"): (500, "half the printed learning rate of the images"),
    ("tesla", "imagenet-1k", "lr_img", "10000"): (5000, "half the printed learning rate of the images"),
    ("tesla", "cifar10", "zca", "False"): (True, "ZCA, as its experts are trained with"),
    ("mtt", "imagefruit", "lr_img", "1000"): (1e5, "the README's command for ImageFruit IPC 1 has 1000"),
    **{
        ("cafe", name, "Iteration", "2000"): (20_000, "20,000 updates of the images for 2,000 networks")
        for name in CATALOGUE
        if name != "digits"
    },
    **{
        ("frepo", name, "online.normalization", "batch"): ("instance", "a ConvNet of one width with instance norm")
        for name in CATALOGUE
        if name != "digits"
    },
    **{
        ("ncfm", name, *printed): held
        for name in CATALOGUE
        if name != "digits"
        for printed, held in {
            ("lr_img_effective", "0.001"): (NCFM_RATES.get(name, 0.0126), "lr_images 0.004 √K for 0.001"),
            ("factor", "2"): (1, "stored as pixels; NCFM's files have factor 2"),
        }.items()
    },
    **{
        ("at-bptt", name, "flag_stage3", "37.5"): (38, "0.15 N and 0.125 N calm epochs, rounded up")
        for name in ("cifar100", "tiny-imagenet")
    },
    **{
        ("ftd", name, "lr_teacher", "0.01/0.001"): (0.01, "α starts at 0.01: the author's comment gives '0.01/0.001'")
        for name in SUBSETS
    },
}


@cache
def table() -> tuple[Value, ...]:
    found: list[Value] = []
    for name in ("published.csv", "by_hand.csv"):
        with Path(__file__).with_name(name).open(newline="") as file:
            found += [Value(**row) for row in csv.DictReader(file)]
    return tuple(found)


def left_out(row: Value) -> bool:
    """Whether a row is about another network than the presets', or is not the authors'."""
    return row.variant in VARIANTS or (row.method == "rded" and "resnet" in row.variant)


def requests() -> Iterator[Asked]:
    """Every method, data set and IPC for which the golden table prints something and the suite has a preset."""
    found = dict.fromkeys((*table(), *PROSE))
    for method in PRESETS:
        rows = [row for row in found if row.method == method and row.ipc.isdigit() and not left_out(row)]
        known = [name for name in CATALOGUE if name != "digits"]
        for row in rows:
            for dataset in known if row.dataset == "*" and method in EVERYWHERE else [row.dataset]:
                if dataset in CATALOGUE:
                    yield Asked(method, dataset, int(row.ipc))
        if method in EVERYWHERE:
            yield from (Asked(method, dataset, 10) for dataset in known)


REQUESTS = list(dict.fromkeys(requests()))


@cache
def expected(asked: Asked) -> tuple[Value, ...]:
    """What is published for a request. A row for one data set and IPC counts before one for all.

    Two sources of the same rank may differ: then both values are given.
    """
    layers: dict[str, dict[int, list[Value]]] = {}
    for row in (*PROSE, *table()):
        if row.method == asked.method and row.dataset in ("*", asked.dataset) and row.ipc in ("*", str(asked.ipc)):
            if left_out(row):
                continue
            rank = 4 * (row.dataset != "*") + 2 * (row.ipc != "*") + 1 - 9 * (row.variant == "default")
            rank -= row in PROSE
            layers.setdefault(row.parameter, {}).setdefault(rank, []).append(row)
    found = {parameter: ranks[max(ranks)] for parameter, ranks in layers.items()}
    if any(row.value == "False" for row in found.get("Sequential_Generation", ())):
        found = {name: rows for name, rows in found.items() if name not in GROWING}
    return tuple(row for rows in found.values() for row in rows)


GROWING = ("current_max_start_epoch", "expansion_end_epoch")
"""Settings of DATM that have no effect where the range of start epochs does not grow."""


def reader(row: Value) -> Read | None:
    """How the value of a row is read from a preset; None if a list above says that no preset has it."""
    if (row.method, row.parameter) in UNREAD or ("*", row.parameter) in UNREAD:
        return OF_ONE_METHOD.get((row.method, row.parameter))
    if any(row.parameter.startswith(prefix) for prefix in PREFIXES):
        return None
    return OF_ONE_METHOD.get((row.method, row.parameter)) or READ[row.parameter]


def preset_of(asked: Asked, tables: Tables = NUMBERS) -> Preset:
    size = CATALOGUE.get(asked.dataset).image_size
    return find_preset(asked.dataset, asked.ipc, method=asked.method, profile="paper", image_size=size, numbers=tables)


def same(value: object, published: str) -> bool:
    """Equal as numbers, to nine digits, or else as words."""
    if isinstance(value, bool) or published in ("True", "False"):
        return str(value) == published
    try:
        return float(str(value)) == pytest.approx(float(published), rel=1e-9)
    except ValueError:
        return str(value) == {"ConvNet": "ConvNetD3"}.get(published, published)  # the depth of MTT's default


def compared(asked: Asked, tables: Tables = NUMBERS) -> Iterator[tuple[Value, str]]:
    """Each published value for a request that a preset has, and how the preset differs; "" if it does not."""
    preset = preset_of(asked, tables)
    words = " ".join(preset.departures)
    for row in expected(asked):
        read = reader(row)
        if read is None:
            continue
        value = read(preset)
        ours, said = DEPARTURES.get((row.method, asked.dataset, row.parameter, row.value), (row.value, ""))
        if row.parameter == "batch_syn":  # a batch larger than the set is the whole set
            value, ours = (min(whole(asked), int(str(each).replace("all", "999999"))) for each in (value, ours))
        if not same(value, number(str(ours))):
            yield row, f"{asked}: {row.parameter} {value}, expected {ours} ({row.source})"
        elif said not in words:
            yield row, f"{asked}: {row.parameter} {value} instead of {row.value}, and no departure says '{said}'"
        else:
            yield row, ""


def differences(asked: Asked, tables: Tables = NUMBERS) -> list[str]:
    return [wrong for _, wrong in compared(asked, tables) if wrong]
