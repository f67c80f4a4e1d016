"""Tunes the settings of a preset, in this process or in several processes. `tune` is the function to call."""

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

RUNGS = 4  # the number of points at which a condensation is judged, unless `eval_every` is given


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A tuning with everything that decides its trials. It can be pickled, so that worker processes can use it."""

    objective: Objective
    search: Mapping[str, str]  # the range of each searched setting, as text (`tune`)
    fixed: tuple[str, ...]  # names of settings that the user has set, so that they cannot be searched
    seed: int  # the seed of the sampler, which draws the settings of each trial
    name: str  # the name of the Optuna study
    storage: Path  # the file of the Optuna studies

    def study(self) -> Study:
        """Open the study in its storage, or make a new study if the storage does not have it."""
        space = read_space(self.objective.preset, self.search, self.fixed)
        return Study(self.storage, self.name, seed=self.seed, first_rung=self.objective.judging.every, space=space)


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """The result of a tuning."""

    study: str
    storage: Path
    trials: tuple[TrialRecord, ...]
    best: TrialRecord  # the complete trial with the highest mean accuracy
    default: TrialRecord  # the first trial, which has the unchanged settings of the preset
    preset: Preset  # the tuned preset: it has the settings of the best trial


def spreads(trial: TrialRecord) -> Crossed:
    """The statistics of a complete trial over its condensation seeds and networks: mean, both spreads and n."""
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
    """Search the settings of `preset` that give the best accuracy on the validation split. No test image is used.

    A trial condenses with one choice of settings. Its value is the mean validation accuracy of networks that are
    trained on its final images, over `seeds` and `networks`. During the condensation of the first seed, the images are
    judged every `eval_every` outer steps. The rungs are 1, 2, 4 … times this number of outer steps. At each rung,
    successive halving stops the trial if it is not in the better half of the trials that have reached this rung. The
    other seeds are condensed only if the first seed is not stopped. The first trial is `preset` itself; it is never
    stopped.

    Every condensation is a run of the registry, and the trials are in a storage of Optuna. If the same call is made
    again, it continues: ended trials are kept, and a trial that was stopped or killed goes on. A call with a larger
    `trials` adds trials to the same study. With one worker the trials depend only on the arguments.

    Args:
        preset: the preset to tune, from `satm.choose_preset`.
        search: a range for each setting, as text: `log:0.003:0.3`, `0:1`, `int:1:8` or a list such as `0,0.1,0.3`.
        trials: the number of trials, including the first one.
        seeds: the condensation seeds of each trial.
        networks, epochs: the number of networks that judge each set, and the epochs of each network.
        eval_every: the number of outer steps from one judged point to the next; None: a quarter of the outer steps.
        fixed: names of settings that the user has set; they cannot be searched.
        share_experts: use the same experts for all seeds. By default each seed has experts of the same seed.
        sampler_seed: the seed of the sampler, which draws the settings of each trial.
        workers: the number of processes that run trials. With more than one, the settings that are drawn depend on
            which trials end first.
        storage: the file of the studies; None: a file beside the registry, `satm.tune.db` for `satm.db`.

    The other arguments are those of `condense`. Raises ConfigError or UnknownName for a search that cannot work, before
    anything runs. Raises RegistryError if the storage or the registry cannot be used or the first trial is not
    complete, Interrupted if the user asks to stop, and any SatmError with which the first trial fails.
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
    """Check the arguments of `tune` and return the tuning that they describe, and its real data. Nothing is written."""
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
    """The number of outer steps of one condensation; 1 for a method without outer steps."""
    config = preset.config
    network = plan_for(config.architecture, data).create(Seed(0))
    work = METHODS.get(config.method).outer_work(config.settings, network, data, config.seen_ipc)
    return 1 if work is None else work.steps


def _facts(tuning: Tuning, data: ImageData) -> dict[str, Any]:
    """Facts about the tuning that are stored with the study, for people who open it in Optuna's dashboard."""
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
    """Run trials of a study until the study has `trials` trials. Raises the errors of `Objective.run`."""
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
    """Settings as text, such as `outer.radius = 0.0213, outer.gamma = 0.1`."""
    return ", ".join(f"{k} = {f'{v:.4g}' if isinstance(v, float) else v}" for k, v in settings.items())


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One of several processes that run trials of the same study. It is a task of `satm.workflow.fan_out`."""

    name: str
    tuning: Tuning
    trials: int

    def run(self, work: Work) -> None:
        """Run trials until the study has enough of them."""
        carry_out(self.tuning, self.tuning.study(), self.trials, work)


def _carry_out_together(tuning: Tuning, trials: int, workers: int, work: Work) -> None:
    """Run trials in several processes. A worker that dies is started again, and continues its trial."""
    tasks = [Worker(name=f"worker {number}", tuning=tuning, trials=trials) for number in range(workers)]
    outcomes = fan_out(tasks, LocalWorkers(workers), work)
    failed = [each for each in outcomes if each.error is not None]
    if failed and len(failed) == len(outcomes):
        raise RegistryError(f"no worker could go on: {failed[0].error}")
    for each in failed:
        work.progress.say(f"{each.task.name} ended early: {each.error}")


def result_of(tuning: Tuning, trials: Sequence[TrialRecord]) -> TuneResult:
    """The result of a tuning with these trials. Raises RegistryError if the first trial is not complete."""
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
