"""A small study on real images, from the first set to the verdict: stopped, continued, and run again."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from registry import Registry
from satm.cli import run as command
from satm.errors import ConfigError, Interrupted, SatmError
from satm.progress import NoProgress
from satm.studies import read_study
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.condense.seeds import with_expert_seed
from satm.workflow.patience import when_free
from satm.workflow.reproduce.asked import Asked, layouts
from satm.workflow.reproduce.experts import StoredExperts
from satm.workflow.reproduce.laid import lay_out
from satm.workflow.reproduce.left import tasks_of
from satm.workflow.reproduce.only import parse_only
from satm.workflow.reproduce.run import report, reproduce
from satm.workflow.reproduce.stored import summed_up

STUDY = """
title = "A small study"
source = "a test"
seeds = 2
networks = 2

[evaluations.in-domain]

[[cells]]
dataset = "digits"
ipc = 1
arms = ["satm", "mtt"]
settings = {outer_steps = 2}
evaluations = "in-domain"

[[claims]]
text = "SATM is above MTT"
first = "satm"
second = "mtt"
evaluation = "in-domain"

[[claims]]
text = "SATM's hypergradients are smaller"
first = "satm"
second = "mtt"
says = "below"
metric = "run.hypergradient_norm"
scale = "ratio"
"""


class StopsAfter(NoProgress):
    """Asks to stop when it has been told that this many tasks are done."""

    def __init__(self, tasks: int) -> None:
        self.left = tasks

    def say(self, message: str) -> None:
        self.left -= message.startswith("[")

    def stopping(self) -> bool:
        return self.left <= 0


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    file = tmp_path / "small.toml"
    file.write_text(STUDY)
    return Asked(study=str(file), profile="smoke")


def counts(path: Path) -> tuple[int, int, int]:
    with Registry.open(path) as store:
        return len(store.sets()), len(store.runs()), len(store.results())


def test_a_study_that_is_stopped_goes_on_and_then_makes_nothing_new(asked: Asked, tmp_path: Path) -> None:
    path, output = tmp_path / "satm.db", tmp_path / "pages"
    with pytest.raises(Interrupted):
        reproduce(asked, registry=path, progress=StopsAfter(1))
    assert counts(path)[0] == 1
    (_, page), *_ = report(asked, registry=path).pages
    left = next(each for each in page.sections if each.title == "Not reached")
    assert [row[:3] for row in left.rows] == [
        ("digits IPC 1, satm", "1 of 2", "1 of 2"),
        ("digits IPC 1, mtt", "0 of 2", "0 of 2"),
    ]

    done = reproduce(asked, registry=path, output=output)
    assert (done.failed, done.unreached) == ((), ())
    with Registry.open(path) as store:
        assert [(each.seed, each.method) for each in store.sets()] == [(0, "satm"), (0, "mtt"), (1, "satm"), (1, "mtt")]
        assert {each.about["config"]["condense"]["experts"]["seed"] for each in store.sets()} == {0, 1}
        assert len(store.results(metric="accuracy")) == 2 * 2 * 2
    text = (output / "small.md").read_text()
    assert "| SATM is above MTT | cannot tell, by design | 0 of 1 hold, 1 needed |" in text  # two seeds cannot tell
    assert text.count("[smoke]") >= 4  # no number without its scale
    assert "<h1>A small study</h1>" in (output / "small.html").read_text()

    before = counts(path)
    again = reproduce(asked, registry=path, output=output)
    assert counts(path) == before
    assert again.pages == done.pages == report(asked, registry=path).pages


def test_a_set_that_condense_made_is_not_made_again(asked: Asked, tmp_path: Path) -> None:
    import satm

    preset = satm.choose_preset("digits", ipc=1, method="mtt", profile="smoke", settings={"outer_steps": 2})
    path = tmp_path / "satm.db"
    satm.condense(with_expert_seed(preset, 0), seed=0, registry=path)
    reproduce(replace(asked, only=("arm=mtt", "seed=0"), networks=1), registry=path)
    with Registry.open(path) as store:
        assert len(store.sets()) == len(store.runs(kind="condense")) == 1
        assert len(store.results(metric="accuracy")) == 1


def test_seeds_come_first_and_cells_of_two_studies_are_one_task(asked: Asked) -> None:
    (stage,) = tasks_of(layouts(asked), asked).values()
    assert [each.name.rpartition("small: ")[2] for each in stage] == [
        *("digits IPC 1, satm, seed 0", "digits IPC 1, mtt, seed 0"),
        *("digits IPC 1, satm, seed 1", "digits IPC 1, mtt, seed 1"),
    ]
    both = tasks_of([*layouts(asked), *layouts(asked)], asked)
    assert both == {1: stage}
    everything = Asked(study="all", profile="smoke", only=("dataset=cifar10", "ipc=10", "method=mtt,ftd"))
    found = layouts(everything)
    assert sum(bool(each.asked) for each in found) == 3  # tables 2, 5 and 9 share these cells
    assert sum(map(len, tasks_of(found, everything).values())) == 2 * 3


def test_a_task_that_fails_is_reported_and_the_others_go_on(asked: Asked, tmp_path: Path) -> None:
    file = Path(asked.study)
    broken = 'arms = ["satm", "broken"]'
    arm = '[arms.broken]\nmethod = "mtt"\nsettings = {step_size = 1e9}\n\n[evaluations.in-domain]'
    text = STUDY.replace('arms = ["satm", "mtt"]', broken).replace("[evaluations.in-domain]", arm)
    file.write_text(text.replace('second = "mtt"', 'second = "broken"'))
    path = tmp_path / "satm.db"
    done = reproduce(replace(asked, seeds=1, networks=1), registry=path)
    (line,) = done.failed
    assert line.startswith("small: digits IPC 1, broken, seed 0: ")
    with Registry.open(path) as store:
        assert [each.method for each in store.sets()] == ["satm"]
        assert [run.status for run in store.runs(kind="condense", method="mtt")] == ["failed"]


def test_a_failure_that_two_studies_share_is_on_both_pages(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = '[arms.satm]\nmethod = "satm"\nsettings = {step_size = 1e9}\n\n[evaluations.in-domain]'
    for name in ("small", "other"):
        (tmp_path / f"{name}.toml").write_text(STUDY.replace("[evaluations.in-domain]", arm))
    wanted = replace(asked, seeds=1, networks=1, only=("arm=satm",))
    both = [*layouts(wanted), *layouts(replace(wanted, study=str(tmp_path / "other.toml")))]
    monkeypatch.setattr("satm.workflow.reproduce.run.layouts", lambda *args, **options: both)
    done = reproduce(wanted, registry=tmp_path / "satm.db")
    (line,) = done.failed
    failed = {name: [s.paragraphs for s in page.sections if s.title == "Failed"] for name, page in done.pages}
    assert failed == {"small": [(line,)], "other": [(line,)]}


def test_a_second_start_of_the_same_study_is_refused(asked: Asked, tmp_path: Path) -> None:
    from satm.workflow.reproduce.run import _held

    path = tmp_path / "satm.db"
    Registry.open(path).close()
    with _held(["small"], path):
        with pytest.raises(SatmError, match=r"small is being reproduced in .* by another process"):
            reproduce(asked, registry=path)
        with _held(["other"], path):
            pass


def test_a_tuned_configuration_is_waited_for_and_then_read(asked: Asked, tmp_path: Path, capsys) -> None:
    file = Path(asked.study)
    file.write_text(STUDY + '\n[arms.satm]\nmethod = "satm"\nconfig = "tuned/{dataset}-ipc{ipc}-{arm}.json"\n')
    first, second = layouts(asked)[0].laid
    assert first.preset is None
    assert "tuned/digits-ipc1-satm.json is not there" in first.obstacle
    assert second.obstacle == ""
    options = ["condense", "digits", "--profile", "smoke", "--set", "outer.radius=0.2", "--print-config"]
    assert command(options) == 0
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "digits-ipc1-satm.json").write_text(capsys.readouterr().out)
    tuned = layouts(asked)[0].laid[0].preset
    assert tuned is not None
    assert (tuned.config.settings.outer.radius, tuned.config.settings.outer_steps) == (0.2, 2)


def test_only_names_cells() -> None:
    assert parse_only(["dataset=cifar10", "method=satm,mtt"]) == (
        ("dataset", ("cifar10",)),
        ("method", ("satm", "mtt")),
    )


def test_what_is_not_here_is_said_with_where_to_put_it(tmp_path: Path) -> None:
    from satm.studies import read_study

    laid = lay_out(read_study("table3"), profile="cpu", data_root=tmp_path)
    assert all("put train-*.parquet" in each.obstacle for each in laid)
    with pytest.raises(SatmError, match="nothing of table3 can be made here"):
        reproduce(Asked(study="table3", profile="cpu"), registry=tmp_path / "satm.db", data_root=tmp_path)
    assert not (tmp_path / "satm.db").exists()


@pytest.mark.parametrize(
    ("summary", "value"), [("mean", 5.5), ("variance", 8.25), ("last", 10.0), ("early", 1.5), ("late", 9.5)]
)
def test_summaries_of_a_run(summary, value: float) -> None:
    assert summed_up([float(k) for k in range(1, 11)], summary) == value


STREAM = """
title = "A stream"
source = "a test"
seeds = 1

[evaluations.stream]
steps = 2
orders = 1
networks = 1

[[cells]]
dataset = "digits"
ipc = 1
arms = "random"
evaluations = "stream"
"""


def test_a_stream_is_judged_when_every_order_and_network_is_there(tmp_path: Path) -> None:
    import satm

    file, path = tmp_path / "stream.toml", tmp_path / "satm.db"
    file.write_text(STREAM)
    asked = Asked(study=str(file), profile="smoke")
    (_, page), *_ = reproduce(asked, registry=path).pages
    assert all(each.title != "Not reached" for each in page.sections)
    # Streams of another memory under the same recipe are no streams of the set.
    satm.evaluate_incremental("latest", memory="random", steps=2, orders=2, networks=2, registry=path)
    file.write_text(STREAM.replace("orders = 1", "orders = 2"))
    (_, page), *_ = report(asked, registry=path).pages
    (left,) = [each for each in page.sections if each.title == "Not reached"]
    assert [row[:3] for row in left.rows] == [("digits IPC 1, random", "1 of 1", "0 of 1")]


def test_what_cannot_be_made_here_is_on_the_page_and_a_stored_set_is_judged(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import satm
    from satm.workflow.reproduce import asked as asking

    preset = satm.choose_preset("digits", ipc=1, method="mtt", profile="smoke", settings={"outer_steps": 2})
    path = tmp_path / "satm.db"
    satm.condense(with_expert_seed(preset, 0), seed=0, registry=path)
    monkeypatch.setattr(asking, "too_large", lambda peak, machine: "it is too large for this machine")
    done = reproduce(replace(asked, seeds=1, networks=1), registry=path)
    assert done.unreached == ("small: digits IPC 1, satm, seed 0: it is too large for this machine",)
    (left,) = [each for each in done.pages[0][1].sections if each.title == "Not reached"]
    assert left.rows == (("digits IPC 1, satm", "0 of 1", "0 of 1", "it is too large for this machine"),)
    with Registry.open(path) as store:
        assert len(store.results(metric="accuracy")) == 1  # the stored set was judged
    assert StoredExperts(None).epochs(with_expert_seed(preset, 0).config)[0] > 0
    assert set(StoredExperts(None).epochs(with_expert_seed(preset, 5).config)) == {0}


def test_what_only_leaves_out_is_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from satm.workflow.reproduce import laid

    looked = []
    monkeypatch.setattr(laid, "find", lambda name, root, progress: looked.append(name))
    layouts(Asked(study="table2", profile="smoke", only=("dataset=cifar100",)), download=True)
    assert "cifar100" in looked
    assert "cifar10" not in looked


def test_what_cells_share_is_foreseen_once() -> None:
    from satm.workflow.reproduce.foresee import Piece, Total

    shared = {("experts", 0): 10.0}
    piece = Piece(key="a", made=False, outer=5.0, operations=1e9, judging={"x": 1.0}, experts=shared, blocked="")
    total = Total()
    assert [total.add(piece), total.add(piece), total.add(replace(piece, judging={"y": 2.0}))] == [6.0, 0.0, 2.0]
    total.add(replace(piece, key="b", experts=shared | {("experts", 1): 3.0}))
    total.add(replace(piece, key="c", blocked="no data"))
    assert (total.seconds, sum(total.experts.values()), len(total.blocked)) == (14.0, 13.0, 1)


def test_the_networks_that_choose_a_rate_are_foreseen(tmp_path: Path) -> None:
    from evaluation import RECIPES
    from satm.workflow.reproduce.cost import Machine, cost_of

    study = """
    title = "Rates"
    source = "a test"
    evaluations = {learned = {}, grid = {rate = "grid"}}
    [[cells]]
    dataset = "digits"
    ipc = 1
    arms = ["satm", "dm", "rat-bptt"]
    evaluations = ["learned", "grid"]
    """
    file = tmp_path / "rates.toml"
    file.write_text(study)
    recipe = RECIPES.get("cpu")
    trainings = recipe.repeats + len(recipe.grid) * recipe.rate_networks  # those that are tested, and those that choose
    machine = Machine(torch.device("cpu"))
    (layout,) = layouts(Asked(study=str(file), profile="cpu"))
    for laid in layout.asked:
        judging = cost_of(laid, machine, {"learned": None, "grid": None}).judging
        learned = recipe.repeats if laid.cell.name == "satm" else trainings  # only its sets have a learned rate
        assert judging["grid"] / judging["learned"] == pytest.approx(trainings / learned)


def test_a_set_that_another_process_makes_is_waited_for() -> None:
    held = ExitStack()
    held.enter_context(Checkpoint("busy").held())

    class Releases(NoProgress):
        def say(self, message: str) -> None:
            assert message == "the set is being made by another process; waiting for it"
            held.close()

    def work() -> int:
        with Checkpoint("busy").held():
            return 1

    assert when_free(work, "the set", Releases()) == 1
    with Checkpoint("busy").held(), pytest.raises(Interrupted, match="stopped while another process made the set"):
        when_free(work, "the set", StopsAfter(0))


LABELLED = """
title = "A teacher's labels"
source = "a test"
seeds = 1
networks = 1
evaluations = {own = {labels = "own"}, labelled = {labels = "teacher"}}
[[cells]]
dataset = "digits"
ipc = 1
arms = ["random"]
evaluations = ["own", "labelled"]
"""


def test_the_labels_of_a_teacher_are_an_evaluation_of_their_own(tmp_path: Path) -> None:
    file, path = tmp_path / "labelled.toml", tmp_path / "satm.db"
    file.write_text(LABELLED)
    asked = Asked(study=str(file), profile="smoke")
    (_, page), *_ = reproduce(asked, registry=path).pages
    assert all(each.title != "Not reached" for each in page.sections)
    with Registry.open(path) as store:
        teachers = [row.detail.get("labels") for row in store.results(metric="accuracy", memory="condensed")]
    assert sorted(each is None for each in teachers) == [False, True]


def test_streams_with_a_teacher_s_labels_are_not_those_without(tmp_path: Path) -> None:
    file, path = tmp_path / "streams.toml", tmp_path / "satm.db"
    stream = "steps = 2, orders = 1"
    own, labelled = (f'{{labels = "{labels}", {stream}}}' for labels in ("own", "teacher"))
    text = LABELLED.replace('{labels = "own"}', own).replace('{labels = "teacher"}', labelled)
    asked = Asked(study=str(file), profile="smoke")
    file.write_text(text.replace('["own", "labelled"]', '["own"]'))
    reproduce(asked, registry=path)
    file.write_text(text)
    (_, page), *_ = report(asked, registry=path).pages
    (left,) = [each for each in page.sections if each.title == "Not reached"]  # the stream with a teacher's labels
    assert [row[:3] for row in left.rows] == [("digits IPC 1, random", "1 of 1", "0 of 1")]
    (_, page), *_ = reproduce(asked, registry=path).pages
    assert all(each.title != "Not reached" for each in page.sections)


def test_a_stream_of_a_protocol_without_a_set_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "stream.toml"
    file.write_text(LABELLED.replace('{labels = "own"}', '{steps = 2, protocol = "scr"}'))
    with pytest.raises(ConfigError, match=r"evaluations\.own: protocol scr does not learn from a condensed set"):
        lay_out(read_study(str(file)), profile="smoke")


def test_a_stream_in_a_loop_of_its_own_takes_no_labels_of_a_teacher(tmp_path: Path) -> None:
    file = tmp_path / "stream.toml"
    stream = 'labelled = {labels = "teacher", steps = 2, protocol = "er-ace"}'
    file.write_text(LABELLED.replace('labelled = {labels = "teacher"}', stream))
    with pytest.raises(ConfigError, match=r"evaluations\.labelled: labels teacher: protocol er-ace trains in a loop"):
        lay_out(read_study(str(file)), profile="smoke")
