"""The work of one trial: it condenses under every seed, and is judged on the validation split only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from registry import Registry
from satm.errors import Interrupted, Pruned, RegistryError, SatmError
from satm.presets import Preset
from satm.progress import Progress
from satm.workflow.choosing import with_settings
from satm.workflow.condense.judging import CURVE, Judging, Point
from satm.workflow.condense.run import condense
from satm.workflow.condense.seeds import with_expert_seed
from satm.workflow.patience import when_free
from satm.workflow.tune.study import TakenTrial


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is measured of a trial: the validation accuracy at the end, over condensation seeds and networks."""

    preset: Preset  # with the settings that are not searched
    seeds: tuple[int, ...]
    judging: Judging
    share_experts: bool = False

    def preset_of(self, settings: Mapping[str, Any], *, study: str) -> Preset:
        """The preset with the settings of a trial. Raises ConfigError if they do not fit each other."""
        return with_settings(self.preset, settings, by=f"tuned ({study})")

    def run(self, trial: TakenTrial, registry: Path, device: str, data_root: Path | None, progress: Progress) -> None:
        """Do the trial and tell the study how it ended.

        A trial that the study prunes, that diverges or whose settings cannot work has ended too. Raises Interrupted if
        the user asks to stop, RegistryError if the registry or the storage cannot be written, and any error of the
        first trial, because a preset that fails says nothing about the search: then the trial is left for later.
        """
        try:
            trial.complete(self._accuracies(trial, registry, device, data_root, progress))
        except Pruned as stop:
            trial.give_up(str(stop), pruned=True)
        except (Interrupted, RegistryError):
            trial.stop()
            raise
        except SatmError as error:
            if trial.is_default:
                trial.stop()
                raise
            trial.give_up(str(error), pruned=False)
            progress.say(f"trial {trial.number} failed: {error}")
        except BaseException:
            trial.stop()
            raise

    def _accuracies(
        self, trial: TakenTrial, registry: Path, device: str, data_root: Path | None, progress: Progress
    ) -> list[tuple[float, ...]]:
        """For each seed the accuracies of the networks. Raises Pruned if the first seed is not good enough."""
        preset = self.preset_of(trial.settings, study=trial.study.name)
        found = []
        for number, seed in enumerate(self.seeds):
            follower = Follower(trial=trial, seed=seed, first=number == 0)
            make = partial(
                condense,
                preset if self.share_experts else with_expert_seed(preset, seed),
                seed=seed,
                device=device,
                registry=registry,
                data_root=data_root,
                judging=self.judging,
                watcher=follower,
                progress=progress,
            )
            done = when_free(make, f"trial {trial.number}, seed {seed},", progress)  # another trial may be equal
            trial.add_run(done.run)
            curve = curve_of(registry, done.run)
            if reason := follower.judged(curve):  # a stored run was not followed
                raise Pruned(reason)
            found.append(curve[-1].accuracies)
        return found


@dataclass(frozen=True, kw_only=True)
class Follower:
    """Reports the curve of the first seed to the study, and stops a run that is not good enough."""

    trial: TakenTrial
    seed: int
    first: bool

    @property
    def facts(self) -> Mapping[str, Any]:
        """Stored with the run."""
        trial = self.trial
        return {"study": trial.study.name, "trial": trial.number, "settings": dict(trial.settings)}

    def judged(self, points: Sequence[Point]) -> str | None:
        """The reason to stop the run, if there is one."""
        if not self.first:
            return None
        for point in points:
            if self.trial.report(point.step, point.mean):
                return (
                    f"pruned after outer step {point.step}: validation accuracy {100 * point.mean:.1f} is not in the "
                    f"better half there (trial {self.trial.number} of {self.trial.study.name})"
                )
        return None


def curve_of(registry: Path, run: str) -> tuple[Point, ...]:
    """The validation curve that a run stored. Raises RegistryError if it has none."""
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        rows = store.metrics(run)
    points: dict[int, dict[str, float]] = {}
    for row in rows:
        if row.name == "validation_rate" or row.name.startswith(f"{CURVE}."):
            points.setdefault(row.step, {})[row.name] = row.value
    if not points:
        raise RegistryError(f"run {run} in {registry} has no validation curve; condense with --eval-every makes one")
    return tuple(
        Point(
            step=step + 1,
            rate=named["validation_rate"],
            accuracies=tuple(named[f"{CURVE}.{k}"] for k in range(len(named) - 1)),
        )
        for step, named in sorted(points.items())
    )
