"""`satm sets lineage`, `satm sets rebuild` and `satm sets tag`: show the origin of a set, repeat it, and name it."""

from __future__ import annotations

from typing import Annotated

import typer

from satm.cli import _options as option
from satm.cli._output import Spoken, say
from satm.cli.registry import sets
from satm.errors import ConfigError, RegistryError

Tag = Annotated[str, typer.Argument(metavar="TAG", help="A name of your own, such as baseline.")]
Tagged = Annotated[str | None, typer.Argument(metavar="SET", help="The set that it names (default: the newest).")]
Remove = Annotated[bool, typer.Option("--remove", help="Remove the tag. Its set stays.")]
Move = Annotated[bool, typer.Option("--move", help="Move the tag if it names another set.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Try even if software, threads or device differ.")]
OtherDevice = Annotated[str | None, typer.Option("--device", help="Another device (default: the one of the run).")]


def register(app: typer.Typer) -> None:
    """Add the commands to `satm sets`."""
    sets.command(name="tag")(tag_set)
    sets.command(name="lineage")(lineage)
    sets.command(name="rebuild")(rebuild)


def tag_set(
    tag: Tag,
    reference: Tagged = None,
    move: Move = False,
    remove: Remove = False,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Give a set a name of your own. Every command takes this tag instead of the set's name.

    Example: satm sets tag baseline digits/ipc1/satm@1
    """
    from satm.workflow.patience import writable_registry

    with writable_registry(registry, Spoken()) as store:
        if remove:
            if reference is not None or move:
                raise ConfigError("--remove beside a set or --move: it takes the tag alone")
            store.remove_tag(tag)
            say(f"tag {tag} is removed")
            return
        record = store.find(reference or "latest")
        store.add_tag(record.id, tag, move=move)
    say(f"{tag} is {record.name}")


def lineage(reference: option.SetReference = "latest", registry: option.RegistryPath = option.DEFAULT_REGISTRY) -> None:
    """Show where a set comes from: its run and environment, its experts, its data, its parents."""
    from registry import Registry
    from satm.workflow.lineage import lineage as lineage_of

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        for line in lineage_of(reference, store).lines():
            say(line)


def rebuild(
    reference: option.SetReference = "latest",
    anyway: Anyway = False,
    device: OtherDevice = None,
    threads: option.Threads = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
) -> None:
    """Make a set once more from its record, and compare both sets. Nothing is stored.

    Software, CPU, threads and device must be the same as in the run that made the set, because otherwise the bits may
    differ; with --anyway they need not be the same. If the command was interrupted, give it again: it continues.
    """
    from registry import Registry
    from satm.cli._session import working
    from satm.workflow.condense.repeat import rebuild as rebuild_set

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        run_id = store.find(reference).run_id
        stored = None if run_id is None else store.run(run_id).config.get("threads")
    with working(threads or stored) as progress:
        done = rebuild_set(
            reference, registry=registry, device=device, data_root=data_root, anyway=anyway, progress=progress
        )
    for line in done.elsewhere:
        say(f"elsewhere: {line}")
    if not done.differences:
        say(f"{done.record.name}: the same set, bit for bit ({done.id})")
        return
    texts = (f"{each.what} {'' if each.a is None else f'{each.a} → '}{each.b}" for each in done.differences)
    raise RegistryError(f"{done.record.name} is not the set that was made now: {'; '.join(texts)}")
