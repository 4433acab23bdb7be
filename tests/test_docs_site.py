"""The documentation as a site: it builds, every link leads somewhere, nothing comes from outside, and it works in a browser and on a phone."""

from __future__ import annotations

import functools
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from page_visit import Visit, browser, until  # noqa: F401  (a fixture)

from electra import __all__ as api
from electra import cli, config, settings

sys.path.append(str(ROOT / "tools"))
import docs_site


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("docs") / "site"
    assert docs_site.build(target) == []
    return target


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def test_every_page_and_every_setting_is_in_the_site(site: Path) -> None:
    for page in docs_site.pages().values():
        assert (site / ("" if page == "index.md" else page.removesuffix(".md")) / "index.html").is_file(), page
    for name, command in cli.COMMANDS.items():
        text = (site / "reference" / "commands" / name / "index.html").read_text(encoding="utf-8")
        missing = [
            ".".join(path) for path, _, _ in config.leaves(getattr(settings, command.settings)) if f"<code>{'.'.join(path)}</code>" not in text
        ]
        assert missing == [], name
    text = (site / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    assert [name for name in api if f'id="{name.lower()}"' not in text and f'id="electra{name.lower()}"' not in text] == []


def test_every_page_has_a_place_in_the_navigation() -> None:
    text = (ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8")
    linked = {"pull-request.md", "agents.md", "bench.md"}
    assert [page for page in docs_site.pages().values() if f'"{page}"' not in text and page not in linked] == []


def test_a_planted_error_is_reported(site: Path, tmp_path: Path) -> None:
    """A page that does not exist, a title that does not, a script and a picture from outside: each is one line."""
    wrong = tmp_path / "site"
    shutil.copytree(site, wrong)
    page = wrong / "finetune" / "index.html"
    planted = '<a href="../nowhere/">a</a><a href="../pretrain/#no-such-title">b</a><script src="https://example.org/a.js"></script>'
    page.write_text(page.read_text(encoding="utf-8").replace("</main>", planted + '<img src="//example.org/b.png"></main>', 1), encoding="utf-8")
    assert sorted(docs_site.problems(wrong)) == [
        "finetune/index.html: ../nowhere/ leads nowhere",
        "finetune/index.html: ../pretrain/#no-such-title: no such title",
        "finetune/index.html: fetches //example.org/b.png from outside",
        "finetune/index.html: fetches https://example.org/a.js from outside",
    ]


def test_links_of_the_repository_become_links_of_the_site(tmp_path: Path) -> None:
    source = docs_site.Source(tmp_path)
    for link, page, place, expected in (
        ("docs/serve.md#limits", "README.md", "index.md", "serve.md#limits"),
        ("../README.md", "docs/serve.md", "serve.md", "index.md"),
        ("#limits", "docs/serve.md", "serve.md", "#limits"),
        ("https://example.org/a.md", "docs/serve.md", "serve.md", "https://example.org/a.md"),
        ("../LICENSE", "docs/serve.md", "serve.md", "files/LICENSE"),
        ("images/page-ask.png", "docs/serve.md", "serve.md", "images/page-ask.png"),
        ("../ops/README.md", "docs/serve.md", "reference/x.md", "../ops.md"),
    ):
        assert source.moved(link, page, place) == expected
    assert (tmp_path / "pages" / "files" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_in_a_browser(browser: Any, address: str, width: int, scheme: str) -> None:  # noqa: F811
    """No request leaves the machine, no page is wider than the window, the other colours come by a click."""
    with Visit(browser, address, viewport={"width": width, "height": 844}, color_scheme=scheme) as visit:
        page = visit.page
        for path in ("", "finetune/", "performance/", "compatibility/", "reference/python/", "reference/commands/pretrain/", "examples/"):
            page.goto(address + path)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        now = page.evaluate("document.body.dataset.mdColorScheme")
        assert now == ("slate" if scheme == "dark" else "default")
        page.locator("label[for^=__palette]:visible").first.click()
        until(page, f"document.body.dataset.mdColorScheme !== '{now}'")
        assert visit.complaints == [] and visit.foreign == []


def test_search_finds_a_page(browser: Any, address: str) -> None:  # noqa: F811
    with Visit(browser, address, viewport={"width": 1280, "height": 844}) as visit:
        page = visit.page
        page.get_by_role("button", name="Search").first.click()
        page.keyboard.type("hard negatives", delay=20)
        found = page.locator("a[href*=embeddings]").filter(has_text="negatives").first
        found.wait_for()
        found.click()
        page.wait_for_url("**/embeddings/**")
        assert visit.complaints == [] and visit.foreign == []
