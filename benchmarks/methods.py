"""Compares every method and every outer optimiser on one data set with random real images (docs/measurements.md).

    SATM_DATA=… python benchmarks/methods.py --into docs/measurements.md

The command can be stopped and started again: sets, networks and outer steps that are stored already are not computed
again. An entry is a method, or an outer optimiser under the method `satm`. The program writes two tables. In the first
table, every entry runs for the same number of outer steps. In the second table, every entry gets the same time. Its
number of outer steps comes from the seconds per step that the first table has measured.

One recipe evaluates all sets. `random` is the baseline: as many real images, drawn again for each repeat, with a
learning rate that is chosen on the validation split. In each repeat, the network of `random` and the network of an
entry start from the same weights. So the differences between them are paired.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import satm
from registry import Registry
from satm.cli._session import working
from satm.errors import Interrupted, SatmError
from satm.methods import METHODS, OUTER
from satm.presets import Preset
from satm.progress import Progress, spell_seconds
from satm.statistics import paired_interval

RULES_UNDER = "satm"  # every outer rule runs with the window, trajectory reuse and α of this method (paper A.7)
BEGIN, END = "<!-- methods: begin -->", "<!-- methods: end -->"  # the tables are written between these two lines


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one line of the table compares: a method, or an outer rule under the method `satm`."""

    method: str
    outer: str | None = None  # the outer rule; None: the method's own rule

    @property
    def name(self) -> str:
        """The name in the table."""
        return self.method if self.outer is None else f"{self.method}+{self.outer}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the table with its measurements."""

    entry: Entry
    steps: int | None = None  # the number of outer steps; None if the method has no outer steps
    seconds: float = 0.0  # the time of the condensation, without the training of the experts
    set_name: str = ""
    space: str = ""  # preprocessing and architecture; a fair comparison with `random` needs the same space
    values: tuple[float, ...] = ()  # the test accuracy (a fraction) of the network of each repeat
    failure: str = ""  # the error message if the entry failed


def entries(methods: Sequence[str] | None, rules: Sequence[str] | None) -> list[Entry]:
    """The entries of the named methods, then those of the named outer rules. None stands for all names.

    Raises UnknownName for a name that does not exist.
    """
    chosen = [name for name in METHODS if name != "random"] if methods is None else methods
    under = list(OUTER) if rules is None else rules
    for name in chosen:
        METHODS.get(name)
    for name in under:
        OUTER.get(name)
    return [
        *(Entry(method=name) for name in chosen),
        *(Entry(method=RULES_UNDER, outer=name) for name in under if not (name == "satm" and "satm" in chosen)),
    ]


def choose(entry: Entry, asked: argparse.Namespace, steps: int | None, *, exact: bool = False) -> Preset:
    """The entry's preset with `steps` outer steps; None: the preset's own number.

    Diagnostics are off, because the method does not need the time that they take. A method without inner steps keeps
    the number of its preset unless `exact` is true.
    """
    request: dict[str, Any] = {"ipc": asked.ipc, "method": entry.method, "profile": asked.profile}
    if entry.outer is not None:
        request["outer"] = entry.outer
    own = satm.choose_preset(asked.dataset, **request).config.settings
    settings: dict[str, Any] = {}
    if hasattr(own, "diagnostics_every"):
        settings["diagnostics_every"] = 0
    if asked.compiled and hasattr(own, "compile"):
        settings["compile"] = "compiled"
    # Only methods that match trajectories have inner steps. An outer step of gradient or distribution matching is a
    # different amount of work, so an equal number of outer steps is no fair comparison for these methods.
    if steps is not None and (hasattr(own, "inner_steps") or exact):
        settings["outer_steps"] = steps
    return satm.choose_preset(asked.dataset, **request, settings=settings)


def measure(
    entry: Entry, asked: argparse.Namespace, steps: int | None, progress: Progress, *, exact: bool = False
) -> Line:
    """Condense and evaluate one entry. What the registry has already is not computed again.

    `steps` and `exact` are those of `choose`. An entry that fails gives a line with the error message.
    """
    try:
        preset = choose(entry, asked, steps, exact=exact)
        progress.say(f"{entry.name}: {getattr(preset.config.settings, 'outer_steps', 'no')} outer steps")
        made = satm.condense(preset, seed=asked.seed, registry=asked.registry, progress=progress).record
        satm.evaluate(made.name, repeats=asked.repeats, registry=asked.registry, progress=progress)
    except Interrupted:
        raise
    except SatmError as error:
        return Line(entry=entry, steps=steps, failure=str(error))
    with Registry.open(asked.registry, read_only=True) as store:
        seconds = store.run(made.run_id).seconds if made.run_id else 0.0
    return Line(
        entry=entry,
        steps=getattr(preset.config.settings, "outer_steps", None),
        seconds=seconds,
        set_name=made.name,
        space=f"{'ZCA' if preset.config.zca else 'mean/std'}, {preset.config.architecture}",
        values=accuracies(asked, made.id, "condensed"),
    )


def accuracies(asked: argparse.Namespace, set_id: str, memory: str) -> tuple[float, ...]:
    """The test accuracies (fractions) of the first `--repeats` repeats of a set, in order.

    `memory` is "condensed" for networks trained on the set, or "random" for networks trained on random images.
    """
    with Registry.open(asked.registry, read_only=True) as store:
        rows = store.results(set=set_id, protocol="in-domain", memory=memory, metric="accuracy")
    by_repeat = {row.repeat: row.value for row in rows if row.repeat < asked.repeats}
    return tuple(by_repeat[repeat] for repeat in sorted(by_repeat))


def random_line(asked: argparse.Namespace, beside: Line, progress: Progress) -> Line:
    """The line of `random` with the recipe and the preprocessing of the set in the line `beside`.

    The random images of a repeat depend only on the number of the repeat.
    """
    satm.evaluate(beside.set_name, repeats=asked.repeats, baseline="random", registry=asked.registry, progress=progress)
    with Registry.open(asked.registry, read_only=True) as store:
        set_id = store.find(beside.set_name).id
    return Line(entry=Entry(method="random"), space=beside.space, values=accuracies(asked, set_id, "random"))


def random_lines(asked: argparse.Namespace, lines: Sequence[Line], progress: Progress) -> dict[str, Line]:
    """One line of `random` for each space of `lines`, by space."""
    first = {line.space: line for line in reversed(lines)}
    return {space: random_line(asked, line, progress) for space, line in first.items()}


def table(lines: Sequence[Line], randoms: Mapping[str, Line]) -> list[str]:
    """The table as lines of Markdown, the best entry first. Each entry is compared with the `random` line of its space.

    The `random` lines are at the end of the table.
    """
    head = (
        "| method | outer steps | condensing | space | accuracy, mean ± std | n "
        "| difference to random there, 95% interval | set |"
    )
    rows = [head, "|" + "---|" * 8]
    for line in sorted(lines, key=lambda line: -statistics.fmean(line.values or (0.0,))):
        if line.failure:
            rows.append(f"| `{line.entry.name}` | {line.steps or ''} | | | failed: {line.failure} | 0 | | |")
            continue
        found = paired_interval(line.values, randoms[line.space].values)
        above = "" if found.low > 0 else " (not above 0)"
        rows.append(
            f"| `{line.entry.name}` | {'' if line.steps is None else line.steps} | {spell_seconds(line.seconds)} "
            f"| {line.space} | {_spell(line.values)} | {len(line.values)} "
            f"| {100 * found.mean:+.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]{above} | {line.set_name} |"
        )
    for space in dict.fromkeys(line.space for line in lines if not line.failure):
        random = randoms[space]
        rows.append(f"| `random` | | | {space} | {_spell(random.values)} | {len(random.values)} | | fresh draws |")
    return rows


def _spell(values: Sequence[float]) -> str:
    return f"{100 * statistics.fmean(values):.1f} ± {100 * statistics.pstdev(values):.1f}"


def compare(asked: argparse.Namespace, progress: Progress, write: Callable[[str], None]) -> None:
    """Run everything that is not stored yet. `write` is called with the page after each of the two tables."""
    wanted = entries(asked.methods, asked.rules)
    equal = [measure(entry, asked, asked.outer_steps, progress) for entry in wanted]
    good = [line for line in equal if not line.failure]
    if not good:
        raise SatmError("no entry could be measured: " + "; ".join(line.failure for line in equal))
    randoms = random_lines(asked, good, progress)
    about = (
        f"{asked.dataset}, IPC {asked.ipc}, profile `{asked.profile}`, condensation seed {asked.seed}, "
        f"{asked.repeats} networks each. Command: `{' '.join(asked.command)}`."
    )
    page = [about, "", "At equal outer steps:", "", *table(equal, randoms)]
    write("\n".join(page))
    stepped = [line for line in good if line.steps]
    if not asked.equal_time or not stepped:
        return
    budget = asked.budget or next((each for each in stepped if each.entry.name == "mtt"), stepped[0]).seconds
    timed = []
    for line in stepped:
        assert line.steps is not None
        steps = max(1, round(budget * line.steps / line.seconds))
        timed.append(line if steps == line.steps else measure(line.entry, asked, steps, progress, exact=True))
    page += ["", f"In {spell_seconds(budget)} each, as many outer steps as that allows:", "", *table(timed, randoms)]
    left_out = [f"`{line.entry.name}`" for line in good if line not in stepped]
    if left_out:
        page += ["", f"Not here, having no outer steps to choose: {', '.join(left_out)}."]
    write("\n".join(page))


def into(path: Path, page: str) -> None:
    """Write `page` between the two markers `BEGIN` and `END` of a file. Raises SatmError if the markers are missing."""
    text = path.read_text()
    if BEGIN not in text or END not in text:
        raise SatmError(f"{path} has no lines '{BEGIN}' and '{END}' to write between; add them")
    before, rest = text.split(BEGIN, 1)
    path.write_text(f"{before}{BEGIN}\n{page}\n{END}{rest.split(END, 1)[1]}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the options of the command line."""
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--methods", type=names, help="comma-separated; default: all; '' for none")
    parser.add_argument("--rules", type=names, help="outer rules, comma-separated; default: all; '' for none")
    parser.add_argument(
        "--outer-steps", type=int, help="outer steps of every trajectory method (default: those of its preset)"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, help="seconds of condensing at equal time (default: those of mtt)")
    parser.add_argument("--no-equal-time", dest="equal_time", action="store_false")
    parser.add_argument("--compiled", action="store_true", help="compile for any number of outer steps")
    parser.add_argument("--registry", type=Path, default=Path("methods.db"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--into", type=Path, help="a Markdown file with the two markers; default: the terminal")
    asked = parser.parse_args(arguments)
    asked.command = ["python", "benchmarks/methods.py", *arguments]
    return asked


def main(arguments: Sequence[str]) -> int:
    """Run the comparison. Returns an exit code with the same meaning as that of the `satm` command."""
    asked = parse(arguments)
    pages: list[str] = []
    try:
        with working(asked.threads) as progress:
            compare(asked, progress, lambda page: into(asked.into, page) if asked.into else pages.append(page))
    except SatmError as error:
        print(str(error) if isinstance(error, Interrupted) else f"error: {error}", file=sys.stderr)
        return error.exit_code
    if pages:
        print(pages[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
