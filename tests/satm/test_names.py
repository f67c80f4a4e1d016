"""Tables of named things: listed from their files' text, imported when used, and offered by other packages."""

from __future__ import annotations

import pkgutil
import sys
import textwrap
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from satm.errors import ConfigError, PluginError, UnknownName
from satm.names import Names, registered_in

TABLE = """
    from dataclasses import dataclass
    from satm.names import Names

    @dataclass(frozen=True)
    class Thing:
        name: str
        summary: str = ""

    THINGS: Names[Thing] = Names("thing", package="{package}.kinds", group="{package}.things")
"""
FIRST = """
    from {package}.table import THINGS, Thing

    THINGS.add(Thing(name="apple", summary="a fruit"))
    PEAR = THINGS.add(Thing(name="pear"))


    def later():
        THINGS.add(Thing(name="not at the top level"))
"""


ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Other:
    """The type that the entry points of other packages must have in this file."""

    name: str


@dataclass(frozen=True)
class Wrapped:
    """A thing that is made from the object of an entry point."""

    name: str
    loaded: object


THING, QUINCE = Other("plum"), Other("quince")


@pytest.fixture
def package(request, tmp_path, monkeypatch):
    """The name of an installed package `….kinds` that registers an apple and a pear, and offers nothing."""
    name = f"satm_{request.node.name.partition('[')[0]}"
    write(tmp_path, name, **{"__init__": "", "table": TABLE})
    write(tmp_path / name, "kinds", **{"__init__": "", "first": FIRST.replace("{package}", name)})
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        sys.modules.pop(module)


def write(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir(parents=True)
    for file, text in files.items():
        (folder / name / f"{file}.py").write_text(textwrap.dedent(text).replace("{package}", name))


def table(package: str) -> Names:
    return import_module(f"{package}.table").THINGS


def offer(folder: Path, package: str, name: str, value: str) -> None:
    """An installed distribution `orchard` whose entry point `name` loads `value`."""
    about = folder / "orchard-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: orchard\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{package}.things]\n{name} = {value}\n")


def test_names_and_summaries_are_listed_without_an_import(package):
    things = table(package)
    assert list(things) == things.known() == ["apple", "pear"]
    assert things.summaries() == {"apple": "a fruit", "pear": ""}
    assert "apple" in things
    assert "plum" not in things
    assert len(things) == 2
    assert things.owner("apple") == "satm"
    assert f"{package}.kinds" not in sys.modules


def test_the_file_of_a_thing_is_imported_when_it_is_used(package):
    things = table(package)
    pear = things.get("pear")
    assert pear.name == "pear"
    assert f"{package}.kinds.first" in sys.modules
    assert things.get("pear") is pear
    with pytest.raises(UnknownName, match=r"^unknown thing 'apples': did you mean apple\?$"):
        things.get("apples")


def test_a_name_is_registered_once(package, tmp_path):
    (things := table(package)).add(thing := Other("plum"))
    assert things.get("plum") is thing
    assert things.known() == ["apple", "pear", "plum"]
    with pytest.raises(ConfigError, match=r"^thing 'plum' is registered twice; rename one of them$"):
        things.add(Other("plum"))
    write(tmp_path / package, "doubles", **{"__init__": "", **dict.fromkeys(("first", "second"), FIRST)})
    with pytest.raises(
        ConfigError, match=rf"^'apple' is registered in {package}.doubles.first and in {package}.doubles.second; rename"
    ):
        registered_in(f"{package}.doubles")


def test_another_packages_thing_is_a_line_until_it_is_used(package, tmp_path):
    offer(tmp_path, package, "plum", f"{__name__}:THING")
    things = table(package)
    assert things.summaries()["plum"] == "from package orchard"
    assert (list(things), things.known()) == (["apple", "pear", "plum"], ["apple", "pear"])
    assert things.owner("plum") == "package orchard"
    assert things.get("plum") is THING
    assert things.problems() == []


def test_ours_hides_another_packages_thing_of_the_same_name(package, tmp_path):
    offer(tmp_path, package, "pear", f"{__name__}:THING")
    things = table(package)
    assert things.get("pear").name == "pear"
    assert things.problems() == ["thing 'pear' of package orchard is hidden by ours; rename it"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (f"{__name__}:MISSING", "cannot be loaded (AttributeError: "),
        (f"{__name__}:TABLE", "is str, expected Other; "),
        (f"{__name__}:QUINCE", "is called 'quince' in its code; give both one name"),
    ],
)
def test_another_packages_thing_that_cannot_be_used(package, tmp_path, value, reason):
    offer(tmp_path, package, "plum", value)
    things: Names[Other] = Names("thing", group=f"{package}.things", expects=Other)
    with pytest.raises(PluginError) as caught:
        things.get("plum")
    assert str(caught.value).startswith(f"thing 'plum' of package orchard {reason}")
    assert things.problems() == [str(caught.value)]


def test_what_another_package_offers_can_be_made_into_a_thing(package, tmp_path):
    offer(tmp_path, package, "plum", "builtins:len")
    things: Names[Wrapped] = Names("thing", group=f"{package}.things", wrap=lambda name, loaded: Wrapped(name, loaded))
    assert things.get("plum") == Wrapped("plum", len)


def test_a_module_may_hold_a_tables_things(package):
    module = f"{package}.kinds.first"
    assert {listed.module for listed in registered_in(module).values()} == {module}
    with pytest.raises(ConfigError, match="package satm_nowhere is not installed"):
        registered_in("satm_nowhere.kinds")


def our_tables() -> list[Names]:
    """Every table that lists a package of ours, after an import of all files of that package."""
    modules = [
        import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for top in ("satm", "evaluation", "protocols", "registry")
        for path in sorted((ROOT / top).rglob("*.py"))
        if "= Names(" in path.read_text(encoding="utf-8")
    ]
    tables = {id(value): value for module in modules for value in vars(module).values() if isinstance(value, Names)}
    listing = [each for each in tables.values() if each.package is not None]
    for each in listing:
        for found in pkgutil.iter_modules(getattr(import_module(each.package), "__path__", ())):
            import_module(f"{each.package}.{found.name}")
    return listing


def test_what_is_listed_is_what_is_registered():
    """Fails if the listing cannot read a registration, for example because its name is no literal."""
    tables = our_tables()
    assert {things.package for things in tables} >= {"satm.methods", "satm.networks", "protocols.methods"}
    for things in tables:
        listed = registered_in(things.package)
        assert things.known() == sorted(listed)
        for name, line in listed.items():
            assert things.get(name).name == name
            assert things.get(name).summary == line.summary != ""
