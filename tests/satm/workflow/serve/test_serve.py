"""`satm serve`: datasette on a registry, through its own client; and the command, in a process, with a real browser."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from registry import Registry
from satm.cli import run
from satm.workflow.serve.queries import metadata
from satm.workflow.serve.server import _only_for
from satm.workflow.serve.site import browsing
from tests.chromium import chromium
from tests.registry.kept import unpack
from tests.satm.workflow.reporting.registries import ATTACK, a_set, fill, rename, unreadable_whitening

pytest.importorskip("datasette", reason="datasette is not installed")
ROOT = Path(__file__).parent.parent.parent.parent.parent


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with a name that an address cannot hold as it is, and a method called `<script>alert(1)</script>`."""
    found = fill(tmp_path_factory.mktemp("re?mode=rw#gistry") / "sa%tm.db", seeds=1)
    rename(found, "dm", ATTACK)
    with Registry.open(found) as store:
        store.add_set(a_set("mtt", 9, preprocessing=unreadable_whitening()), run=None)
    return found


def answers(path: Path, *addresses: str) -> list[Any]:
    """What datasette answers, in this process."""

    async def asked(site: Any) -> list[Any]:
        return [await site.client.get(each) for each in addresses]

    with browsing(path) as site:
        return asyncio.run(asked(site))


def test_tables_and_named_queries_show_what_the_registry_holds(path: Path) -> None:
    queries = metadata("satm.db")["databases"]["satm"]["queries"]
    assert len(queries) > 3
    stream = "/satm/stream.json?set=cifar10/ipc2/satm@1&_shape=array"
    home, sets, steps, *named = answers(
        path, "/satm", "/satm/sets?_sort=seq", stream, *(f"/satm/{name}?set=x&run=x&metric=loss" for name in queries)
    )
    assert [each.status_code for each in (home, sets, *named)] == [200] * (2 + len(queries))
    assert "Numbers at profile cpu or smoke are not those of a publication" in home.text or "leaderboard" in home.text
    assert 'href="/satm/blobs"' not in home.text.partition("hidden")[0]
    assert "facet" in sets.text
    assert "method" in sets.text
    assert {(row["step"], row["n"]) for row in steps.json()} == {(1, 3), (2, 3)}


def test_hostile_names_are_shown_as_text(path: Path) -> None:
    for answer in answers(path, "/satm/sets", "/satm/runs", "/satm/gallery", "/satm/leaderboard"):
        assert answer.status_code == 200
        assert ATTACK not in answer.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text


def test_a_set_is_shown_by_its_images(path: Path) -> None:
    (listed,) = answers(path, "/satm/gallery.json?_shape=array")
    ids = {row["name"]: row["grid"] for row in listed.json()}
    known, whitened = ids["cifar10/ipc2/satm@1"], ids["cifar10/ipc2/mtt@2"]
    page, picture, problem, nothing = answers(
        path, "/satm/sets", f"/-/grids/{known}", f"/-/grids/{whitened}", f"/-/grids/{'0' * 64}"
    )
    assert f'<img src="/-/grids/{known}"' in page.text
    assert picture.headers["content-type"] == "image/png", picture.text
    image = Image.open(io.BytesIO(picture.content))
    assert image.width > 32
    for answer, said in ((problem, "whitening"), (nothing, "0000")):
        assert answer.headers["content-type"].startswith("image/svg")
        assert said in answer.text.lower().replace("zca", "whitening")


def test_nothing_is_written_and_no_file_is_left(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = path.read_bytes()
    refused = answers(path, "/satm?sql=update+sets+set+method='x'", "/satm.json?sql=select+x", "/satm/no-table", "/x")
    assert [each.status_code for each in refused] == [400, 400, 404, 404]
    assert "Statement must be a SELECT" in refused[0].text
    assert capsys.readouterr() == ("", "")
    with browsing(path) as site:
        connection = site.get_database("satm").connect(write=True)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("UPDATE runs SET status = 'failed'")
        connection.close()
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name]


@pytest.mark.parametrize("schema", [1, 5, 11])
def test_a_registry_of_an_older_version_is_served_and_not_changed(schema: int, tmp_path: Path) -> None:
    path = unpack(schema, tmp_path / "old.db")
    before = path.read_bytes()
    sets, view = answers(path, "/satm/sets.json?_shape=array", "/satm/group_summary.json?_shape=array")
    assert {each["name"] for each in sets.json()} == {"cifar10/ipc2/satm@1", "cifar10/ipc2/satm@2"}
    assert {each["condensations"] for each in view.json()} == {2}
    assert path.read_bytes() == before


def test_a_file_in_a_folder_that_cannot_be_written_is_served(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    copy = folder / "satm.db"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o444)
    folder.chmod(0o555)
    try:
        (answer,) = answers(copy, "/satm/sets.json?_shape=array")
        assert len(answer.json()) > 0
        assert [each.name for each in folder.iterdir()] == ["satm.db"]
    finally:
        folder.chmod(0o755)


def test_what_cannot_be_served_is_one_line(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", str(tmp_path / "missing.db")]) == 1
    assert "missing.db" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", str(path), "--port", str(port)]) == 2
    assert re.fullmatch(rf"error: 127\.0\.0\.1 port {port} cannot be used: .*\n", capsys.readouterr().err)
    monkeypatch.setitem(sys.modules, "datasette.app", None)
    assert run(["serve", str(path)]) == 2
    assert capsys.readouterr().err == (
        "error: datasette is not installed; install it with: pip install 'satm[serve]'\n"
    )


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8001", 200), ("localhost:8001", 200), ("[::1]:8001", 200), ("evil.example:8001", 403), ("", 403)],
)
def test_a_name_that_another_page_gave_this_machine_is_refused(host: str, status: int) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    guarded = _only_for(("127.0.0.1", "localhost", "::1"), app)
    asyncio.run(guarded({"headers": [(b"host", host.encode())]}, None, send))
    assert sent[0]["status"] == status


@pytest.fixture
def served(path: Path) -> Iterator[str]:
    """The address of `satm serve`, which then ends by Ctrl-C."""
    program = "import sys; from satm.cli import main; sys.argv = ['satm', *sys.argv[1:]]; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "serve", str(path), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r" at (http://127\.0\.0\.1:\d+/satm); Ctrl-C ends it", said)
    try:
        assert found, said
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "ended; nothing was changed\n", "")


@pytest.mark.slow
def test_a_browser_shows_pictures_facets_and_names_and_ctrl_c_ends_the_server(served: str) -> None:
    wrong: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.goto(f"{served}/sets")
        page.wait_for_function("[...document.images].length > 2 && [...document.images].every(i => i.naturalWidth > 0)")
        assert page.get_by_text(ATTACK).count() > 0
        page.locator(".facet-results a", has_text="smoke").first.wait_for()
        if folder := os.environ.get("SATM_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / "serve.png", full_page=True)
        page.goto(f"{served}/gallery")
        assert page.locator("td.col-grid img").count() == 4
    assert wrong == []
