"""`report -o html` and `usage -o html` in a real browser: what it reads is what was written, and nothing runs."""

import shutil
import subprocess
from pathlib import Path

import pytest

from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WorldTransport
from tests.support.webpage import read

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--dump-dom"),
)
HOSTILE = "</title></style></svg><script>document.body.append('ran')</script><img src=http://127.0.0.1:9/ onerror=1>"


@pytest.mark.parametrize("command", ["report", "usage"])
@pytest.mark.few(1)
def test_html_opens_in_a_browser_as_it_was_written(qoder: Qoder, tmp_path: Path, command: str) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("needs chromium")
    world = World(clock=qoder.clock.now, generation="current", token=TOKEN)
    qoder.transport = WorldTransport(world, sleep=qoder.clock.sleep)
    world.start(world.add_deployment(at=world.now() - 9000, name=HOSTILE), at=world.now() - 7200)
    for hours in (2, 4):
        world.start("dep_fail", at=world.now() - hours * 3600)
    page = tmp_path / "page.html"
    page.write_text(qoder(command, "-o", "html").out, encoding="utf-8")
    words = [browser, *OPTIONS, f"--user-data-dir={tmp_path / 'browser'}", page.as_uri()]
    opened = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert "CONSOLE" not in opened.stderr, "its own rules refuse something of the page"
    written, seen = read(page.read_text("utf-8")), read(opened.stdout)
    tags = ("section", "table", "tr", "th", "td", "svg", "rect", "title", "text", "li", "a", "code", "bdi", "style")
    for tag in tags:
        assert [each.text.strip() for each in seen.all(tag)] == [each.text.strip() for each in written.all(tag)]
    assert (seen.all("script"), seen.all("img"), HOSTILE in seen.text) == ([], [], True)
