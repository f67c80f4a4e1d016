"""FRePo: dataset distillation using neural feature regression (Zhou, Nezhadarya and Ba 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch.nn import functional as F

from satm import networks
from satm.engine import FlatNetwork, flatten, make_step
from satm.errors import ConfigError, Diverged
from satm.machine.pieces import images_at_once
from satm.matching import label_margin, ridge_loss
from satm.methods.adam import AdamMove
from satm.methods.base import METHODS, Outcome, Request, Task, Traits
from satm.methods.checks import check_features, check_gradient_matching
from satm.methods.direct.condensation import DirectCondensation, DirectConfig, Moved
from satm.methods.direct.method import DirectMethod
from satm.methods.direct.pool import NetworkPool
from satm.methods.lamb import LambMove
from satm.rng import Seed
from satm.types import FlatParams, Images, Labels

LAST_SHARE = 0.1
"""The learning rate of φ at the last outer step, as a share of the first one."""

PIECE = 512
"""The largest number of images that pass a network together, if the machine sets no smaller limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FRePoConfig(DirectConfig):
    """Learns images φ and targets y so that a regression on the features of φ predicts the targets of real images:

        min_φ,y E_θ mean_i ½ ‖z_i − p_i‖² − w · margin(y),   p = K_ts (K_ss + λ I)^{-1} y,   λ = ridge · tr(K_ss)/n

    K_ss and K_ts are inner products of the features of a network with parameters θ (see `ridge_prediction`). s are the
    synthetic images, and t is a batch of real images. p_i is the prediction for real image i, and z_i is its target,
    which is fixed: 1 − 1/K for its class and −1/K for the K − 1 others. y are the learned targets of the synthetic
    images. `margin` is `label_margin`. θ is drawn from a pool of networks that are trained on (φ, y) by Adam, so that θ
    has different ages.

    φ and y are updated by LAMB. Its learning rate falls along half a cosine to a tenth. The default values are those of
    FRePo's code (script/distill.py, lib/datadistillation/frepo.py and README.md of yongchao97/FRePo at 9b98c65).
    """

    outer_steps: int = 500_000
    lr_images: float = 3e-4  # the learning rate of LAMB: the length of a move of φ or y, as a share of its norm
    momentum_images: float = 0.9  # β₁ of LAMB; β₂ is 0.999 and ε is 1e-6
    batch_real: int = 1024  # real images in each step, of all classes together; at most the training set
    pool: int = 10  # the number of networks in the pool
    updates: int = 100  # the training steps of a network; at a greater age it is replaced (see `NetworkPool`)
    lr_network: float = 3e-4  # the learning rate of the Adam that trains the networks
    batch_syn: int = 1000  # the largest number of synthetic images in a training step of a network
    ridge: float = 1e-6  # λ as a share of the mean eigenvalue of K_ss
    flip: bool = True  # whether the mirror images of φ, with the same targets, are part of the regression
    learn_labels: bool = True  # whether y is learned; if not, y is constant, and the labels of the set are classes
    margin_weight: float = 1.0  # w, the weight of the label margin; it acts only if y is learned

    def __post_init__(self) -> None:
        DirectConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        if self.outer_steps < 0:
            raise ConfigError(f"outer_steps {self.outer_steps}: expected 0 or more")
        if self.cluster_every is not None:
            raise ConfigError(
                f"cluster_every {self.cluster_every}: frepo draws real images of all classes together; expected null"
            )
        for name in ("pool", "batch_syn"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected at least 1")
        if self.updates < 0:
            raise ConfigError(f"updates {self.updates}: expected 0 or more training steps of a network")
        for name in ("lr_network", "ridge"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} {getattr(self, name)}: expected a finite number above 0")
        if not (math.isfinite(self.margin_weight) and self.margin_weight >= 0):
            raise ConfigError(f"margin_weight {self.margin_weight}: expected a finite number of 0 or more")

    @property
    def steps(self) -> int:
        """The number of updates of φ."""
        return self.outer_steps

    def at_most(self, steps: int) -> Self:
        """See `DirectConfig`."""
        return replace(self, outer_steps=min(self.outer_steps, steps))

    def images_a_step(self, classes: int, ipc: int) -> float:
        """See `DirectConfig`. A forward pass without a backward pass counts as a third of an image.

        Real images pass forwards only. Synthetic images pass forwards, then forwards and backwards (so that only the
        activations of one piece are in memory), and once more in the training of a network.
        """
        seen = classes * ipc
        return self.batch_real / 3 + (2 if self.flip else 1) * seen * 4 / 3 + min(seen, self.batch_syn)

    def share(self, progress: float) -> float:
        """The factor of the learning rate of φ and y after the share `progress` (0 … 1) of the outer steps."""
        return LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * progress)) / 2


class FRePo(DirectCondensation):
    """The condensation of FRePo. Each outer step does the following:

    1. It draws a network from the pool and a batch of real images, and computes the gradient of the loss.
    2. It updates φ and y by LAMB.
    3. It trains the drawn network one step on the new φ and y, with the loss mean_i ½ ‖y_i − l_i‖² for its logits l_i.
       If the network is too old, it replaces the network by a fresh one.
    """

    def __init__(self, task: Task, config: FRePoConfig) -> None:
        """Raise ConfigError for a device without double precision."""
        if task.device.type == "mps":
            raise ConfigError("frepo solves its kernel in double precision, which mps does not have; take --device cpu")
        super().__init__(task, config, augment=None)
        self.settings = config
        self.lamb = LambMove(AdamMove(lr=config.lr_images, beta1=config.momentum_images, eps=1e-6))
        self.classes = self.labels  # [K·ipc]
        count = len(task.data.classes)
        self.labels: Labels = (centred(self.classes, count) / math.sqrt(count / 10)).to(self.images)
        self.velocity, self.labels_velocity = (self.lamb.at_rest(each) for each in (self.images, self.labels))
        self.label_slope = torch.zeros_like(self.labels)  # the derivative of the loss with respect to y, of this step
        adam = AdamMove(lr=config.lr_network, beta1=0.9)
        self.pool = NetworkPool(config.pool, config.updates, adam, self.fresh, task.seed.child("pool"))
        self.at_once = images_at_once(self.network, task.data.image_shape)
        self.training = make_step(
            self.network,
            criterion=half_squared_error,
            at_once=self.at_once,
            notify=task.notify if self.compiles else None,
        )
        embedding = networks.features(self.network)
        names = {name for name, _ in embedding.named_parameters()}
        whole = self.network.named_parameters()
        self.inner = torch.cat([torch.full((p.numel(),), name in names) for name, p in whole]).to(task.device)
        flat = FlatNetwork(embedding)

        def embed(theta: FlatParams, images: Images) -> torch.Tensor:
            return flat(theta, images)

        def pull(images: Images, theta: FlatParams, towards: torch.Tensor) -> Images:
            found: Images = torch.func.grad(lambda at: (embed(theta, at) * towards).sum())(images)
            return found

        self.embed, self.pull = self.fused(embed), self.fused(pull)

    def fresh(self, seed: Seed) -> FlatParams:
        """Return the parameters [P] of a fresh network, with the dtype and on the device of φ."""
        return flatten(self.drawn(seed).parameters()).detach().to(self.images)

    def chosen(self, seed: Seed) -> int:
        """Return the place in the pool of the network of this outer step."""
        return int(torch.randint(len(self.pool), (), generator=seed.child("network").generator()))

    def seen(self, images: Images) -> Images:
        """Return the images of the regression if φ = `images`: as networks see them, and then their mirror images."""
        found: Images = self.task.parametrisation.decode(images)
        return torch.cat([found, found.flip(-1)]) if self.settings.flip else found

    @torch.no_grad()
    def features(self, theta: FlatParams, images: Images) -> torch.Tensor:
        """Return the features [b, D] of `images` by the network with the parameters θ, without its last layer."""
        return torch.cat([self.embed(theta, part) for part in images.split(self.at_once or PIECE)])

    def gradient(self, seed: Seed) -> tuple[Images, dict[str, float]]:
        """Return the derivative of the loss with respect to φ, and the loss; see `DirectCondensation`.

        `loss` is the loss of the regression, without the margin. `margin` is the label margin. The derivative with
        respect to y is kept for `follow`. Raises Diverged if the kernel cannot be solved.
        """
        settings, train = self.settings, self.task.data.train
        theta = self.pool[self.chosen(seed)].theta[self.inner]
        index = torch.randperm(len(train), generator=seed.child("real").generator())[: settings.batch_real]
        images, classes = train.batch(index)
        real = self.features(theta, images.to(self.images))
        wanted = centred(classes, self.labels.shape[1]).to(real)
        leaf, labels = (each.detach().requires_grad_() for each in (self.images, self.labels))
        seen = self.seen(leaf)
        found = self.features(theta, seen.detach()).requires_grad_()
        targets = self.task.parametrisation.spread(labels).repeat(2 if settings.flip else 1, 1)
        try:
            loss, margin = ridge_loss(found, targets, real, wanted, settings.ridge), label_margin(labels)
        except Diverged as error:
            raise Diverged(
                f"outer step {self.step + 1}: {error}; raise ridge, or lower lr_images or lr_network (--set)"
            ) from error
        towards, self.label_slope = torch.autograd.grad(loss - settings.margin_weight * margin, (found, labels))
        parts = zip(*(each.split(self.at_once or PIECE) for each in (seen.detach(), towards)), strict=True)
        (gradient,) = torch.autograd.grad(seen, leaf, torch.cat([self.pull(x, theta, g) for x, g in parts]))
        return gradient, {"loss": float(loss.detach()), "margin": float(margin.detach())}

    def share(self) -> float:
        """The factor of the learning rate at this outer step. `satm plan` may time more steps than there are."""
        return self.settings.share(min(1.0, self.step / max(1, self.steps)))

    def updated(self, at: Moved, gradient: Images) -> tuple[Images, torch.Tensor]:
        """The new φ and the new state of LAMB; see `DirectCondensation`."""
        return self.lamb(at.images, at.velocity, gradient, self.share())

    def follow(self, moved: Moved, seed: Seed) -> Moved:
        """Update y, and train the drawn network on the new φ and y; see `DirectCondensation`."""
        labels, velocity, index = self.labels, self.labels_velocity, self.chosen(seed)
        if self.settings.learn_labels:
            labels, velocity = self.lamb(labels, velocity, self.label_slope, self.share())
        images, targets = self.task.parametrisation.decode(moved.images), self.task.parametrisation.spread(labels)
        order = torch.randperm(len(images), generator=seed.child("batch").generator())[: self.settings.batch_syn]
        rows = slice(None) if len(order) == len(images) else order.to(images.device)
        member = self.pool.after_a_step(
            index, lambda theta: self.training.gradient(theta, images[rows], targets[rows]), seed.child("fresh")
        )
        for name, value in (("the labels' update", labels), ("a network of the pool", member.theta)):
            if not torch.isfinite(value).all():
                raise Diverged(f"outer step {self.step + 1}: {name} not finite; lower lr_images or lr_network (--set)")
        self.labels, self.labels_velocity = labels, velocity
        self.pool.replace(index, member)
        return moved

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that `restore` needs; see `Condensation` in base.py."""
        own = {"labels": self.labels.cpu(), "labels_velocity": self.labels_velocity.cpu()}
        return {**super().state(), **own, **self.pool.state()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Return to `state`; see `Condensation` in base.py."""
        super().restore(state)
        own = (state[name].to(self.images.device) for name in ("labels", "labels_velocity"))
        self.labels, self.labels_velocity = own
        self.pool.restore(state)

    def result(self) -> Outcome:
        """The set: y as logits if y is learned, otherwise classes. No step size is learned; see `Condensation`."""
        if not self.settings.learn_labels:
            return Outcome(self.images.cpu(), self.classes.cpu(), "hard", None)
        return Outcome(self.images.cpu(), self.labels.cpu(), "logits", None)


def centred(classes: Labels, count: int) -> Labels:
    """Return the targets e_k − 1/K [n, K] of the classes k [n], in double precision. K is `count`."""
    return F.one_hot(classes, count).double() - 1 / count


def half_squared_error(logits: torch.Tensor, targets: Labels) -> torch.Tensor:
    """Return mean_i ½ ‖y_i − l_i‖² for logits l [b, K] and targets y [b, K], 0-dimensional."""
    return (logits - targets).square().sum(dim=1).mean() / 2


def check_regression(request: Request) -> None:
    """Raise ConfigError for an architecture that FRePo cannot use.

    It needs features. Their values must not change from pass to pass (dropout), nor depend on running statistics.
    """
    check_gradient_matching(request)
    check_features(request)


def _without_flip(traits: Traits) -> Mapping[str, Any]:
    """The setting `flip` for data sets that a flip would spoil. FRePo's code does not flip the digits of MNIST."""
    return {} if "flip" in traits.augment else {"flip": False}


METHODS.add(
    DirectMethod(
        name="frepo",
        summary="regression on the features of a pool of networks, with learned labels (Zhou et al. 2022)",
        cite=("zhou2022frepo",),
        config=FRePoConfig,
        data_settings=_without_flip,
        recipe="dm",
        whitening=True,
        begin=FRePo,
        check=check_regression,
    )
)
