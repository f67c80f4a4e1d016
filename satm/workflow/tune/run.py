"""The entrance: tunes the settings of a preset, in this process or in several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satm.canonical import digest
from satm.data import ImageData
from satm.errors import ConfigError, Interrupted, RegistryError
from satm.machine.device import resolve_device
from satm.methods import METHODS
from satm.networks import plan_for
from satm.presets import Preset
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.statistics.crossed import Crossed, crossed
from satm.workflow.condense.inputs import check_request, load_data
from satm.workflow.condense.judging import RECIPE, Judging, judging_recipe
from satm.workflow.fan_out import LocalWorkers, Work, fan_out
from satm.workflow.tune.objective import Objective
from satm.workflow.tune.space import read_space
from satm.workflow.tune.study import Study, TrialRecord, check_storage

RUNGS = 4  # judged points of a trial, unless `eval_every` is given


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A tuning with everything that decides its trials. It can be pickled."""

    objective: Objective
    search: Mapping[str, str]
    fixed: tuple[str, ...]  # settings that the user gave, so that they cannot be searched
    seed: int  # of the sampler
    name: str  # of the study
    storage: Path

    def study(self) -> Study:
        """The study in its storage; a new one if it is not there."""
        space = read_space(self.objective.preset, self.search, self.fixed)
        return Study(self.storage, self.name, seed=self.seed, first_rung=self.objective.judging.every, space=space)


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """How a tuning ended."""

    study: str
    storage: Path
    trials: tuple[TrialRecord, ...]
    best: TrialRecord  # of the complete trials the one with the highest mean
    default: TrialRecord  # the preset as it is
    preset: Preset  # with the settings of the best trial


def spreads(trial: TrialRecord) -> Crossed:
    """Mean, both spreads and n of a complete trial: condensation seeds × networks."""
    return crossed(trial.accuracies)


def tune(
    preset: Preset,
    search: Mapping[str, str],
    *,
    trials: int = 30,
    seeds: Sequence[int] = (0, 1),
    networks: int = RECIPE.repeats,
    epochs: int = RECIPE.epochs,
    eval_every: int | None = None,
    fixed: Sequence[str] = (),
    share_experts: bool = False,
    sampler_seed: int = 0,
    workers: int = 1,
    storage: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> TuneResult:
    """Search settings of `preset` for the best accuracy on the validation split. No test image is used.

    The value of a trial is the mean validation accuracy of its images at the end, over `seeds` and `networks`. On the
    way the first seed is judged every `eval_every` outer steps. At the rungs (1, 2, 4 … times that) successive halving
    stops each trial that is not in the better half of those that have come there. The other seeds are condensed only
    if the first one has come to its end. The first trial is `preset` itself. It is never stopped.

    Every condensation is a run of the registry, and the trials are in a storage of Optuna. The same call again
    continues: ended trials stay, and a trial that was stopped or killed goes on. More `trials` go on with the same
    study. With one worker the trials depend on the arguments only.

    Args:
        preset: what is tuned, from `satm.choose_preset`.
        search: a range for each setting, as text: `log:0.003:0.3`, `0:1`, `int:1:8` or a list such as `0,0.1,0.3`.
        trials: the number of trials, the first one included.
        seeds: the condensation seeds of each trial. Each has experts of its own seed, unless `share_experts`.
        networks, epochs: networks that judge each set, and the epochs of each.
        eval_every: outer steps from one judged point to the next; None: a quarter of the outer steps.
        fixed: names of settings that are not to be searched.
        sampler_seed: of the draws of the sampler.
        workers: processes that work at the trials. With several, which trials are drawn depends on their timing.
        storage: the file of the studies; None: beside the registry, `satm.tune.db` for `satm.db`.

    The other arguments are those of `condense`. Raises ConfigError or UnknownName for a search that cannot work, before
    anything runs; RegistryError for a storage or registry that cannot be used; Interrupted if the user asks to stop;
    SatmError if no trial is complete.
    """
    registry = Path(registry)
    tuning, data = prepare(
        preset,
        search,
        seeds=seeds,
        networks=networks,
        epochs=epochs,
        eval_every=eval_every,
        fixed=fixed,
        share_experts=share_experts,
        sampler_seed=sampler_seed,
        storage=storage,
        device=device,
        registry=registry,
        data_root=data_root,
        progress=progress,
    )
    if trials < 1 or workers < 1:
        raise ConfigError(f"{trials} trials and {workers} workers: expected 1 or more of each")
    study = tuning.study()
    study.begin(_facts(tuning, data))
    work = Work(registry=registry, device=device, threads=threads, data_root=data_root, progress=progress)
    if workers == 1:
        carry_out(tuning, study, trials, work)
    else:
        _carry_out_together(tuning, trials, workers, work)
    return result_of(tuning, study.trials())


def prepare(
    preset: Preset,
    search: Mapping[str, str],
    *,
    seeds: Sequence[int],
    networks: int,
    epochs: int,
    eval_every: int | None,
    fixed: Sequence[str],
    share_experts: bool,
    sampler_seed: int,
    storage: Path | None,
    device: str,
    registry: Path,
    data_root: Path | None,
    progress: Progress,
) -> tuple[Tuning, ImageData]:
    """The tuning that the arguments of `tune` ask for, checked, and its data. Nothing is written."""
    if len(seeds) < 2 or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(
            f"seeds {', '.join(map(str, seeds)) or 'none'}: expected two or more different whole numbers, because a "
            "setting that is good under one seed may be luck"
        )
    read_space(preset, search, fixed)
    place = registry.with_name(f"{registry.stem}.tune.db") if storage is None else storage
    check_storage(place, registry)
    data = load_data(preset.config, data_root=data_root, device=device, progress=progress)
    check_request(preset.config, data)
    every = eval_every or max(1, outer_steps(preset, data) // RUNGS)
    judging = Judging(every=every, recipe=judging_recipe(networks=networks, epochs=epochs)).on(preset.config.dataset)
    judging.check(preset.config, data)
    objective = Objective(preset=preset, seeds=tuple(seeds), judging=judging, share_experts=share_experts)
    config = preset.config
    facts = {
        "config": config.to_dict(),
        "profile": preset.profile,
        "data": data.fingerprint,
        "search": dict(search),
        "seeds": list(seeds),
        "share_experts": share_experts,
        "judging": judging.to_dict(),
        "sampler_seed": sampler_seed,
        "device": resolve_device(device).type,
    }
    name = f"{config.set_dataset}/ipc{config.ipc}/{config.set_method} {digest(facts)[:8]}"
    tuning = Tuning(
        objective=objective,
        search=dict(search),
        fixed=tuple(fixed),
        seed=sampler_seed,
        name=name,
        storage=place.expanduser().absolute(),
    )
    return tuning, data


def outer_steps(preset: Preset, data: ImageData) -> int:
    """The outer steps of one condensation; 1 for a method that has none."""
    config = preset.config
    network = plan_for(config.architecture, data).create(Seed(0))
    work = METHODS.get(config.method).outer_work(config.settings, network, data, config.seen_ipc)
    return 1 if work is None else work.steps


def _facts(tuning: Tuning, data: ImageData) -> dict[str, Any]:
    """What the study stores of itself, for people who open it in Optuna's dashboard."""
    objective = tuning.objective
    return {
        "search": dict(tuning.search),
        "preset": objective.preset.name,
        "profile": objective.preset.profile,
        "config": objective.preset.config.to_dict(),
        "seeds": list(objective.seeds),
        "judging": objective.judging.to_dict(),
        "objective": f"mean accuracy on {len(data.validation)} validation images; no test image is used",
    }


def carry_out(tuning: Tuning, study: Study, trials: int, work: Work) -> None:
    """Work at the trials of a study until it has `trials`. Raises as `tune`."""
    progress = work.progress
    with progress.bar("tune", trials, done=sum(each.state != "unfinished" for each in study.trials())) as bar:
        while (trial := study.take(trials)) is not None:
            progress.say(_opening(trial.number, trial.settings, trials, is_default=trial.is_default))
            try:
                tuning.objective.run(trial, work.registry, work.device, work.data_root, progress)
            except Interrupted as stop:
                raise Interrupted(
                    f"stopped in trial {trial.number} of {trials} (0 to {trials - 1}), all saved; the same command "
                    "continues from there"
                ) from stop
            bar.advance(1)
            if progress.stopping():
                raise Interrupted(f"stopped after trial {trial.number}, all saved; the same command continues")


def _opening(number: int, settings: Mapping[str, Any], trials: int, *, is_default: bool) -> str:
    what = "the preset itself" if is_default else spell_settings(settings)
    return f"trial {number} (0 to {trials - 1}): {what}"


def spell_settings(settings: Mapping[str, Any]) -> str:
    """`outer.radius = 0.0213, outer.gamma = 0.1`."""
    return ", ".join(f"{k} = {f'{v:.4g}' if isinstance(v, float) else v}" for k, v in settings.items())


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One of several processes that work at the same study: a task of a fan-out."""

    name: str
    tuning: Tuning
    trials: int

    def run(self, work: Work) -> None:
        """Take trials until there are enough."""
        carry_out(self.tuning, self.tuning.study(), self.trials, work)


def _carry_out_together(tuning: Tuning, trials: int, workers: int, work: Work) -> None:
    """Work at the trials in several processes. A worker that dies is started again, and takes up its trial."""
    tasks = [Worker(name=f"worker {number}", tuning=tuning, trials=trials) for number in range(workers)]
    outcomes = fan_out(tasks, LocalWorkers(workers), work)
    failed = [each for each in outcomes if each.error is not None]
    if failed and len(failed) == len(outcomes):
        raise RegistryError(f"no worker could go on: {failed[0].error}")
    for each in failed:
        work.progress.say(f"{each.task.name} ended early: {each.error}")


def result_of(tuning: Tuning, trials: Sequence[TrialRecord]) -> TuneResult:
    """The result of trials that have ended. Raises RegistryError if none is complete."""
    complete = [each for each in trials if each.state == "complete"]
    default = [each for each in complete if each.is_default]
    if not default:
        raise RegistryError(
            f"study {tuning.name} in {tuning.storage} has no complete first trial; the same command continues"
        )
    best = max(complete, key=lambda each: spreads(each).mean)
    return TuneResult(
        study=tuning.name,
        storage=tuning.storage,
        trials=tuple(trials),
        best=best,
        default=default[0],
        preset=tuning.objective.preset_of({} if best.is_default else best.settings, study=tuning.name),
    )
