"""The table `RECIPES` of evaluation recipes by name. Each recipe has its source, and lists its differences from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from evaluation.recipe import Case, Recipe
from satm.augment import CutMix, DSARanges
from satm.names import Names
from satm.schedule import WarmRestarts
from satm.teachers import TEACHERS, TeacherLabels

# Texts that several recipes share: sources, and departures (differences from the source).
FIELD = "evaluate_synset of MTT (utils.py:352-389 at 50dccea), which FTD, TESLA, DATM, DC and DM share"
MOMENTUM = "momentum is kept when the learning rate drops: the field re-creates its optimiser there, by accident"
LAST = "the last epoch's test accuracy for the best of all epochs, which test images would choose"
SHORT_GRID = (0.003, 0.01, 0.03, 0.1, 0.3)
WIDER = "a grid that reaches 0.3: with so few steps random digits did best between 0.05 and 0.5"

DC_CODE = "utils.py:337-361 and main.py:15-32, 100-123 at 53f63a6"
PRABHU = "GDumb (Prabhu et al. 2020; src/main.py:10-42, src/opts.py:24-31, scripts/replicate.sh at 4f412d7): SGD 0.9, "
RATES = "maxlr 0.05, minlr 0.0005, T_0 1, T_mult 2, first pass at a tenth, "
BLACK = "crop fills with zeros of the preprocessed space, not with black"

RECIPES: Names[Recipe] = Names("recipe", package="evaluation.recipes")

RECIPES.add(
    Recipe(
        name="mtt",
        summary="1001 epochs, as MTT (Cazenavette et al. 2022) and FTD",
        epochs=1001,
        drop_at=(502,),
        source=FIELD,
        departures=(MOMENTUM,),
    )
)

RECIPES.add(
    Recipe(
        name="dm",
        summary="1001 epochs at learning rate 0.01, as DC (Zhao et al. 2021) and DM (Zhao and Bilen 2023)",
        epochs=1001,
        drop_at=(502,),
        learning_rate=0.01,
        repeats=20,
        source=f"{FIELD}; DC and DM (main.py, main_DM.py at 53f63a6): lr_net 0.01, batch_train 256, num_eval 20",
        departures=(
            MOMENTUM,
            "20 networks on the one set that is given: DM condenses 5 sets (num_exp) and trains 20 on each",
        ),
    )
)

RECIPES.add(
    Recipe(
        name="dc",
        summary="301 epochs without augmentation, as DC (Zhao et al. 2021)",
        epochs=301,
        drop_at=(152,),
        augment=None,
        learning_rate=0.01,
        repeats=20,
        source=f"DC ({DC_CODE}): Epoch 300, so 301 epochs, drop after index 300//2+1, lr_net 0.01, batch_train 256, "
        "num_eval 20, no augmentation",
        departures=(
            MOMENTUM,
            "20 networks on the one set that is given: DC condenses 5 sets (num_exp) and trains 20 on each",
            "networks with batch norm are trained in the same way: DC trains them 1,001 epochs with its augmentation",
        ),
    )
)

RECIPES.add(
    replace(
        RECIPES.get("dc"),
        name="cafe",
        summary="601 epochs without augmentation, as CAFE (Wang et al. 2022)",
        epochs=601,
        drop_at=(302,),
        source="CAFE (distill.py and utils.py of kaiwang960112/CAFE at b718ff5): Epoch 600, so 601 epochs, drop after "
        "index 600//2+1, lr_net 0.01, batch_train 256, num_eval 20, no augmentation",
        departures=(
            MOMENTUM,
            "networks with batch norm are trained in the same way: CAFE trains them with DC's augmentation",
        ),
    )
)

RECIPES.add(
    Recipe(
        name="dc-mnist",
        summary="1001 epochs, as DC on MNIST",
        epochs=1001,
        drop_at=(502,),
        augment="crop_scale_rotate",
        ranges=DSARanges(crop=4 / 28, scale=1.2, rotate=45.0),
        learning_rate=0.01,
        repeats=20,
        source=f"DC on MNIST ({DC_CODE}; utils.py:428-445): Epoch 1000, crop 4 pixels, scale 0.2, rotate 45 degrees",
        departures=(
            MOMENTUM,
            "20 networks on the one set that is given: DC condenses 5 sets (num_exp) and trains 20 on each",
            "one operation for each batch, as in DSA: DC draws one for each image",
            "scale by 1/1.2 to 1.2: DC 0.8 to 1.2",
        ),
    )
)

RECIPES.add(
    Recipe(
        name="tesla",
        summary="1001 epochs and three networks, as TESLA (Cui et al. 2023)",
        epochs=1001,
        drop_at=(502,),
        repeats=3,
        source=f"{FIELD}; TESLA (distill.py:449-508, utils.py:254-281 at 488842e): num_eval 3",
        departures=(MOMENTUM,),
    )
)

RECIPES.add(
    Recipe(
        name="datm",
        summary="1001 epochs in batches of 128, as DATM (Guo et al. 2024)",
        epochs=1001,
        drop_at=(502,),
        batch_size=128,
        source=f"{FIELD}; DATM's configurations (configs/*/ConvIN/IPC*.yaml at 97ae510): batch_train 128, num_eval 1",
        departures=(MOMENTUM, "5 networks for num_eval 1, which has no spread"),
    )
)

RECIPES.add(
    Recipe(
        name="dd-ranking",
        summary="1000 epochs, as the leaderboard of DD-Ranking judges MTT, DM and DATM",
        epochs=1000,
        drop_at=(500,),
        source="DD-Ranking's leaderboard configurations of MTT, DSA, DM and DATM (branch eval, 9ee9a16): 1000 epochs, "
        "StepLR(500), SGD 0.9 and 5e-4, batches of 256, DSA, num_eval 5, the set's own step size or the best of the "
        "grid",
        departures=(
            LAST,
            "the grid is searched on the validation split, not on test images",
            "DSA for every set: DD-Ranking trains on sets of DC without augmentation",
            "a drop after 500 epochs for every set: its MTT files for Tiny ImageNet IPC 10 and 50 name no step size",
        ),
    )
)

RECIPES.add(
    Recipe(
        name="prabhu2020",
        summary="256 passes with warm restarts and CutMix, as GDumb (Prabhu et al. 2020)",
        epochs=256,
        batch_size=16,
        weight_decay=1e-6,
        augment="crop+flip",
        learning_rate=0.05,
        repeats=3,
        source=f"{PRABHU}{RATES}cutmix, clip 10, 256 passes, seeds 0-2",
        departures=(LAST, "float32 for half precision", BLACK),
        restarts=WarmRestarts(first=1, growth=2, floor=0.01, warmup=1, warmup_factor=0.1),
        cutmix=CutMix(probability=0.5, alpha=1.0),
        clip_norm=10.0,
    )
)

RECIPES.add(
    replace(
        RECIPES.get("prabhu2020"),
        name="prabhu2020-mnist",
        summary="128 passes without CutMix, as GDumb (Prabhu et al. 2020) on MNIST",
        epochs=128,
        augment="crop",
        cutmix=None,
        source=f"{PRABHU}{RATES}no cutmix, clip 10, 128 passes, no flip (src/dataloader.py), seeds 0-2",
    )
)

RECIPES.add(
    replace(
        RECIPES.get("prabhu2020"),
        name="prabhu2020-tiny-imagenet",
        summary="128 passes, as GDumb (Prabhu et al. 2020) on Tiny ImageNet",
        epochs=128,
        source=f"{PRABHU}{RATES}cutmix, clip 10, 128 passes (a memory of 4,500 images), seeds 0-2",
        departures=(
            *RECIPES.get("prabhu2020").departures,
            "128 passes whatever the memory: GDumb trains 64 on a memory of 9,000 images",
        ),
    )
)

RECIPES.add(
    Recipe(
        name="idc",
        summary="1000 epochs with CutMix in batches of 64, as IDC (Kim et al. 2022) and DREAM (Liu et al. 2023)",
        epochs=1000,
        batch_size=64,
        drop_at=(666, 833),
        decay=0.2,
        augment="flip+color+crop_scale_rotate",
        learning_rate=0.01,
        repeats=3,
        source="IDC (argument.py, train.py and misc/augment.py at ceac95a; --repeat 3 of its README): 1000 epochs, "
        "drops after 2/3 and 5/6 by 0.2, SGD 0.9 and 5e-4, batches of 64, flip, colour, then one of crop, scale and "
        "rotate, CutMix on half of the batches",
        departures=("IDC's numbers for CIFAR on every set: it has no CutMix on MNIST, and other epochs on ImageNet",),
        cutmix=CutMix(probability=0.5, alpha=1.0),
    )
)

RECIPES.add(
    Recipe(
        name="idc-cl",
        summary="1000 epochs with CutMix, as IDC's continual learning (Kim et al. 2022)",
        epochs=1000,
        batch_size=64,
        drop_at=(600, 800),
        decay=0.2,
        augment="flip+color+crop_scale_rotate",
        learning_rate=0.01,
        repeats=1,
        source="IDC (Kim et al. 2022; continual-learning/argument.py, class_incremental.py and utils/ at ceac95a): "
        "epochs 1000, train_batch_size 64, base_lr 0.01, lr_strat 600 800, lr_factor 0.2, mix_p 0.5, "
        "strong_aug, nb_runs 1",
        departures=(
            "every memory is trained in this way: IDC trains DSA's in batches of 256 with cutout, without CutMix",
            "images in the space of the set: IDC normalises by mean and std of its own",
        ),
        cutmix=CutMix(probability=0.5, alpha=1.0),
    )
)

RECIPES.add(
    Recipe(
        name="cpu",
        summary="300 epochs, so that a network takes minutes on a CPU",
        scale="cpu",
        epochs=300,
        drop_at=(151,),
        grid=SHORT_GRID,
        source=FIELD,
        departures=(MOMENTUM, "300 epochs for 1001, so that a repeat takes minutes on a CPU", WIDER),
    )
)

RECIPES.add(
    Recipe(
        name="smoke",
        summary="60 epochs, 2 networks, 1 network to choose a rate: shows that everything works, no more",
        scale="smoke",
        epochs=60,
        drop_at=(31,),
        grid=SHORT_GRID,
        repeats=2,
        rate_networks=1,
        source=FIELD,
        departures=(MOMENTUM, "60 epochs for 1001 and 2 repeats for 5: shows that everything works, no more", WIDER),
    )
)

RDED = (
    "RDED (Sun et al. 2024; argument.py, validation/main.py and scripts/ at 3f6453d): 300 epochs of AdamW, lr by "
    "network, weight decay 0.01, half a cosine, cutmix 1.0 on every batch, batches by IPC, labels at temperature 20"
)
RDED_DEPARTURES = (
    "the last epoch's test accuracy for the best after 80 % of the epochs, which test images would choose",
    "the teacher is trained here (satm.teachers): RDED's are downloaded, and no file says how they were trained",
    "means and variances of batch norm are those of mixed batches: RDED's loop passes each batch unmixed too",
    "at factor 2, images are flipped only: RDED also shuffles their patches and crops 1/2 to 1 of their area",
    "test images are not enlarged and cropped at their centre, which RDED does from 64 pixels",
    "no batch size is printed for other IPCs than 1, 10 and 50: 50",
)
RDED_BATCHES = {1: 10, 10: 50, 50: 100}
RDED_CASES = (
    *(Case(ipc=ipc, batch_size=size) for ipc, size in RDED_BATCHES.items()),
    *(Case(classes=k, ipc=ipc, batch_size=2 * size) for k in (100, 1000) for ipc, size in RDED_BATCHES.items()),
    Case(dataset="tiny-imagenet", batch_size=100),
    Case(network="vgg11", learning_rate=0.0005),
    Case(network="alexnet", learning_rate=0.0001),
    Case(network="timm/efficientnet_b0", learning_rate=0.002),
    Case(network="timm/mobilenetv2_100", learning_rate=0.0025),
    Case(network="timm/vit_base_patch16_224", learning_rate=0.0001),
    Case(dataset="cifar100", network="convnetbn3", batch_size=25, learning_rate=0.002),
)

RECIPES.add(
    Recipe(
        name="rded",
        summary="300 epochs of AdamW under a teacher that labels every batch, as RDED (Sun et al. 2024)",
        epochs=300,
        batch_size=50,
        weight_decay=0.01,
        augment="flip",
        learning_rate=0.001,
        source=RDED,
        departures=RDED_DEPARTURES,
        cutmix=CutMix(probability=1.0, alpha=1.0),
        optimizer="adamw",
        labels=TeacherLabels(temperature=20.0, teacher=TEACHERS["paper"]),
        cases=RDED_CASES,
    )
)

RECIPES.add(
    replace(
        RECIPES.get("rded"),
        name="rded-cpu",
        summary="150 epochs under a teacher that labels every batch",
        scale="cpu",
        epochs=150,
        departures=(*RDED_DEPARTURES, "150 epochs for 300"),
        labels=TeacherLabels(temperature=20.0, teacher=TEACHERS["cpu"]),
    )
)

RECIPES.add(
    replace(
        RECIPES.get("rded"),
        name="rded-smoke",
        summary="60 epochs and 2 networks under a teacher that labels every batch",
        scale="smoke",
        epochs=60,
        repeats=2,
        rate_networks=1,
        departures=(*RDED_DEPARTURES, "60 epochs for 300 and 2 repeats: shows that everything works, no more"),
        labels=TeacherLabels(temperature=20.0, teacher=TEACHERS["smoke"]),
    )
)

BY_DATASET: Mapping[tuple[str, str], str] = {
    ("dc", "mnist"): "dc-mnist",
    ("cafe", "mnist"): "dc-mnist",
    ("prabhu2020", "mnist"): "prabhu2020-mnist",
    ("prabhu2020", "tiny-imagenet"): "prabhu2020-tiny-imagenet",
}
"""The names of recipes that replace a general recipe for one data set: (name of the general recipe, data set) → name.
The source of the general recipe prints other numbers for this data set."""


def recipe_for(name: str, dataset: str) -> Recipe:
    """The recipe `name`, or the recipe that replaces it for `dataset`. Raises UnknownName for an unknown recipe."""
    return RECIPES.get(BY_DATASET.get((name, dataset), name))
