"""Every option and argument that takes a path, fed with all that a path can lead to: one line, never a traceback."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from satm.cli import run
from satm.cli._app import app
from satm.exchange import LAYOUTS

FILES = {"empty": b"", "binary": bytes(range(256)) * 8, "nested": b"[" * 200_000, "unreadable": b"x"}
KINDS = [
    *("missing", "dangling", "loop", "folder", "pipe", "endless", "full", "below_a_file", "long"),
    *("newline", "not_utf8", *FILES),
]
QUICK = ["pipe", "endless", "nested"]  # of these a few seconds; all kinds are slow
SECONDS = 60  # a command line that hangs is stopped after this time; on a busy machine a good one can take 20 s
NAMED = {"--order", "DATASET", "STUDY"}  # they take a name or a path, so their type does not say so
VALUES: dict[str, str] = {
    **{
        "SET": "latest",
        "A": "latest",
        "B": "latest",
        "SQL": "select 1",
        "TAG": "t",
        "STUDY": "grids",
        "RUN": "latest",
        "RUN…": "latest",
    },
    **{"DATASET": "digits", "SOURCE": "source", "PATH": "made", "STUDY": "grids"},
}
DEVICES = {"endless": "zero", "full": "full"}
PLACES_OF_LAYOUTS = "PATH"
ONE_EXPERT = (
    "--profile smoke --compilation eager --count 1 --set architecture=convnet3_w4 --set expert_epochs=1 "
    "--set max_start_epoch=1"
)


def commands() -> Iterator[tuple[str, Any]]:
    todo = [("", get_command(app))]
    while todo:
        name, command = todo.pop()
        below = getattr(command, "commands", {})
        todo += [(f"{name} {child}".strip(), found) for child, found in below.items()]
        if not below:
            yield name, command


def label(parameter: Any) -> str:
    """`--option`, or the name of an argument."""
    first: str = parameter.opts[0]
    return first if first.startswith("-") else (getattr(parameter, "metavar", None) or first.upper())


def takes_path(parameter: Any) -> bool:
    return parameter.type_descriptor.annotation is Path or label(parameter) in NAMED


def places() -> list[tuple[str, str]]:
    """(command, parameter) for each parameter whose value is a path."""
    return sorted((name, label(each)) for name, command in commands() for each in command.params if takes_path(each))


def line(name: str, place: str, value: str, layout: str = "npz") -> list[str]:
    """A command line that is right except for the `value` of `place`."""
    command = dict(commands())[name]
    known = {label(each) for each in command.params}
    words = name.split()
    for each in command.params:
        here = label(each)
        if not here.startswith("-") and (each.required or here == "DATASET" or here == place):
            words.append(value if here == place else VALUES.get(here, f"a-{here.lower()}"))
    if place.startswith("-"):
        words += [place, value]
    small = {"--dry-run": (), "--threads": ("1",), "--profile": ("smoke",), "--format": (layout,), "--timeout": ("5",)}
    if "--dry-run" not in known:
        small["--outer-steps"] = ("1",)
    for option, given in small.items():
        if option in known and option != place and (option != "--format" or name in ("sets import", "sets export")):
            words += [option, *given]
    if name == "tune":
        words += ["--method", "dm", "--search", "lr_images=0.1:1"]
    if name == "plan":  # it measures, and this method is the quickest
        words += ["--method", "random"]
    if "--dataset" in known and name == "sets import":
        words += ["--dataset", "digits"]
    if place == "--data-root" and "DATASET" in known:  # `digits` needs no folder
        words[words.index("digits")] = "cifar10"
    return words


def made(folder: Path, kind: str) -> str:
    """A path of this kind in `folder`."""
    path = folder / kind
    if kind in ("dangling", "loop", "endless", "full"):
        path.symlink_to({"dangling": folder / "nothing", "loop": path}.get(kind, Path("/dev", DEVICES.get(kind, ""))))
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "below_a_file":
        path.write_bytes(b"x")
        path /= "x"
    elif kind == "not_utf8":
        path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))
        path.write_bytes(b"x")
    elif kind in FILES:
        path.write_bytes(FILES[kind])
        path.chmod(0 if kind == "unreadable" else 0o644)
    return {"long": "x" * 5000, "newline": f"{path}\nerror: x"}.get(kind, str(path))


class TooLong(BaseException):
    """Not an Exception, so that nothing on the way catches it."""


@contextmanager
def bounded() -> Iterator[None]:
    """Raise TooLong after `SECONDS`, and MemoryError for much more memory than now, which endless files ask for."""

    def stop(*_: object) -> None:
        raise TooLong

    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), limits[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one set and its run."""
    folder = tmp_path_factory.mktemp("stocked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SATM_HOME", str(folder / "home"))
        made_from = ["condense", "digits", "--method", "random", "--profile", "smoke", "--threads", "1"]
        assert run([*made_from, "--registry", str(folder / "satm.db")]) == 0
    return folder / "satm.db"


def faults(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """Run a command line; what is wrong with how it ends."""
    capsys.readouterr()
    try:
        with bounded():
            code = run(words)
    except TooLong:
        yield f"not done after {SECONDS} s"
        return
    said = capsys.readouterr().err
    lines = [each for each in said.splitlines() if each.lower().startswith("error:")]
    if code not in (0, 1, 2) or len(lines) != (code != 0):
        yield f"exit code {code} with {len(lines)} lines of error"
    for word in ("Traceback", "fault of satm", "out of memory"):
        if word in said:
            yield word
    if any(folder.rglob("*.tmp")):
        yield "a half-written file is left"
    for device in DEVICES.values():
        if not stat.S_ISCHR(os.stat(f"/dev/{device}").st_mode):
            yield f"/dev/{device} is overwritten"


def check(line_of: Any, kinds: list[str], stocked: Path, folder: Path, capsys: Any) -> None:
    """Run `line_of(path)` for each of the `kinds` of path, each with a fresh copy of the registry `stocked`."""
    wrong = []
    for kind in kinds:
        shutil.copy(stocked, folder / "satm.db")
        (folder / kind).mkdir()
        words = line_of(made(folder / kind, kind))
        wrong += [f"{kind}: {each}" for each in faults(words, folder, capsys)]
    assert not wrong, wrong


ALL_KINDS = pytest.mark.parametrize(
    "kinds", [pytest.param(QUICK, id="quick"), pytest.param(KINDS, id="all", marks=pytest.mark.slow)]
)


@ALL_KINDS
@pytest.mark.parametrize(("name", "place"), places())
def test_no_path_ends_in_a_traceback(
    name: str,
    place: str,
    kinds: list[str],
    stocked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    check(lambda path: line(name, place, path), kinds, stocked, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("name", ["sets import", "sets export"])
def test_no_path_of_a_layout_ends_in_a_traceback(
    layout: str,
    name: str,
    stocked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    check(lambda path: line(name, PLACES_OF_LAYOUTS, path, layout), KINDS, stocked, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["SATM_HOME", "SATM_DATA", "SATM_REGISTRY"])
@pytest.mark.parametrize("words", ["condense cifar10 --dry-run", f"experts digits {ONE_EXPERT}", "sets list", "doctor"])
def test_no_path_of_the_environment_ends_in_a_traceback(
    words: str,
    variable: str,
    stocked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    def line_of(path: str) -> list[str]:
        monkeypatch.setenv(variable, path)
        return words.split()

    check(line_of, KINDS, stocked, tmp_path, capsys)
