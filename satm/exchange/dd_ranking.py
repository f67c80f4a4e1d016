"""The layout of DD-Ranking: class-major `images.pt`, `labels.pt` and `lr.pt`, and a `config.yaml` for its code.

If the code and the documentation of DD-Ranking use different keys in `config.yaml`, we use the keys of the code.
Source: docs/field.md, "DD-Ranking" (DD-Ranking 0.2.0: metrics/hard_label.py, soft_label.py and configs/*.yaml).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from satm.exchange.base import LAYOUTS, Foreign, Layout, lost
from satm.exchange.files import existing, inside, one_of
from satm.exchange.pickles import load_torch
from satm.exchange.tensors import as_images, as_labels, as_step_size, step_size_tensor
from satm.home import make_folder
from satm.networks import convnet_depth
from satm.synthetic import SyntheticSet

_NAMES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "tiny-imagenet": "TinyImageNet", "imagenet-1k": "ImageNet1K"}


def read_dd_ranking(path: Path, index: int | None = None) -> Foreign:
    """Read `images.pt` in the folder `path`, and `labels.pt`, `lr.pt` and `config.yaml` if they exist.

    `path` may also be the file of the images. Then `labels.pt` and `lr.pt` are read from its folder, but `config.yaml`
    is not. `index` is not used, because a folder holds one set. Raises DataError if a file cannot be read.
    """
    path = existing(path)
    folder = path if path.is_dir() else path.parent
    images_file = one_of(path, "images.pt") if path.is_dir() else path
    images = as_images(load_torch(images_file), str(images_file))
    files, labels, rate, says = [images_file], None, None, {}
    if (file := folder / "labels.pt").exists():
        labels = as_labels(load_torch(inside(file, folder)), str(file), n=len(images))
        files.append(file)
    if (file := folder / "lr.pt").exists():
        rate = as_step_size(load_torch(inside(file, folder)), str(file))
        files.append(file)
    if path.is_dir() and (file := folder / "config.yaml").exists():
        says = _read_config(inside(file, folder))
        files.append(file)
    notes = () if labels is not None else ("no labels.pt: images are taken to be class-major",)
    return Foreign(images=images, labels=labels, step_size=rate, files=tuple(files), notes=notes, says=says)


def _read_config(file: Path) -> dict[str, Any]:
    """Return the data set, the IPC and the space that a `config.yaml` states. The keys are field names of `Claims`.

    In the file these facts are plain lines `key: value`, so no YAML reader is needed.
    """
    with file.open("rb") as opened:
        text = opened.read(2**16).decode(errors="replace")
    found = {
        key: value.strip("'\"") for key, value in re.findall(r"^(\w+):[ \t]+([\w'\"-]+)[ \t]*(?:#.*)?$", text, re.M)
    }
    known = {theirs: ours for ours, theirs in _NAMES.items()}
    says: dict[str, Any] = {}
    if "dataset" in found:
        says["dataset"] = known.get(found["dataset"], found["dataset"])
    if re.fullmatch(r"[0-9]{1,9}", ipc := found.get("ipc", "")):
        says["ipc"] = int(ipc)
    if (zca := found.get("use_zca", "").lower()) in ("true", "false"):
        says["preprocessing"] = "zca" if zca == "true" else "meanstd"
    return says


def write_dd_ranking(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write tensors and `config.yaml` into the new folder `path`. Returns the facts that are lost, one line each."""
    make_folder(path)
    order = synthetic.hard_labels.cpu().argsort(stable=True)
    losses = list(lost(synthetic, kind=synthetic.label_kind == "probabilities"))
    labels = synthetic.labels.detach().cpu()[order].clone()
    if (order.diff() < 0).any():
        losses.append("the order of the images becomes class-major, because DD-Ranking assumes it")
    torch.save(synthetic.images.detach().cpu()[order].clone(), path / "images.pt")
    torch.save(labels, path / "labels.pt")
    if synthetic.label_kind == "probabilities":
        losses.append("DD-Ranking applies softmax to soft labels: give it the logarithm of labels.pt, labels.log()")
    if synthetic.step_size is not None:
        torch.save(step_size_tensor(synthetic.step_size), path / "lr.pt")
    if synthetic.dataset not in _NAMES:
        losses.append(f"DD-Ranking does not know {synthetic.dataset}: add it there and name it in config.yaml")
    (path / "config.yaml").write_text(configuration(synthetic))
    return tuple(losses)


def configuration(synthetic: SyntheticSet) -> str:
    """Return the text of `config.yaml`, which `ddranking.config.Config.from_file` reads.

    The training settings are those that DD-Ranking's leaderboard uses for sets of trajectory-matching methods.
    """
    _, height, width = synthetic.image_shape
    depth = convnet_depth(height)
    soft = synthetic.label_kind != "hard"
    lines = [
        "# real data",
        f"dataset: {_NAMES.get(synthetic.dataset, synthetic.dataset)}",
        "real_data_path: ./dataset/",
        "# synthetic data",
        f"ipc: {synthetic.ipc}",
        f"im_size: [{height}, {width}]",
        f"use_zca: {str(synthetic.preprocessing.kind == 'zca').lower()}",
        "# agent model",
        f"model_name: ConvNet-{depth}",
        *(("stu_use_torchvision: false", "tea_use_torchvision: false") if soft else ("use_torchvision: false",)),
        *(("teacher_dir: ./teacher_models", f"teacher_model_names: [ConvNet-{depth}]") if soft else ()),
        "# augmentation",
        "data_aug_func: dsa",
        "aug_params:",
        "  flip: 0.5",
        "  rotate: 15.0",
        "  saturation: 2.0",
        "  brightness: 1.0",
        "  contrast: 0.5",
        "  scale: 1.2",
        "  crop: 0.125",
        "  cutout: 0.5",
        "custom_train_trans: null",
        "custom_val_trans: null",
        *(("use_aug_for_hard: true", "soft_label_mode: S", "soft_label_criterion: sce") if soft else ()),
        *(("loss_fn_kwargs:", "  temperature: 1.0", "  scale_loss: false") if soft else ()),
        "# training",
        "optimizer: sgd",
        "lr_scheduler: step",
        "step_size: 500",
        "weight_decay: 0.0005",
        "momentum: 0.9",
        "num_eval: 5",
        "num_epochs: 1000",
        "syn_batch_size: 256",
        "real_batch_size: 256",
        "default_lr: 0.01",
        "num_workers: 4",
        "device: cuda",
        "dist: false",
        "eval_full_data: true",
        "random_data_format: tensor",
        "random_data_path: ./random_data/",
        f"save_path: ./results/{synthetic.dataset}_ipc{synthetic.ipc}_{synthetic.method}.csv",
    ]
    return "\n".join(lines) + "\n"


LAYOUTS.add(
    Layout(
        name="dd-ranking",
        summary="DD-Ranking: images.pt + labels.pt + lr.pt, class-major, and config.yaml",
        read=read_dd_ranking,
        write=write_dd_ranking,
        soft="logits",
        cifar10_constants=True,
    )
)
