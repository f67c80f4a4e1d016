"""The report page: what is on it, with n; what it says where there is nothing; and that names stay text."""

from __future__ import annotations

import json
import re
import shlex
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import satm
from registry import Registry
from satm.cli import run
from satm.errors import ConfigError, RegistryBusy, RegistryError, SatmError, UnknownName
from satm.workflow.reporting import material as limits
from tests.registry.helpers import result
from tests.satm.workflow.reporting.registries import (
    ARCHITECTURES,
    ATTACK,
    METHODS,
    a_set,
    fill,
    rename,
    unreadable_whitening,
)

SECTIONS = ("leaderboard", "incremental", "architectures", "costs", "classes", "images", "condensation", "sets")
CHARTS = {
    *(
        "incremental-1",
        "heat-1",
        "grid-1",
        "images-1",
        "bytes-1",
        "seconds-1",
        "classes-heat-1",
        "loss-1",
        "validation-1",
    ),
    *("hypergradient-1", "sharpness-1", "step-size-1", "step-size-derivative-1"),
}


class Reader(HTMLParser):
    """Ids, links, tags, the texts of elements by tag, and the rows of tables, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if tag == "a" else []
        self.loads += [given[name] or "" for name in ("src", "data", "action", "poster") if name in given]
        self.loads += [given["href"] or ""] if tag == "link" else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.in_cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("registry") / "satm.db")


@pytest.fixture(scope="module")
def made(path: Path) -> tuple[str, Path]:
    """The page and the folder of its figures."""
    folder = path.parent / "figures"
    satm.write_report(path.parent / "report.html", figures=folder, registry=path)
    return (path.parent / "report.html").read_text(encoding="utf-8"), folder


def test_every_part_is_there_and_no_part_is_empty(made: tuple[str, Path]) -> None:
    page = Reader(made[0])
    assert set(SECTIONS) <= set(page.ids)
    assert set(page.ids) >= CHARTS
    assert 'class="missing"' not in made[0]


def test_each_figure_is_also_a_file(made: tuple[str, Path]) -> None:
    for key in CHARTS - {"grid-1"}:
        assert made[1].joinpath(f"{key}.svg").read_text(encoding="utf-8").startswith("<?xml")
        with Image.open(made[1] / f"{key}.png") as picture:
            assert picture.width > 800
    with Image.open(made[1] / "grid-1.png") as picture:
        assert picture.size == (2 * 9, 2 * 9)  # two images of each of two classes, of 8 pixels and one of distance


def test_nothing_comes_from_a_network_and_every_link_leads_somewhere(made: tuple[str, Path]) -> None:
    page = Reader(made[0])
    assert len(page.ids) == len(set(page.ids))
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    assert all(link.startswith("#") for link in page.links)
    assert all(source.startswith("data:") for source in page.loads)
    assert re.findall(r"url\((?!#)", made[0]) == []
    assert page.tags.count("script") == 1


def test_numbers_have_n_spreads_and_profile(path: Path, made: tuple[str, Path]) -> None:
    (row,) = satm.group_results(["cifar10/ipc2/satm"], registry=path, protocol="in-domain", memory="condensed")
    lines = [line for line in Reader(made[0]).rows if line[:1] == ["cifar10/ipc2/satm"] and "in-domain" in line]
    line = next(each for each in lines if "condensed" in each)
    assert line[1] == f"{100 * row.estimate.mean:.1f}" == "43.0"
    assert row.interval is not None
    assert line[2] == f"[{100 * row.interval[0]:.1f}, {100 * row.interval[1]:.1f}]"
    assert line[3] == "3 condensations × 3 networks"
    assert row.between_condensations is not None
    assert f"{100 * row.between_condensations:.1f}" in line
    assert "smoke" in line
    titles = re.findall(r"<title>([^<]*: step 2 of 2, [^<]*)</title>", made[0])
    assert len(titles) == len(METHODS)
    assert all("3 condensations × 3 orders" in title and "profile smoke" in title for title in titles)


def test_small_profiles_are_no_comparison_with_the_paper(made: tuple[str, Path]) -> None:
    assert "no comparison with the paper's" in " ".join(Reader(made[0]).words)


def test_the_paper_stands_beside_ours_with_its_table(tmp_path: Path) -> None:
    from tests.registry.helpers import result

    with Registry.open(tmp_path / "r.db") as store:
        record = store.add_set(a_set("mtt", 0, ipc=1), run=None)
        recipe = store.add_recipe("smoke", {})
        store.add_results(
            [
                result(record.id, recipe, protocol="in-domain", architecture=architecture, repeat=r)
                for architecture in ("convnet3", "resnet18")
                for r in range(2)
            ]
        )
    satm.write_report(tmp_path / "report.html", registry=tmp_path / "r.db")
    rows = [row for row in Reader((tmp_path / "report.html").read_text()).rows if row[:1] == ["cifar10/ipc1/mtt"]]
    beside = {name: row for name in ("convnet3", "resnet18") for row in rows if name in row and row[1] == "50.0"}
    assert "46.2 ± 0.8Table 2, profile paper" in beside["convnet3"]
    assert "46.2 ± 0.8Table 2, profile paper" not in beside["resnet18"]


def test_a_cross_architecture_table_has_a_column_for_each(made: tuple[str, Path]) -> None:
    heads = [row for row in Reader(made[0]).rows if row[1:2] == ["convnet3 (own)"]]
    assert [sorted(head[2:]) for head in heads] == [sorted(ARCHITECTURES[1:])]


def test_classes_are_judged_by_the_stored_predictions(made: tuple[str, Path]) -> None:
    (line,) = [row for row in Reader(made[0]).rows if row[:1] == ["dog"]]
    assert all(cell.startswith("100.0 [") and "4 images" in cell for cell in line[1:])
    (line,) = [row for row in Reader(made[0]).rows if row[:1] == ["cat"]]
    assert any(cell.startswith("50.0") for cell in line[1:])  # of 4 images 1, 2 or 3 are wrong


def test_cards_have_command_departures_lineage_and_config(made: tuple[str, Path]) -> None:
    assert made[0].count('<details class="card"') == 9
    said = " ".join(Reader(made[0]).words)
    for text in (shlex.join(sys.argv), "satm is made small", "experts of-seed-1", '"outer_steps": 10'):
        assert text in said


def test_names_are_text_and_never_markup(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    rename(copy, "dm", ATTACK)
    satm.write_report(tmp_path / "report.html", registry=copy)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ATTACK not in text
    page = Reader(text)
    assert page.tags.count("script") == 1
    assert any(f"cifar10/ipc2/{ATTACK}" in word for word in page.words)


def test_the_script_is_the_one_that_the_policy_names(made: tuple[str, Path]) -> None:
    import base64
    import hashlib

    script = re.search(r"<script>(.*)</script>", made[0], re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in made[0] or f"script-src 'sha256-{digest}'" in made[0]


def test_an_empty_registry_gives_a_page_that_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Registry.open(tmp_path / "empty.db"):
        pass
    output = tmp_path / "report.html"
    assert run(["report", "--registry", str(tmp_path / "empty.db"), "--output", str(output)]) == 0
    assert "0 sets, 0 numbers, 0 figures" in capsys.readouterr().out
    text = output.read_text(encoding="utf-8")
    assert text.count('class="missing"') == len(SECTIONS)
    assert "satm condense digits --ipc 1" in text


def test_a_registry_without_a_protocol_says_which_command_makes_it(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "r.db") as store:
        store.add_set(a_set("satm", 0), run=None)
    satm.write_report(tmp_path / "report.html", registry=tmp_path / "r.db")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "satm eval-cl SET --steps 5" in text
    assert "none is stored: the set was imported or made from Python" in text


def test_images_that_cannot_be_inverted_say_so(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "r.db") as store:
        store.add_set(a_set("satm", 0, preprocessing=unreadable_whitening()), run=None)
    satm.write_report(tmp_path / "report.html", registry=tmp_path / "r.db")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The images of cifar10/ipc2/satm@1 cannot be shown: ZCA transform" in text
    assert "<img" not in text


@pytest.mark.parametrize("place", ["no/such/../file/report.html", "folder"])
def test_a_page_that_cannot_be_written_is_one_line(
    path: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no").write_text("a file")
    (tmp_path / "folder").mkdir()
    assert run(["report", "--registry", str(path), "--output", str(tmp_path / place)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "no"]


def test_the_registry_is_never_overwritten(path: Path) -> None:
    before = path.read_bytes()
    for spelled in (path, path.parent / ".." / path.parent.name / path.name):
        with pytest.raises(ConfigError, match="is a registry"):
            satm.write_report(spelled, registry=path)
    assert path.read_bytes() == before


def test_unknown_sets_and_registries_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="nonsense"):
        satm.write_report(tmp_path / "r.html", references=["nonsense"], registry=path)
    with pytest.raises(SatmError, match=r"missing\.db"):
        satm.write_report(tmp_path / "r.html", registry=tmp_path / "missing.db")
    assert not (tmp_path / "r.html").exists()


def test_only_the_sets_that_are_named(path: Path, tmp_path: Path) -> None:
    done = satm.write_report(tmp_path / "r.html", references=["cifar10/ipc2/mtt"], registry=path)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert done.sets == 3
    assert "cifar10/ipc2/mtt" in text
    assert "cifar10/ipc2/dm" not in text


def test_long_tables_say_how_many_rows_they_leave_out(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from satm.workflow.reporting import leaderboard

    monkeypatch.setattr(leaderboard, "ROWS", 4)
    done = satm.write_report(tmp_path / "r.html", registry=path)
    assert f"The first 4 of {done.numbers} rows are here." in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_page_that_is_watched_is_read_again(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "empty.db"):
        pass
    satm.write_report(tmp_path / "r.html", registry=tmp_path / "empty.db", refresh=7)
    assert '<body data-again="7">' in (tmp_path / "r.html").read_text(encoding="utf-8")
    satm.write_report(tmp_path / "r.html", registry=tmp_path / "empty.db")
    once = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not any(word in once for word in ("data-again", "again every", "reload"))


def test_watching_writes_again_until_it_is_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, output = tmp_path / "satm.db", tmp_path / "r.html"
    with Registry.open(registry):
        pass
    seen: list[str] = []

    def sleep(seconds: float) -> None:
        """What happens in each pause."""
        seen.append(output.read_text(encoding="utf-8"))
        match len(seen):
            case 1:
                with Registry.open(registry) as store:
                    store.add_set(a_set("satm", 0), run=None)
            case 2:
                output.write_text("nothing has changed, so this stays")
            case 3:
                registry.rename(away)
            case 5:
                away.rename(registry)
                registry.touch()
            case 7:
                raise KeyboardInterrupt

    away = tmp_path / "away.db"
    monkeypatch.setattr("time.sleep", sleep)
    assert run(["report", "--registry", str(registry), "--output", str(output), "--watch"]) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"{registry} is gone; waiting for a registry of this name", f"stopped; {output} stays"]
    assert ["satm@1" in text for text in seen] == [False, True, False, False, False, True, True]
    assert [text.count('<body data-again="5">') for text in seen] == [1, 1, 0, 0, 0, 1, 1]
    assert "data-again" not in output.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("error", "changed", "said"),
    [
        (RegistryBusy("in use by another process"), [True, False], ""),
        (RegistryError("no set 'a'"), [True, True], "no set 'a'; waiting for the next change\n"),
    ],
)
def test_watching_goes_on_after_an_error(
    error: RegistryError,
    changed: list[bool],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry, output = tmp_path / "satm.db", tmp_path / "r.html"
    with Registry.open(registry):
        pass
    really, calls = satm.write_report, iter([False, True, False, False])  # which call fails

    def write(*args: object, **named: object) -> object:
        if next(calls):
            raise error
        return really(*args, **named)

    pauses = iter(changed)  # whether the registry changes then

    def sleep(seconds: float) -> None:
        changes = next(pauses, None)
        if changes is None:
            raise KeyboardInterrupt
        if changes:
            registry.touch()

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr(satm, "write_report", write)
    assert run(["report", "--registry", str(registry), "--output", str(output), "--watch", "1"]) == 130
    assert next(calls, None) is None  # it was tried again, and written
    assert capsys.readouterr().err == f"{said}stopped; {output} stays\n"


def test_the_same_rows_make_the_same_figures(path: Path, tmp_path: Path, made: tuple[str, Path]) -> None:
    satm.write_report(tmp_path / "r.html", figures=tmp_path / "f", registry=path)
    assert (tmp_path / "f" / "loss-1.svg").read_bytes() == (made[1] / "loss-1.svg").read_bytes()


def test_runs_of_one_group_share_a_look_and_no_run_hides_another(path: Path) -> None:
    from satm.workflow.reporting.condensation import _spread, _traces

    with Registry.open(path, read_only=True) as store:
        traces = list(_traces(limits.gather(store, [])))
    assert len(traces) == 9
    assert {each.run.method for each in _spread(traces, 3)} == set(METHODS)


def test_two_curves_of_four_methods_look_different_and_recipes_of_one_name_stay_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from satm.workflow.reporting import condensation, costs
    from satm.workflow.reporting.figures import Easel

    path = fill(tmp_path / "satm.db", seeds=1, methods=("satm", "mtt", "dm", "dsa"))
    with Registry.open(path) as store:
        first, *_ = store.sets()
        other = store.add_recipe("smoke", {"epochs": 1})
        for memory in ("condensed", "condensed[:1]"):
            given = {"protocol": "in-domain", "architecture": "convnet3", "memory": memory}
            store.add_results([result(first.id, other, repeat=r, value=0.5, **given) for r in range(3)])
        material = limits.gather(store, [])
        drawn: list[Any] = []
        monkeypatch.setattr(costs, "MOST", 9)
        monkeypatch.setattr(Easel, "figure", lambda self, chart: drawn.append(chart))
        condensation.section(material, Easel(None))
        costs.section(material, Easel(None))
    kins = {chart.key: [series.kin for series in chart.series] for chart in drawn}
    assert len(set(kins["step-size-derivative-1"])) == 8
    recipes = {chart.about.partition(". ")[0] for chart in drawn if chart.key.startswith("images-")}
    assert f"Recipe smoke ({other[:8]})" in recipes
    assert len(recipes) == 2


@pytest.mark.slow
def test_ten_thousand_sets(tmp_path: Path) -> None:
    """The page stays below 10 MB, and says how many sets it does not show."""
    path = fill(tmp_path / "r.db", seeds=1, methods=("satm",))
    with Registry.open(path) as store, store._writing() as db:
        (row,) = db.query("SELECT * FROM sets")
        about = json.loads(row["about"])
        copies = [
            {
                **{key: value for key, value in row.items() if key != "seq"},
                "id": f"{k:064x}",
                "name": f"cifar10/ipc2/m{k % 100}@{k // 100 + 1}",
                "method": f"m{k % 100}",
                "version": k // 100 + 1,
                "seed": k,
                "about": json.dumps({**about, "method": f"m{k % 100}", "seed": k, "config": {"only": k}}),
            }
            for k in range(2, 10_002)
        ]
        db["sets"].insert_all(copies)
        db["set_groups"].insert_all(
            [{"set_id": each["id"], "group_id": each["id"], "experts": "none"} for each in copies]
        )
    done = satm.write_report(tmp_path / "r.html", registry=path)
    assert done.sets == 10_001
    assert done.bytes < 10e6
    assert "9,901 more sets are not shown" in (tmp_path / "r.html").read_text(encoding="utf-8")
