"""`satm registry`: copies, merges, separates, checks and cleans up registry files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from satm.cli import _options as option
from satm.cli._output import Spoken, say
from satm.errors import RegistryError

registry_commands = typer.Typer(name="registry", help="The registry file itself.", no_args_is_help=True)

Copy = Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")]
Other = Annotated[Path, typer.Argument(metavar="FILE", help="Another registry file.")]
Days = Annotated[
    float | None,
    typer.Option(
        "--older-than",
        min=0,
        metavar="DAYS",
        help="Also older saved states of runs that this registry does not know, and older registries of Ray tasks.",
    ),
]
Accept = Annotated[
    bool, typer.Option("--accept", help="First take rows that were changed, added or removed on purpose as right.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(registry_commands)


@registry_commands.command()
def backup(to: Copy, registry: option.RegistryPath = option.DEFAULT_REGISTRY) -> None:
    """Copy the registry to a new file, as it is at one moment, even while runs write to it.

    Use this command and not cp. If a run writes to the file while cp copies it, the copy may be damaged.
    """
    from registry import Registry

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        store.backup(to)
    say(f"{registry} copied to {to} ({to.stat().st_size:,} bytes)")


@registry_commands.command()
def merge(other: Other, registry: option.RegistryPath = option.DEFAULT_REGISTRY) -> None:
    """Copy everything in another registry into this one. The other file stays as it is.

    A set that this registry already has (with the same id) is not copied again. A new set gets the next version number
    that is free here, and its name here is printed. If both registries have the same result with different numbers, the
    number here stays, and the other number is stored in the table result_history.
    """
    from satm.workflow.patience import writable_registry

    with writable_registry(registry, Spoken()) as store:
        merged = store.merge(other)
    for before, after in merged.sets:
        say(f"{after}" if before == after else f"{after}, which is {before} in {other}")
    for tag in merged.tags:
        say(f"tag {tag} stays as it is in {registry}: it names another set in {other}")
    if merged.differing:
        say(f"{merged.differing} results differ from those in {registry}; they are in result_history")
    say(f"{len(merged.sets)} sets, {merged.runs} runs and {merged.results} results are new in {registry}")


@registry_commands.command()
def separate(registry: option.RegistryPath = option.DEFAULT_REGISTRY) -> None:
    """Give a copied registry an id of its own, so that it does not share saved states of runs with the original.

    A stopped run can then continue in both registries, with a state of its own in each.
    """
    from satm.workflow.patience import writable_registry

    with writable_registry(registry, Spoken()) as store:
        before, uuid = store.uuid, store.separate()
    say(f"{registry} is now {uuid}; it was {before}")


@registry_commands.command()
def gc(
    older_than: Days = None,
    dry_run: option.DryRun = False,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Remove files in SATM_HOME that nothing needs: states of finished runs, free locks, leftovers of crashes.

    Experts, teachers and data are kept.
    """
    from registry import Registry
    from satm.workflow.housekeeping import collect_garbage

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        found = collect_garbage(store, older_than=older_than, dry_run=dry_run)
    for each in found.garbage:
        say(f"{'would remove' if dry_run else 'removed'} {each.path} ({each.bytes:,} bytes): {each.why}")
    if found.others:
        say(f"{found.others} saved states are of runs that this registry does not know, and stay (--older-than DAYS)")
    if found.scratch:
        said = f"{found.scratch} registries of Ray tasks may hold work that is not in {registry} yet, and stay"
        say(f"{said} (--older-than DAYS)")
    if found.refused:
        first = f"{found.refused[0]} and {len(found.refused) - 1} more" if len(found.refused) > 1 else found.refused[0]
        say(f"no permission to remove {first}; their owner can")
    say(f"{len(found.garbage)} files, {sum(each.bytes for each in found.garbage):,} bytes")


@registry_commands.command()
def verify(accept: Accept = False, registry: option.RegistryPath = option.DEFAULT_REGISTRY) -> None:
    """Check the whole file: its structure, every tensor and description, and whether rows were changed or removed."""
    from registry import Registry
    from satm.workflow.patience import writable_registry

    if accept:
        with writable_registry(registry, Spoken()) as store:
            count = store.accept()
        say(f"{count} differences are taken as right")
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        problems = store.verify()
        _, ((sets, results),) = store.query("SELECT (SELECT count(*) FROM sets), (SELECT count(*) FROM results)")
        uuid = store.uuid
    if problems:
        raise RegistryError("; ".join(problems))
    say(f"{registry} ({uuid}): {sets} sets and {results} results, nothing wrong")
