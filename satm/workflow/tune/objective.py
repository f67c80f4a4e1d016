"""The work of one trial: a condensation under every seed. The sets are judged on the validation split only."""

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
    """Runs trials: condenses under each seed, and measures the validation accuracies of the final images."""

    preset: Preset  # has the values of the settings that are not searched
    seeds: tuple[int, ...]  # the condensation seeds of each trial
    judging: Judging  # how the images are judged on the validation split, and how often
    share_experts: bool = False  # whether all seeds use the experts of the preset; else the experts of their own seed

    def preset_of(self, settings: Mapping[str, Any], *, study: str) -> Preset:
        """The preset with the settings of a trial of study `study`.

        Raises ConfigError if the settings contradict each other.
        """
        return with_settings(self.preset, settings, by=f"tuned ({study})")

    def run(self, trial: TakenTrial, registry: Path, device: str, data_root: Path | None, progress: Progress) -> None:
        """Run the trial and store in the study how it ended.

        A trial ends if it is complete, if the study prunes it (stops it early), or if it fails: it diverges, or its
        settings cannot work.

        Raises Interrupted if the user asks to stop, and RegistryError if the registry or the storage cannot be written.
        Raises any error of the first trial, because this trial is the preset itself and the search cannot work if the
        preset fails. In all these cases the trial is not ended, and a later call of `tune` continues it.
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
        """For each seed, the validation accuracies of the networks at the end of the condensation.

        Raises Pruned if the first seed is not good enough.
        """
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
            # Another trial may have the same settings, and its process may be making the same run now. Then this call
            # waits until the run is finished, and uses it.
            done = when_free(make, f"trial {trial.number}, seed {seed},", progress)
            trial.add_run(done.run)
            curve = curve_of(registry, done.run)
            # If the run was already stored, `follower` has not seen its curve yet.
            if reason := follower.judged(curve):
                raise Pruned(reason)
            found.append(curve[-1].accuracies)
        return found


@dataclass(frozen=True, kw_only=True)
class Follower:
    """Reports the validation curve of the first seed to the study, and stops the run if it is not good enough."""

    trial: TakenTrial
    seed: int
    first: bool  # whether this is the first seed of the trial; the curves of the other seeds are not reported

    @property
    def facts(self) -> Mapping[str, Any]:
        """Facts about the trial that are stored with the run."""
        trial = self.trial
        return {"study": trial.study.name, "trial": trial.number, "settings": dict(trial.settings)}

    def judged(self, points: Sequence[Point]) -> str | None:
        """The reason why the run must stop after these points of its curve; None if it goes on."""
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
    """The validation curve of a stored run, read from its metrics. Raises RegistryError if the run has no curve."""
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
