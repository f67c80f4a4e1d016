"""The request of a class-incremental evaluation: what the user wants to measure, checked before any set is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, cast

from evaluation import RECIPES, Recipe
from protocols.base import PROTOCOLS, ClassIncremental
from protocols.online.memory import ONLINE_MEMORIES
from protocols.published import PUBLISHED, Published
from registry import Registry
from satm.config import from_dict, override, setting_path, to_dict
from satm.data.domain import domains_of
from satm.errors import ConfigError, RegistryError
from satm.presets import class_incremental_repeats
from satm.workflow.evaluate.subject import Judging, MemoryKind
from satm.workflow.incremental.memories import Budget
from satm.workflow.incremental.naming import ORDERS
from satm.workflow.teachers import Labelling

RatePolicy: TypeAlias = float | Literal["learned", "grid"] | None

PROTOCOL = "gdumb"
STEPS = 5


@dataclass(frozen=True, kw_only=True)
class IncrementalRequest:
    """What the user wants to measure.

    For a field that is None, the default in its comment is used. A published comparison (`published`) has defaults of
    its own for the protocol, the number of steps, the number of class orders and the number of networks.

    Raises UnknownName for a name that does not exist, and ConfigError if the fields contradict each other.
    """

    protocol: str | None = None  # the name of a protocol in `PROTOCOLS`; default: gdumb
    steps: int | None = None  # the number of steps in which the classes arrive; default: 5
    base: int | None = None  # the number of classes of the first step; default: as many as in the other steps
    # The domains of a domain-incremental stream: "rotation", or "rotation:0,30,60" with the angles. Every step then has
    # all classes, in a domain of its own. Default: none, the classes arrive in steps.
    domains: str | None = None
    order: str | None = None  # the class order: "field", "icarl" or a file; default: the suite's own orders, by seed
    # Default: the first of the memories that the protocol can use: condensed, or reservoir if it is online.
    memory: MemoryKind | None = None
    # Whether a memory of real images equals the set in number of images or in bytes. For an online protocol: whether
    # the reservoir holds M images, or as many as have the bytes of M float32 images.
    budget: Budget = "images"
    # The number of images that the memory holds from the first step on. Default: the memory grows with the classes; the
    # memory of an online protocol holds as many images as the set.
    buffer: int | None = None
    condense_per_step: bool = False  # whether each step's classes are condensed separately
    published: str | None = None  # the name of a published comparison in `PUBLISHED`; None: no comparison
    orders: int | None = None  # the number of class orders; default: the number of the profile
    networks: int | None = None  # the number of networks for each class order; default: the number of the profile
    architecture: str | None = None  # default: the architecture that the set was made with
    recipe: str | None = None  # default: the recipe of the protocol, or of the set if the protocol has none
    learning_rate: RatePolicy = None  # default: the learning rate of the recipe
    labels: Labelling | None = None  # labels from a teacher, or the memory's own; default: what the recipe says
    # The weight of the memory's images in the loss of protocol `replay`. Default: m / (m + 32), if a batch has m images
    # of the memory and 32 of the stream.
    replay_weight: float | None = None
    # Whether predictions on the test images are stored after every step. True: also for stored results that lack them,
    # which are run again. None: only if there are fewer than 20,000 test images.
    save_predictions: bool | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # new values for single settings of the protocol

    def __post_init__(self) -> None:
        comparison = self.comparison
        if not self.entry.trains_by_recipe and self.labels not in (None, "own"):
            raise ConfigError(
                f"--labels teacher: protocol {self.entry.name} trains in a loop of its own, on the labels of its "
                "images; leave it out, or take gdumb"
            )
        if comparison is not None and self.steps not in (None, comparison.steps):
            raise ConfigError(
                f"steps {self.steps} beside {comparison.name}, which has {comparison.steps}; leave one of them out"
            )
        if comparison is not None and self.base is not None:
            raise ConfigError(
                f"base {self.base} beside {comparison.name}, whose steps are all alike; leave one of them out"
            )
        self._check_domains()
        self._check_replay_weight()
        if self.entry.memories:
            self._check_memory()
            return
        given = {
            "--condense-per-step": self.condense_per_step,
            f"--buffer {self.buffer}": self.buffer is not None,
            f"memory {self.memory}": self.memory not in (None, "none"),
        }
        for extra in (name for name, there in given.items() if there):
            raise ConfigError(f"protocol {self.entry.name} keeps no memory; leave {extra} out, or take gdumb or replay")

    @property
    def comparison(self) -> Published | None:
        """The published comparison to repeat; None if the user named no comparison."""
        return None if self.published is None else PUBLISHED.get(self.published)

    @property
    def entry(self) -> ClassIncremental:
        """The protocol to run."""
        return PROTOCOLS.get(self.protocol or (self.comparison.protocol if self.comparison else PROTOCOL))

    @property
    def step_count(self) -> int:
        """The number of incremental steps."""
        if self.comparison is not None:
            return self.comparison.steps
        if self.domain_names is not None:
            return len(self.domain_names)
        return STEPS if self.steps is None else self.steps

    @property
    def domain_names(self) -> tuple[str, ...] | None:
        """The names of the domains that arrive; None if the stream is class-incremental."""
        if self.domains is None:
            return None
        return domains_of(self.domains, STEPS if self.steps is None else self.steps)

    @property
    def one_order(self) -> bool:
        """Whether there is only one class order: iCaRL's, or the order in a file."""
        return self.order not in (None, "field")

    @property
    def memory_kind(self) -> MemoryKind:
        """The kind of memory that the protocol uses."""
        kinds, comparison = self.entry.memories, self.comparison
        if not kinds:
            return "none"
        if self.memory is not None:
            return self.memory
        published = "" if comparison is None else comparison.memory.partition("[")[0]
        return cast(MemoryKind, published if published in kinds else kinds[0])

    @property
    def capacity(self) -> int | None:
        """The fixed number M of images in the memory; None: the default of `buffer`."""
        if self.buffer is None and self.comparison is not None:
            return self.comparison.buffer
        return self.buffer

    @property
    def judging(self) -> Judging:
        """The choices of recipe, learning rate and labels for the evaluation of the set.

        `learning_rate` replaces the recipe's learning rate, except for a protocol that has its own learning rate.
        """
        recipe = self.recipe or (self.entry.recipe if self.entry.recipe in RECIPES else None)
        return Judging(
            recipe=recipe,
            learning_rate=None if self.entry.trains_itself else self.learning_rate,
            labels=self.labels if self.entry.trains_by_recipe else "own",
        )

    def reference(self, given: str, store: Registry) -> str:
        """The name of the set to judge, if the user named `given`.

        It is `given` itself, with one exception: if a published comparison is repeated and `given` is `latest`, it is
        the newest set with the data set and the IPC of the comparison. Raises RegistryError if there is no such set.
        """
        comparison = self.comparison
        if comparison is None or given != "latest":
            return given
        found = store.sets(dataset=comparison.dataset, ipc=comparison.ipc)
        if not found:
            raise RegistryError(
                f"no set of {comparison.dataset} at IPC {comparison.ipc} is stored for {comparison.name}; make "
                f"one (satm condense {comparison.dataset} --ipc {comparison.ipc}), or name another set, which is a "
                "departure"
            )
        return found[-1].name

    def repeats(self, profile: str) -> tuple[int, int]:
        """The number of class orders, and the number of networks for each order, for a set of this profile.

        The defaults are the numbers of the profile. With a published comparison they are the comparison's numbers,
        except at the profiles `cpu` and `smoke`. Raises ConfigError for a number that is not allowed.
        """
        usual = class_incremental_repeats(profile)
        if self.comparison is not None and profile not in ("cpu", "smoke"):
            usual = self.comparison.orders, self.comparison.networks
        if self.one_order and self.orders not in (None, 1):
            raise ConfigError(f"orders {self.orders}: --order {self.order} is one class order; leave --orders out")
        orders = 1 if self.one_order else usual[0] if self.orders is None else self.orders
        networks = usual[1] if self.networks is None else self.networks
        if not 1 <= orders <= ORDERS:
            raise ConfigError(f"orders {orders}: expected 1 to {ORDERS} class orders")
        if networks < 1:
            raise ConfigError(f"networks {networks}: expected at least 1 for each class order")
        return orders, networks

    def config(self, recipe: Recipe) -> Any:
        """The settings of the protocol at the scale of `recipe`, with the user's changes.

        Raises ConfigError if the protocol cannot use the learning rate, the recipe or a changed setting.
        """
        protocol, rate = self.entry, self.learning_rate
        if protocol.trains_itself and isinstance(rate, str):
            raise ConfigError(
                f"learning rate {rate}: protocol {protocol.name} trains on the stream of real images at one of its "
                "own; state a number, or leave it out"
            )
        in_avalanche = protocol.reads == "memory" and not (protocol.trains_by_recipe or protocol.own_loss)
        if in_avalanche and (recipe.cutmix is not None or recipe.clip_norm is not None or recipe.optimizer is not None):
            raise ConfigError(
                f"protocol {protocol.name} trains by SGD in Avalanche's own loop, without CutMix or clipped gradients; "
                f"take another recipe than {recipe.name}"
            )
        changes = dict(self.settings)
        if self.replay_weight is not None:
            changes["replay_weight"] = self.replay_weight
        if protocol.trains_itself and rate is not None:
            if "learning_rate" in changes:
                raise ConfigError(
                    f"learning rate {rate:g} beside --set learning_rate={changes['learning_rate']}; leave one out"
                )
            changes["learning_rate"] = rate
        plain = to_dict(protocol.configured(recipe.scale))
        if self.settings and not plain:
            raise ConfigError(f"protocol {protocol.name} has no settings of its own; --recipe says how it trains")
        if protocol.online:
            of_memory = self.memory_changes(recipe)
            changes = {key: value for key, value in changes.items() if key not in of_memory}
        return from_dict(protocol.config, override(plain, changes))

    def memory_changes(self, recipe: Recipe) -> dict[str, Any]:
        """Those of `settings` that are settings of the online memory, as the user named them.

        The settings of the memory are in a table with its name: `ssd.queue`, or `queue` if the protocol has no setting
        of this name. Raises UnknownName for a setting that neither of them has, and ConfigError for one that both have.
        """
        both = to_dict(self.entry.configured(recipe.scale)) | {self.memory_kind: self._memory_defaults(recipe)}
        return {
            key: value
            for key, value in self.settings.items()
            if setting_path(both, key).startswith(f"{self.memory_kind}.")
        }

    def memory_config(self, recipe: Recipe) -> Any:
        """The settings of the online memory at the scale of `recipe`, with the user's changes.

        Raises ConfigError for a value that the memory cannot use.
        """
        table: dict[str, Any] = {self.memory_kind: self._memory_defaults(recipe)}
        changed = override(table, self.memory_changes(recipe))[self.memory_kind]
        return from_dict(ONLINE_MEMORIES.get(self.memory_kind).config, changed)

    def _memory_defaults(self, recipe: Recipe) -> dict[str, Any]:
        return to_dict(ONLINE_MEMORIES.get(self.memory_kind).configured(recipe.scale))

    def _check_domains(self) -> None:
        names = self.domain_names
        if names is None:
            return
        if self.steps not in (None, len(names)):
            raise ConfigError(f"steps {self.steps} beside {len(names)} domains; leave one of them out")
        for option, given in ((f"--base {self.base}", self.base), (f"--published {self.published}", self.published)):
            if given is not None:
                raise ConfigError(f"{option}: the steps of --domains have all classes; leave one of them out")
        if self.order == "icarl":
            raise ConfigError("--order icarl is an order of classes, and --domains needs one of domains; take field")
        if self.memory_kind == "condensed" and not self.condense_per_step:
            raise ConfigError(
                "memory condensed with --domains: the set holds images of one domain; add --condense-per-step, which "
                "condenses each domain separately, or take memory random or herding"
            )

    def _check_replay_weight(self) -> None:
        if self.replay_weight is None and "replay_weight" not in self.settings:
            return
        if self.domains is not None:
            raise ConfigError(
                "--replay-weight with --domains: the weight tells the memory from the stream by classes, which are the "
                "same in every domain; leave it out"
            )
        if self.replay_weight is None:
            return
        if "replay_weight" not in {each.name for each in fields(self.entry.config)}:
            raise ConfigError(
                f"--replay-weight {self.replay_weight}: protocol {self.entry.name} has no such weight; take replay "
                "(er-ace always takes half, and der has --set alpha and beta)"
            )
        if "replay_weight" in self.settings:
            raise ConfigError("--replay-weight and --set replay_weight are one setting; leave one of them out")

    def _check_online(self) -> None:
        if self.domains is not None:
            raise ConfigError(
                f"--domains with protocol {self.entry.name}: its memory is made for classes that arrive; leave it out, "
                "or take gdumb or replay"
            )
        if self.condense_per_step:
            raise ConfigError(f"--condense-per-step: protocol {self.entry.name} keeps no condensed set; leave it out")
        if self.budget == "bytes" and self.memory_kind != "reservoir":
            raise ConfigError(
                f"budget bytes with memory {self.memory_kind}: it bounds the real images of memory reservoir, which "
                "then have the bytes of --buffer float32 images"
            )

    def _check_memory(self) -> None:
        kind, kinds = self.memory_kind, self.entry.memories
        if kind not in kinds:
            expected = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
            raise ConfigError(f"memory {kind} for protocol {self.entry.name}: expected {expected}")
        if self.budget not in ("images", "bytes"):
            raise ConfigError(f"budget {self.budget}: expected images or bytes")
        if self.entry.online:
            self._check_online()
            return
        if self.budget == "bytes" and kind == "condensed":
            raise ConfigError("budget bytes: it is the condensed set's own; it bounds memory random or herding")
        if self.budget == "bytes" and self.buffer is not None:
            raise ConfigError(f"budget bytes and buffer {self.buffer}: the buffer counts images; leave one of them out")
        if self.condense_per_step and kind != "condensed":
            raise ConfigError(f"--condense-per-step makes a condensed memory; leave memory {kind} out")
