"""The inputs of a condensation: loads the data, checks the request against them, and trains the experts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from satm import data as datasets
from satm import networks
from satm.data.domain import in_domain
from satm.errors import ConfigError
from satm.experts import Trajectory, train_experts
from satm.machine.device import resolve_device
from satm.methods import METHODS, Method, Request, check_ipc
from satm.parametrisation import PIXELS
from satm.presets import CondenseConfig
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.teachers import check_teacher
from satm.workflow.teachers import own_teacher


def load_data(
    config: CondenseConfig, *, data_root: Path | None, device: str = "cpu", progress: Progress = SILENT
) -> datasets.ImageData:
    """The preprocessed data set of a configuration, in its domain and with only the images of its classes."""
    data = datasets.load(
        config.dataset,
        root=data_root,
        image_size=config.image_size,
        zca=config.zca,
        validation=config.validation,
        device=resolve_device(device),
        progress=progress,
    )
    if config.domain is not None:
        data = in_domain(data, config.domain)
    return data if config.classes is None else data.of_classes(config.classes)


def check_request(config: CondenseConfig, data: datasets.ImageData) -> None:
    """Raise ConfigError for a request that does not work with these images or this network, before any training."""
    config.decoding.check(data.image_shape)
    check_ipc(data, config.ipc, config.decoding)
    method = METHODS.get(config.method)
    _check_decodes(config, method)
    method.check(
        Request(
            method=config.method,
            settings=config.settings,
            architecture=config.architecture,
            experts=config.experts,
            data=data,
            ipc=config.ipc,
            parametrisation=config.decoding,
        )
    )
    if (teacher := own_teacher(config)) is not None:
        check_teacher(data, teacher)
    if method.expert_epochs(config.settings) is None:
        return
    network = networks.plan_for(config.architecture, data).create(Seed(0))
    if any(True for _ in network.buffers()):
        raise ConfigError(
            f"{config.architecture} keeps running statistics, which a trajectory of parameters does not hold; condense "
            "on a network without, as convnet3, and evaluate on this one (satm eval-arch)"
        )


def _check_decodes(config: CondenseConfig, method: Method) -> None:
    """Raise ConfigError if the parametrisation is another one than pixels, and the method can learn only pixels."""
    if config.decoding != PIXELS and not method.decodes:
        able = ", ".join(name for name in METHODS.known() if METHODS.get(name).decodes)
        raise ConfigError(
            f"parametrisation {config.decoding.spell()}: method {config.method} makes images that networks see as they "
            f"are stored; leave it out, or take a method that can store others: {able}"
        )


def prepare_experts(
    config: CondenseConfig,
    data: datasets.ImageData,
    *,
    only: Sequence[int] | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> list[Trajectory]:
    """Return the experts that a condensation needs, or [] if its method needs none. Missing experts are trained.

    `only` holds the indices of the experts to train and return; None: all of them.
    """
    method = METHODS.get(config.method)
    epochs = method.expert_epochs(config.settings)
    if epochs is None:
        return []
    return train_experts(
        data,
        config.architecture,
        config.experts,
        epochs=epochs,
        only=only,
        device=resolve_device(device),
        compilation=method.compilation(config.settings),
        progress=progress,
    )
