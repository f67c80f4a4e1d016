"""CAFE: condensation by the alignment of features (Wang et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from satm import networks
from satm.engine import FlatNetwork, flatten
from satm.errors import ConfigError
from satm.matching import alignment_distance, discrimination_loss
from satm.methods.base import METHODS, Task
from satm.methods.checks import check_feature_alignment
from satm.methods.direct.condensation import ClassBatches, DirectCondensation, Init, Moved, classes_at_once
from satm.methods.direct.method import DirectMethod
from satm.methods.dm import AT_ONCE, DMConfig
from satm.rng import Seed
from satm.training import SGDConfig
from satm.types import FlatParams, Images


@dataclass(frozen=True, slots=True, kw_only=True)
class CAFEConfig(DMConfig):
    """Aligns the mean outputs of several layers, and lets the synthetic centres of the classes classify real images:

        min_φ E_θ Σ_l w_l Σ_k ‖mean f_l(φ_k; θ) − mean f_l(T_k; θ)‖² − β Σ_k Σ_{x ∈ T_k} log p_k(x)
        p_k(x) = softmax_k ⟨f_L(x; θ), mean f_L(φ_k; θ)⟩

    φ_k and T_k are the synthetic and the real images of class k. f_l is the output of layer l of a ConvNet with the
    parameters θ: of the ReLU of each of the last three blocks, and of the last pooling, f_L. w_l is in
    `layer_weights`, and β is `discrimination`.

    Between two updates of φ the network is trained on φ. The accuracy on random real images (`batch_query` of each
    class) decides for how long. After each update, the largest and the smallest of the last `window` accuracies are
    compared. If they differ by less than `replace_below`, the network has nothing more to give, and a fresh one
    replaces it. Otherwise it is trained, one epoch after another, until the accuracies after the last `window` epochs
    differ by more than `update_above`, so that the next update sees another network.

    The defaults are those of CAFE's code (distill.py of kaiwang960112/CAFE at b718ff5), except those marked as ours.
    """

    lr_images: float = 0.1
    init: Init = "noise"
    augment: str | None = None  # augmentations in DSA's notation, as in `DMConfig`; null: none
    halve_at: tuple[float, ...] = (0.6, 0.8, 0.9)  # lr_images is halved after these shares of the outer steps
    layer_weights: tuple[float, ...] = (0.1, 0.1, 1.0, 2.0)  # w_l of the three blocks and of the pooling, in this order
    discrimination: float = 0.01  # β
    window: int = 10  # the number of accuracies that are compared
    replace_below: float = 0.04  # `lambda_1` of the code
    update_above: float = 0.03  # `lambda_2` of the code
    batch_query: int = 128  # real images of each class on which an accuracy is measured
    most_epochs: int = 100  # the most epochs between two updates of φ; ours, the code has no limit
    lr_network: float = 0.01
    batch_syn: int = 256  # synthetic images in one step of the training between two updates

    def __post_init__(self) -> None:
        DMConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        for name in ("window", "batch_query", "most_epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected at least 1")
        for name in ("discrimination", "replace_below", "update_above"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} {getattr(self, name)}: expected a finite number of 0 or more")
        if len(self.layer_weights) != 4 or not all(math.isfinite(each) and each >= 0 for each in self.layer_weights):
            raise ConfigError(
                f"layer_weights {list(self.layer_weights)}: expected four finite numbers of 0 or more, for the last "
                "three blocks and the last pooling"
            )
        if not all(0 < share < 1 for share in self.halve_at):
            raise ConfigError(f"halve_at {list(self.halve_at)}: expected shares between 0 and 1 of the outer steps")
        self.training()

    def training(self) -> SGDConfig:
        """Return the settings of one epoch of the network's training on φ."""
        return SGDConfig(epochs=1, lr=self.lr_network, batch_size=self.batch_syn)

    def share(self, step: int) -> float:
        """Return the factor of `lr_images` at the outer step `step`, counted from 0."""
        return 0.5 ** sum(step >= share * self.outer_steps for share in self.halve_at)

    def images_a_step(self, classes: int, ipc: int) -> float:
        """See `DirectConfig`. An estimate: the training between two updates takes the fewest epochs that it can."""
        epochs = min(self.window, self.most_epochs)
        return classes * (self.batch_real / 3 + 2 * ipc + epochs * (self.batch_query / 3 + ipc))


class CAFE(DirectCondensation):
    """A condensation by CAFE. Each outer step updates φ once, and trains the network on φ or replaces it."""

    def __init__(self, task: Task, config: CAFEConfig) -> None:
        super().__init__(task, config, config.augment)
        self.config, self.query = config, ClassBatches(task.data, config.batch_query)
        layers = networks.LayerFeatures(self.network, blocks=3)
        self.sizes = [each.numel() for each in layers.maps(torch.zeros(1, *task.data.image_shape, device=task.device))]
        compute = FlatNetwork(layers)
        self.number = 0  # how many networks were replaced
        self.theta: FlatParams = self.fresh(0)
        self.seen: tuple[float, ...] = ()  # the last accuracies of this network after updates of φ

        def outputs(theta: FlatParams, images: Images) -> torch.Tensor:
            found: torch.Tensor = compute(theta, images.flatten(0, 1)).unflatten(0, images.shape[:2])
            return found

        def means(theta: FlatParams, images: Images) -> torch.Tensor:
            return outputs(theta, images).mean(dim=1)

        def real_side(theta: FlatParams, images: Images) -> tuple[torch.Tensor, torch.Tensor]:
            found = outputs(theta, images)
            return found.mean(dim=1), found[:, :, -self.sizes[-1] :]

        def pulled(images: Images, theta: FlatParams, towards: torch.Tensor) -> torch.Tensor:
            return (means(theta, images) * towards).sum()

        self.means, self.real_side = self.fused(means), self.fused(real_side)
        self.pull = self.fused(torch.func.grad(pulled))

    def fresh(self, number: int) -> FlatParams:
        """Return θ [P] of fresh network `number`."""
        return flatten(self.drawn(self.task.seed.child("network", number)).parameters()).detach()

    def parameters(self, seed: Seed) -> FlatParams:
        """See `DirectCondensation`: the network as it was trained or replaced after the last update of φ."""
        return self.theta

    @torch.no_grad()
    def matched(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """See `DirectCondensation`.

        The loss depends on φ only through the mean outputs m [K, D] of the classes. With u = ∂loss/∂m, its derivative
        with respect to the images is ∂⟨m, u⟩/∂φ at fixed u, which is computed for some classes at a time.
        """
        classes = torch.arange(len(synthetic), device=synthetic.device)
        parts = classes.split(classes_at_once(len(classes), synthetic.shape[1], AT_ONCE))
        real_parts = classes.split(classes_at_once(len(classes), real.shape[1], AT_ONCE))
        wanted, features = (
            torch.cat(each) for each in zip(*(self.real_side(theta, real[some]) for some in real_parts), strict=True)
        )
        found = torch.cat([self.means(theta, synthetic[some]) for some in parts])
        towards, total = torch.func.grad_and_value(self.loss)(found, wanted, features)
        return torch.cat([self.pull(synthetic[some], theta, towards[some]) for some in parts]), total

    def loss(self, found: torch.Tensor, wanted: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return the loss of `CAFEConfig`.

        `found` and `wanted` [K, D] are the mean outputs of all layers for synthetic and for real images. `features`
        [K, b, D_L] are the outputs of the last layer for each real image.
        """
        synthetic, real = found.split(self.sizes, dim=1), wanted.split(self.sizes, dim=1)
        distance = alignment_distance(synthetic, real, self.config.layer_weights)
        return distance + self.config.discrimination * discrimination_loss(synthetic[-1], features)

    def updated(self, at: Moved, gradient: Images) -> tuple[Images, torch.Tensor]:
        """See `DirectCondensation`: SGD with momentum, at a learning rate that is halved several times."""
        return self.sgd(at.images, at.velocity, gradient, self.config.share(self.step))

    def follow(self, moved: Moved, seed: Seed) -> Moved:
        """See `DirectCondensation`: replaces the network by a fresh one, or trains it on φ."""
        accuracy = self.accuracy(self.theta, seed.child("query"))
        seen, number, theta, epochs = (*self.seen, accuracy)[-self.config.window :], self.number, self.theta, 0
        if spread(seen, self.config.window) < self.config.replace_below:
            seen, number, theta = (), number + 1, self.fresh(number + 1)
        else:
            theta, epochs = self.trained(moved.images, seed)
        measured = {**moved.measured, "query_accuracy": accuracy, "epochs": epochs, "network": self.number}
        self.seen, self.number, self.theta = seen, number, theta
        return Moved(moved.images, moved.velocity, measured)

    def trained(self, images: Images, seed: Seed) -> tuple[FlatParams, int]:
        """Return θ [P] after training on φ = `images`, and the number of epochs. Raises Diverged."""
        theta = self.theta
        seen: tuple[float, ...] = ()
        FlatNetwork(self.network).load(theta)
        for epoch in range(1, self.config.most_epochs + 1):
            own = seed.child("epoch", epoch)
            with self.training_a_network():
                self.fit_on(images, self.config.training(), own)
            theta = flatten(self.network.parameters()).detach()
            seen = (*seen, self.accuracy(theta, own.child("query")))[-self.config.window :]
            if spread(seen, self.config.window) > self.config.update_above:
                break
        return theta, epoch

    @torch.no_grad()
    def accuracy(self, theta: FlatParams, seed: Seed) -> float:
        """Return the accuracy of the network at θ [P] on random real images, `batch_query` of each class."""
        network, images = FlatNetwork(self.network), self.query.draw(seed.generator()).to(theta)
        labels = torch.arange(len(images), device=theta.device).repeat_interleave(images.shape[1])
        pairs = zip(images.flatten(0, 1).split(AT_ONCE), labels.split(AT_ONCE), strict=True)
        return sum(int((network(theta, some).argmax(dim=1) == wanted).sum()) for some, wanted in pairs) / len(labels)

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""
        seen = torch.tensor(self.seen, dtype=torch.float64)
        return {**super().state(), "theta": self.theta.cpu(), "seen": seen, "number": torch.tensor(self.number)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""
        super().restore(state)
        self.theta, self.number = state["theta"].to(self.task.device), int(state["number"])
        self.seen = tuple(state["seen"].tolist())


def spread(accuracies: Sequence[float], window: int) -> float:
    """Return the largest minus the smallest of the last `window` accuracies.

    If there are fewer, it is nan, which is neither below nor above any threshold.
    """
    last = accuracies[-window:]
    return max(last) - min(last) if len(last) == window else math.nan


METHODS.add(
    DirectMethod(
        name="cafe",
        summary="mean outputs of several layers, and real images classified by synthetic centres (Wang et al. 2022)",
        cite=("wang2022cafe",),
        config=CAFEConfig,
        recipe="cafe",
        begin=CAFE,
        check=check_feature_alignment,
    )
)
