"""Reads a study from its TOML file. Wrong contents are refused with a message of one line that says file and key."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from satm.config import from_dict
from satm.data.lookup import places
from satm.errors import ConfigError, SatmError, UnknownName
from satm.methods import METHODS, OUTER
from satm.names import Names
from satm.networks import plan
from satm.presets import get_profile
from satm.studies.claims import RUN, Claim, comparisons
from satm.studies.study import Arm, Block, Condition, Evaluation, Head, Study, check_table

T = TypeVar("T")

LARGEST = 2**20  # the largest size of a study's file, in bytes
PARTS = ("arms", "evaluations", "cells", "claims")
STREAM = ("final_accuracy", "average_incremental_accuracy")  # metrics of a class-incremental stream
# Metrics that a condensation measures at its outer steps.
RUN_METRICS = tuple(
    RUN + name for name in ("hypergradient_norm", "sharpness", "step_size", "loss", "outer_step_seconds", "peak_bytes")
)


def shipped() -> tuple[str, ...]:
    """The names of the studies that come with the suite: first the tables, then the figures, then others; by number."""
    names = (each.name.removesuffix(".toml") for each in files("satm.studies").iterdir() if each.name.endswith(".toml"))
    return tuple(sorted(names, key=_by_number))


def _by_number(name: str) -> tuple[int, str, int]:
    letters = name.rstrip("0123456789")
    rank = {"table": 0, "fig": 1}.get(letters, 2)
    return rank, letters, int(name[len(letters) :] or 0)


def read_study(name: str, *, data_root: Path | None = None) -> Study:
    """The study called `name`, or the study in the file `name` (a path that ends in .toml).

    Raises UnknownName if `name` is neither a study of the suite nor a path. Raises ConfigError for a file that cannot
    be read, for unknown keys, methods, data sets, metrics … and for a claim without enough comparisons. The message of
    a ConfigError begins with `name`.
    """
    if name in shipped():
        path = Path(str(files("satm.studies") / f"{name}.toml"))
    elif name.endswith(".toml") or "/" in name:
        path = Path(name)
    else:
        raise UnknownName("study", name, (*shipped(), "all"), hint="(or the path of a .toml file)")
    with _named(name):
        values = _toml(path)
        study = _study(path.stem, path.absolute().parent, values)
        _check(study, data_root)
    return study


@contextmanager
def _named(where: str) -> Iterator[None]:
    """A block in which every error of the suite becomes a ConfigError whose message begins with `where`."""
    try:
        yield
    except SatmError as error:
        raise ConfigError(f"{where}: {error}") from error


def _toml(path: Path) -> dict[str, Any]:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError("this is no file; give the path of a study's .toml file")
        if found.st_size > LARGEST:
            raise ConfigError(f"{found.st_size:,} bytes: a study has at most {LARGEST:,}")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot be read as TOML ({reason}); docs/reproduction.md shows a study") from error
    except RecursionError as error:
        raise ConfigError("cannot be read as TOML (nested too deeply)") from error


def _study(name: str, folder: Path, values: Mapping[str, Any]) -> Study:
    rest = {key: value for key, value in values.items() if key not in PARTS}
    arms = {key: _part(Arm, each, f"arms.{key}") for key, each in check_table(values.get("arms", {}), "arms").items()}
    judged = check_table(values.get("evaluations", {}), "evaluations").items()
    evaluations = {key: _part(Evaluation, each, f"evaluations.{key}") for key, each in judged}
    blocks = [_part(Block, _listed(each), f"cells {i}") for i, each in enumerate(_list(values, "cells"), 1)]
    for block in blocks:  # an arm without settings needs no table in the file: its name is then the name of a method
        arms |= {each: Arm(method=each) for each in block.arms if each not in arms}
    claims = [
        _part(Claim, _listed(each, ("first", "second", "evaluation")), f"claims {i}")
        for i, each in enumerate(_list(values, "claims"), 1)
    ]
    return Study(
        name=name,
        head=from_dict(Head, rest),
        arms=arms,
        evaluations=evaluations,
        blocks=tuple(blocks),
        claims=tuple(claims),
        folder=str(folder),
    )


def _part(kind: type[T], values: Any, where: str) -> T:
    with _named(where):
        return from_dict(kind, check_table(values, where))


def _list(values: Mapping[str, Any], key: str) -> list[Any]:
    found = values.get(key, [])
    if not isinstance(found, list):
        raise ConfigError(f"{key} is {found!r}: expected [[{key}]] tables")
    return found


def _listed(values: Any, keys: tuple[str, ...] = ("dataset", "ipc", "arms", "evaluations")) -> Any:
    """`values`, with a list of one value where one of `keys` has a single value."""
    if not isinstance(values, Mapping):
        return values
    return {key: [v] if key in keys and not isinstance(v, list) else v for key, v in values.items()}


def _check(study: Study, data_root: Path | None) -> None:
    """Raise SatmError for an unknown name, a number out of its range, or a claim without cells."""
    head = study.head
    if head.seeds < 1 or (head.networks is not None and head.networks < 1):
        raise ConfigError(f"seeds {head.seeds}, networks {head.networks}: expected 1 or more")
    if not 0 < head.delta < float("inf"):
        raise ConfigError(f"delta {head.delta:g}: expected a number above 0, such as 0.01 (one point)")
    if not study.blocks:
        raise ConfigError("no cells: expected [[cells]] tables")
    for name, arm in study.arms.items():
        with _named(f"arms.{name}"):
            METHODS.get(arm.method)
            if arm.outer is not None:
                OUTER.get(arm.outer)
    for name, evaluation in study.evaluations.items():
        with _named(f"evaluations.{name}"):
            _check_evaluation(evaluation)
    for i, block in enumerate(study.blocks, 1):
        with _named(f"cells {i}"):
            _check_block(study, block, data_root)
    _check_settings(study)
    for i, claim in enumerate(study.claims, 1):
        with _named(f"claims {i}"):
            _check_claim(study, claim)


def _check_evaluation(evaluation: Evaluation) -> None:
    _known(_table_of("recipe", "evaluation.recipes"), evaluation.recipe)
    _known(_table_of("protocol", "protocols.methods", "satm.protocols"), evaluation.protocol)
    for architecture in evaluation.architectures:
        plan(architecture, num_classes=10, image_shape=(3, 32, 32))
    for key in ("steps", "orders", "networks"):
        value = getattr(evaluation, key)
        if value is not None and value < 1:
            raise ConfigError(f"{key} {value}: expected 1 or more")


def _check_block(study: Study, block: Block, data_root: Path | None) -> None:
    for dataset in block.dataset:
        places(dataset, data_root)
    for name in block.evaluations:
        if name not in study.evaluations:
            raise UnknownName("evaluation", name, study.evaluations)
    if block.profile is not None:
        get_profile(block.profile)
    if min(block.ipc) < 1:
        raise ConfigError(f"ipc {min(block.ipc)}: expected at least 1 image per class")


def _check_settings(study: Study) -> None:
    """Raise ConfigError if two cells with the same condition and arm have different settings."""
    seen: dict[tuple[Condition, str], Mapping[str, Any]] = {}
    for cell in study.cells():
        if seen.setdefault((cell.condition, cell.name), cell.settings) != cell.settings:
            raise ConfigError(
                f"{cell} is there twice with different settings; give the arms two names, or put the setting in vary"
            )


def _check_claim(study: Study, claim: Claim) -> None:
    for arm in (*claim.first, *claim.second):
        if arm not in study.arms:
            raise UnknownName("arm", arm, study.arms)
    for name in claim.evaluation:
        if name not in study.evaluations:
            raise UnknownName("evaluation", name, study.evaluations)
    known = (*_table_of("metric", "evaluation.metrics", "satm.metrics"), *STREAM, *RUN_METRICS)
    if claim.metric not in known:
        raise UnknownName("metric", claim.metric, known)
    comparisons(study, claim)


def _table_of(kind: str, package: str, group: str | None = None) -> Names[Any]:
    """A table of `evaluation` or `protocols`, only to look names up: this package must not import those packages."""
    return Names(kind, package=package, group=group)


def _known(names: Names[Any], name: str | None) -> None:
    if name is not None and name not in names:
        raise UnknownName(names.kind, name, names)
