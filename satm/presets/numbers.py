"""`NUMBERS`: the published numbers of every method. This file holds data only.

For the methods that match trajectories, the rows of hyper-parameters are in other files (satm.py, mtt.py, …).
"""

from __future__ import annotations

from collections.abc import Mapping

from satm.experts import ExpertConfig
from satm.presets import datm, ftd, mtt, pad, satm, tesla
from satm.presets._types import Numbers
from satm.teachers import TEACHERS

DC_CODE = "DC's code (main.py and utils.py at 53f63a6)"
DSA_CODE = f"{DC_CODE}, its README's --init real"
DCC_CODE = "DCC's code (main.py and utils.py of Saehyung-Lee/DCC at 5073a44)"
DM_CODE = "DM's code (main_DM.py at 53f63a6) and its README"
CAFE_CODE = "CAFE's code (distill.py of kaiwang960112/CAFE at b718ff5)"
CAFE_DEPARTURES = (
    "20,000 updates of the images for 2,000 networks, each of which has 10 updates or more",
    "accuracies are means over the query images: the code adds a K-th (K classes) of the accuracy before",
    "training between two updates ends after 100 epochs (cpu 30, smoke 5): the code has no limit",
)
DANCE_CODE = "DANCE's code (DANCE.py and arguments/ of Hansong-Zhang/DANCE at 1b56b68), its --reproduce"
DANCE_LR = 0.16  # is multiplied by the IPC; DANCE prints 0.01 for pixels in 0..1; divided by a std s = 0.25: 0.01/s²
DANCE_SUBSETS = ("imagenette", "imagewoof", "imagemeow", "imagefruit")
DANCE_DEPARTURES = (
    "lr_images 0.16 IPC for 0.01 IPC: images are normalised by a std of about 0.25, and DANCE learns pixels in 0..1",
    "images are not clipped to 0..1, and all classes move at once",
    "stored as pixels; DANCE's command has --factor 2 (parametrisation=factor:2)",
    "experts: the learning rate is constant, and DSA augments without CutMix",
    "judged by DM's recipe: 1,000 epochs without CutMix",
)
TGDD_CODE = "TGDD's code (TGDD.py and arguments/ of FlyFinley/TGDD at 39ac9c2), its --reproduce"
TGDD_SUBSETS = (*DANCE_SUBSETS, "imagesquawk", "imageyellow")
TGDD_DEPARTURES = (
    "lr_images 0.16 IPC for 0.01 IPC: images are normalised by a std of about 0.25, and TGDD learns pixels in 0..1",
    "images are not clipped to 0..1, and all classes move at once",
    "experts: the learning rate is constant, and DSA augments without CutMix",
    "judged by DM's recipe: 1,000 epochs without CutMix; the last set is kept, not the best on test",
)
NCFM_CODE = "NCFM's code (config/ of gszfwsb/NCFM at de92fb8)"
# Learning rates of Adam for the images: the default, and those of some data sets. NCFM's files print 0.01 · 0.1 = 0.001
# for pixels in 0..1. For images divided by a std s = 0.25, this is 0.001/s = 0.004. NCFM's code moves all images K
# times in a step, once for each of the K classes, with the gradient of that class only. Together these moves are √K
# times as long as one move with the gradient of all classes, so the number here is 0.004 √K.
NCFM_LR, NCFM_LR_OF = 0.0126, {"cifar100": 0.04, "tiny-imagenet": 0.0566, "imagenet-1k": 0.126}
NCFM_DEPARTURES = (
    "lr_images 0.004 √K for 0.001: images are normalised by a std of about 0.25, and all K classes move at once",
    "images are not clipped to 0..1, and the learning rate is constant, without weight decay",
    "stored as pixels; NCFM's files have factor 2 (parametrisation=factor:2)",
    "experts: the learning rate is constant, and DSA augments without CutMix",
    "judged by DM's recipe: 1,000 epochs of SGD without CutMix",
)
NCFM_DEPARTURES_OF = {
    "cifar100": ("Adam at IPC 10 too, where NCFM's file has SGD at 0.01",),
}
IDC_CODE = "IDC's code (argument.py and misc/reproduce.py of snu-mllab/Efficient-Dataset-Condensation at ceac95a)"
# IDC_LR is multiplied by the IPC. IDC prints 0.005 IPC/10 for pixels in 0..1 and images of 32 pixels a side. For images
# divided by a std s = 0.25, this is divided by s². IDC also multiplies it by the number of pixels, relative to 32 × 32.
IDC_LR = 0.008
IDC_SIZES = {"digits": 16, "tiny-imagenet": 64, "imagenet-1k": 64} | dict.fromkeys(
    ("imagenette", "imagenette2", "imagewoof", "imagewoof2", "imagefruit", "imagemeow"), 128
)
IDC_DEPARTURES = (
    "lr_images 0.008 IPC for 0.0005 IPC: images are normalised by a std of about 0.25, and IDC learns pixels in 0..1",
    "images are not clipped to 0..1, and all classes move at once",
    "real images are drawn at random, not in passes over the data",
)
IDC_VALUES = {
    **{"networks": 2000, "updates": 100, "batch_real": 64, "batch_syn": 128, "distance": "squared", "init": "real"},
    **{"lr_network": 0.01, "momentum_network": 0.9, "weight_decay": 5e-4, "images_between": 2000, "cutmix": 0.5},
}
IDC_LIMITS = {"cpu": {"updates": 20, "images_between": 256}, "smoke": {"updates": 4, "images_between": 64}}
DREAM_CODE = "DREAM's code (argument.py, misc/reproduce.py and condense.py of lyq312318224/DREAM at 595e3c1)"
# DREAM prints 0.005 IPC/10 for Tiny ImageNet too, except at IPC 50, and multiplies it by the pixels: IDC_LR · 4.
DREAM_TINY = {1: {"lr_images": 0.032}, 10: {"lr_images": 0.32}, 50: {"lr_images": 0.00032}}
DREAM_DEPARTURES = (
    *(each for each in IDC_DEPARTURES if "real images" not in each),
    "features are those of normalised images: DREAM's are of pixels in 0..1",
)
DD_CODE = "DD's code (base_options.py and README.md of ssnl/dataset-distillation at 98e4894)"
DD_DEPARTURES = (
    "N is 3 IPC: one image of each class in a step and 3 passes, as the code has it for 10 images a class",
    "real batches are drawn, not passes over the data; ConvNet, not AlexCifarNet; judged by DM's recipe",
)
RAT_CODE = "RaT-BPTT's code (README.md and main.py of fengyzpku/Simple_Dataset_Distillation at 7915c5a)"
RAT_DEPARTURES = (
    "the place of the window and the real batch are drawn at every outer step, not once an epoch",
    "labels stay classes: the code learns them on CIFAR-100 and Tiny ImageNet (--train_y)",
    "mini-batches of the set pass over all its images, not one of each of some classes",
    "in the space of the trajectory methods; judged by DM's recipe, and the last set is kept, not the best on test",
)
AT_CODE = "AT-BPTT's code (README.md, main.py and framework/ of GH209515338/AT-BPTT at fc55875)"
AT_DEPARTURES = (
    "W stays `window`: the code takes the last epoch's window for W, so that its middle stage adds d every epoch",
    "stages end at 0.15 N and 0.125 N calm epochs, rounded up: the code waits for exactly 37.5 epochs if N is 300",
    "real batches are drawn, not passes over the data; an epoch's accuracy is the mean over its batches",
    "the hypergradient is exact: the paper's low-rank Hessian is not in its code, and not here",
    *RAT_DEPARTURES[1:],
)
FREPO_CODE = "FRePo's code (script/distill.py, lib/ and README.md of yongchao97/FRePo at 9b98c65)"
# `use_flip` of script/distill.py. For other IPCs than these, the code stops on these data sets.
FREPO_FLIP = {
    "cifar100": {1: {"flip": True}, 10: {"flip": False}, 50: {"flip": False}},
    "tiny-imagenet": {1: {"flip": True}, 10: {"flip": False}},
    "imagenet-1k": {1: {"flip": False}, 2: {"flip": False}},
}
FREPO_DEPARTURES = (
    "a ConvNet of one width with instance norm: the code's has batch norm and twice the channels in each next block",
    "in the space of the trajectory methods; the kernel is solved in double precision",
    "judged by DM's recipe, with the labels y as logits; the code judges by squared error and Adam",
    "the last set is kept, not the best on test",
)
PAD_DEPARTURES = (
    "match_from leaves out the parameters next to the input, as the paper says; PAD.py leaves out those nearest to the "
    "target, and does not read the depth_ratio of its files",
    "the schedule of experts.filter is that of PAD's command for CIFAR-10, at every IPC and data set",
    "images are ordered by the EL2N of early experts; PAD's code reads a stored order (GraNd in its command)",
)
RDED_CODE = "RDED's code (argument.py and scripts/ at 3f6453d)"
MTT_EXPERTS = "MTT's experts; their number of epochs is its code's"

MOMENTUM_SOURCE = "the outer momentum is not printed: ours (docs/choices.md)"
TEACHER_SOURCE = "the teacher's training is not printed: ours (satm.teachers, docs/choices.md)"
EXPERT_SOURCE = (
    "an expert in place of RDED's teacher: instance norm, momentum 0.9, weight decay 5e-4; its epochs are MTT's 50: no "
    "file of RDED's repository prints any"
)
SHARED_SPACE = "in the space of the trajectory methods"
FLAT_SOURCE = "GSAM's numbers of the flat experts are not printed: those of FTD's script (ρ 0.01, a 0.4)"

# From get_loops in DC's utils.py. The keys are the IPC. `updates` is the number of updates of φ with each network, and
# `inner_epochs` the number of epochs for which the network is trained between two updates.
LOOPS = {
    1: {"updates": 1, "inner_epochs": 1},
    10: {"updates": 10, "inner_epochs": 50},
    20: {"updates": 20, "inner_epochs": 25},
    30: {"updates": 30, "inner_epochs": 20},
    40: {"updates": 40, "inner_epochs": 15},
    50: {"updates": 50, "inner_epochs": 10},
}

# From get_loops in DCC's utils.py: DC's loops, with other ones for one image per class.
DCC_LOOPS = {**LOOPS, 1: {"updates": 10, "inner_epochs": 5}}
DCC_VALUES = {
    **{"networks": 1000, "warmup_networks": 250, "warmup_updates": 10},
    **{"lr_images": 0.1, "batch_real": 256, "init": "real"},
}

# DM's learning rate of the images for a data set and an IPC, from the commands in DM's README. For other data sets, the
# default of DM's code is used.
DM_LR_IMAGES = {
    "cifar10": {1: 1.0, 10: 1.0, 50: 1.0, 100: 10.0, 200: 10.0, 500: 10.0, 1000: 10.0, 1250: 10.0},
    "cifar100": {1: 1.0, 10: 1.0, 50: 1.0, 100: 1.0, 125: 1.0},
}

RULE_SOURCE = "the numbers of the outer optimiser are not printed for images: ours (docs/choices.md)"
PRINTED_RULES = {"sgd": "", "ema": "a decay for the same share of all outer steps as the printed one of 5,000 steps"}
"""The outer rules that have published numbers for synthetic images, with a text for each of them. The text says how the
numbers change if a run has not 5,000 outer steps; "" if they do not change."""

NUMBERS: Mapping[str, Numbers] = {
    "satm": Numbers(rows=satm.ROWS, stand_ins=(), departures=(MOMENTUM_SOURCE,)),
    "satm-fi": Numbers(departures=(MOMENTUM_SOURCE, FLAT_SOURCE)),
    # The SATM paper prints no hyper-parameters of SATM-DA. (Table 7 has its results.)
    "satm-da": Numbers(stand_ins=("datm", "satm"), departures=(MOMENTUM_SOURCE,)),
    "mtt": Numbers(rows=mtt.ROWS),
    "ftd": Numbers(rows=ftd.ROWS, stand_ins=("mtt", "satm")),
    "tesla": Numbers(rows=tesla.ROWS, stand_ins=("mtt", "satm")),
    "datm": Numbers(rows=datm.ROWS),
    "pad": Numbers(rows=pad.ROWS, stand_ins=("datm", "satm"), departures=PAD_DEPARTURES),
    "mdc": Numbers(stand_ins=("mtt", "satm")),  # the numbers that MDC prints are those of IDC
    # The methods from here on match no trajectories. DC, DSA, DCC and DSAC train their networks on φ with the learning
    # rate 0.01 and batches of 256.
    "dc": Numbers(
        values={"networks": 1000, "lr_images": 0.1, "batch_real": 256, "init": "noise"}, by_ipc=LOOPS, source=DC_CODE
    ),
    "dsa": Numbers(
        values={"networks": 1000, "lr_images": 0.1, "batch_real": 256, "init": "real"},
        by_ipc=LOOPS,
        by_set={"cifar10": {100: {"updates": 100, "inner_epochs": 2}}},  # from the author's comment in issue 2
        source=DSA_CODE,
    ),
    "dcc": Numbers(values=DCC_VALUES, by_ipc=DCC_LOOPS, source=DCC_CODE),
    "dsac": Numbers(values=DCC_VALUES, by_ipc=DCC_LOOPS, source=f"{DCC_CODE}, --method DSA"),
    "dm": Numbers(
        values={"outer_steps": 20_000, "lr_images": 1.0, "batch_real": 256, "init": "real"},
        by_set={name: {ipc: {"lr_images": lr} for ipc, lr in found.items()} for name, found in DM_LR_IMAGES.items()},
        source=DM_CODE,
    ),
    "cafe": Numbers(
        values={
            **{"outer_steps": 20_000, "lr_images": 0.1, "batch_real": 256, "init": "noise", "discrimination": 0.01},
            **{"window": 10, "replace_below": 0.04, "update_above": 0.03, "batch_query": 128},
        },
        source=CAFE_CODE,
        departures=CAFE_DEPARTURES,
        limits={"cpu": {"batch_query": 32}, "smoke": {"batch_query": 16, "window": 3}},
        by_profile={"cpu": {"most_epochs": 30}, "smoke": {"most_epochs": 5}},
    ),
    "dance": Numbers(
        values={"outer_steps": 10_000, "batch_real": 128, "init": "real", "expert_epochs": 60},
        per_image={"lr_images": DANCE_LR},
        values_of={name: {"expert_epochs": 80} for name in DANCE_SUBSETS},
        per_image_of={name: {"lr_images": 10 * DANCE_LR} for name in DANCE_SUBSETS},
        source=DANCE_CODE,
        departures=DANCE_DEPARTURES,
        experts=ExpertConfig(count=5, lr=0.01, momentum=0.9, weight_decay=5e-4, batch_size=64),
    ),
    "tgdd": Numbers(
        values={
            **{"outer_steps": 10_000, "batch_real": 128, "init": "real", "expert_epochs": 60},
            **{"interval": 7, "weight": 1.0},
        },
        per_image={"lr_images": DANCE_LR},
        values_of={name: {"expert_epochs": 80} for name in TGDD_SUBSETS},
        per_image_of={name: {"lr_images": 10 * DANCE_LR} for name in TGDD_SUBSETS},
        source=TGDD_CODE,
        departures=TGDD_DEPARTURES,
        experts=ExpertConfig(count=5, lr=0.01, momentum=0.9, weight_decay=5e-4, batch_size=64),
    ),
    "ncfm": Numbers(
        values={
            **{"outer_steps": 20_000, "lr_images": NCFM_LR, "batch_real": 1024, "init": "real", "expert_epochs": 60},
            **{"frequencies": 4096, "sampler": "normal", "amplitude": 0.5, "calibrations": 1},
        },
        values_of={
            **{name: {"expert_epochs": 80} for name in TGDD_SUBSETS},
            **{name: {"lr_images": rate} for name, rate in NCFM_LR_OF.items()},
        },
        source=NCFM_CODE,
        departures=NCFM_DEPARTURES,
        departures_of=NCFM_DEPARTURES_OF,
        experts=ExpertConfig(count=20, lr=0.01, momentum=0.9, weight_decay=5e-4, batch_size=128),
        most_experts={"cpu": 5, "smoke": 2},
        limits={"cpu": {"frequencies": 256}, "smoke": {"frequencies": 32}},
    ),
    "idc": Numbers(
        values=IDC_VALUES,
        per_image={"lr_images": IDC_LR},
        per_image_of={name: {"lr_images": IDC_LR * (size / 32) ** 2} for name, size in IDC_SIZES.items()},
        source=IDC_CODE,
        departures=IDC_DEPARTURES,
        departures_of=dict.fromkeys(IDC_SIZES, ("no numbers for this data set: those of CIFAR-10",)),
        limits=IDC_LIMITS,
        parametrisation="factor:2",
    ),
    "dream": Numbers(
        values={**IDC_VALUES, "batch_real": 128, "init": "clustered", "cluster_every": 10},
        values_of={"tiny-imagenet": {"batch_real": 64, "images_between": 1000}},
        per_image={"lr_images": IDC_LR},
        per_image_of={name: {"lr_images": IDC_LR * (size / 32) ** 2} for name, size in IDC_SIZES.items()},
        by_set={"tiny-imagenet": DREAM_TINY},
        source=DREAM_CODE,
        departures=DREAM_DEPARTURES,
        departures_of={
            name: ("no numbers for this data set: those of CIFAR-10",) for name in IDC_SIZES if name != "tiny-imagenet"
        },
        limits=IDC_LIMITS,
        parametrisation="factor:2",
    ),
    "dd": Numbers(
        values={"outer_steps": 19_600, "lr_images": 0.01, "batch_real": 1024, "step_size": 0.001, "passes": 3},
        per_image={"inner_steps": 3},
        source=DD_CODE,
        departures=DD_DEPARTURES,
        limits={"cpu": {"batch_real": 256}, "smoke": {"batch_real": 64, "inner_steps": 9}},
    ),
    "rat-bptt": Numbers(
        values={"outer_steps": 600_000, "step_size": 0.001, "lr_images": 0.001, "batch_real": 5000},
        by_ipc={10: {"inner_steps": 200, "window": 60}},
        by_set={
            "cifar100": {
                1: {"inner_steps": 130, "window": 90, "lr_images": 0.0003, "first_place": 40},
                10: {"inner_steps": 300, "window": 100, "batch_syn": 100},
            },
            "tiny-imagenet": {
                10: {
                    **{"inner_steps": 300, "window": 100, "batch_syn": 50, "lr_images": 0.0003, "batch_real": 1000},
                    "outer_steps": 6_000_000,
                }
            },
        },
        source=RAT_CODE,
        departures=RAT_DEPARTURES,
        limits={
            "cpu": {"batch_real": 256, "inner_steps": 60, "window": 20, "batch_syn": 50, "first_place": 40},
            "smoke": {"batch_real": 64, "inner_steps": 8, "window": 3, "batch_syn": 20, "first_place": 5},
        },
    ),
    "at-bptt": Numbers(
        values={
            **{"outer_steps": 600_000, "step_size": 0.001, "lr_images": 0.001, "batch_real": 5000},
            **{"window_every": 10, "patience_early": 30, "patience_middle": 25},
        },
        by_ipc={10: {"inner_steps": 200, "window": 40, "spread": 10}},
        by_set={
            "cifar100": {
                10: {
                    **{"inner_steps": 300, "window": 100, "spread": 20, "batch_syn": 100, "batch_real": 1000},
                    **{"outer_steps": 3_000_000, "window_every": 50, "patience_early": 45, "patience_middle": 38},
                }
            },
            "tiny-imagenet": {
                10: {
                    **{"inner_steps": 300, "window": 100, "spread": 30, "batch_syn": 50, "batch_real": 1000},
                    **{"lr_images": 0.0003, "outer_steps": 6_000_000, "window_every": 100},
                    **{"patience_early": 45, "patience_middle": 38},
                }
            },
        },
        source=AT_CODE,
        departures=AT_DEPARTURES,
        # Ours: the runs are so short that an epoch is one outer step, and the window is as that of rat-bptt.
        limits={
            "cpu": {
                **{"batch_real": 256, "inner_steps": 60, "window": 20, "spread": 5, "batch_syn": 50},
                **{"window_every": 1, "patience_early": 3, "patience_middle": 3},
            },
            "smoke": {
                **{"batch_real": 64, "inner_steps": 8, "window": 3, "spread": 1, "batch_syn": 20},
                **{"window_every": 1, "patience_early": 2, "patience_middle": 2},
            },
        },
    ),
    "frepo": Numbers(
        values={
            **{"outer_steps": 500_000, "lr_images": 3e-4, "batch_real": 1024, "init": "real", "momentum_images": 0.9},
            **{"pool": 10, "updates": 100, "lr_network": 3e-4, "batch_syn": 1000, "ridge": 1e-6},
            **{"learn_labels": True, "margin_weight": 1.0, "flip": True},
        },
        by_set=FREPO_FLIP,
        source=FREPO_CODE,
        departures=FREPO_DEPARTURES,
        limits={"cpu": {"batch_real": 256}, "smoke": {"batch_real": 64, "pool": 3, "updates": 10}},
        # Ours: the runs are shorter, and lr_images · √outer_steps is about that of the code for 10 classes at IPC 1.
        by_profile={"cpu": {"lr_images": 0.005}, "smoke": {"lr_images": 0.02}},
    ),
    "rded": Numbers(
        values={"candidates": 300, "crops": 5, "labels": "hard"},
        source=RDED_CODE,
        departures=(TEACHER_SOURCE, "images are kept as floats, not as JPEG files"),
        departures_of={
            "imagenet-1k": ("a batch-normed ConvNet, as on smaller sets: RDED prints ResNet-18, 224 pixels",)
        },
        by_profile={name: {"teacher": teacher} for name, teacher in TEACHERS.items()},
        recipes={"paper": "rded", "cpu": "rded-cpu", "smoke": "rded-smoke"},
        batch_normed=True,
    ),
    "rded-static": Numbers(
        values={"candidates": 300, "crops": 5, "expert_epochs": 50},
        source=RDED_CODE,
        departures=(EXPERT_SOURCE, "one soft label an image for those of its crops at every epoch"),
        experts=ExpertConfig(count=1, lr=0.01, momentum=0.9, weight_decay=5e-4),
        limits={"cpu": {"expert_epochs": 10}, "smoke": {"expert_epochs": 1}},
    ),
    "herding": Numbers(
        values={"expert_epochs": 50}, source=MTT_EXPERTS, departures=(f"{SHARED_SPACE}, whose experts it shares",)
    ),
    "kcenter": Numbers(
        values={"expert_epochs": 50}, source=MTT_EXPERTS, departures=(f"{SHARED_SPACE}, whose experts it shares",)
    ),
    "random": Numbers(source="real images: nothing is printed", departures=(SHARED_SPACE,)),
}
