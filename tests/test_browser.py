"""The pages and the pictures in a real browser: no complaint, no request, nothing cut off, and the replay works."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from diagrams import generate, page, svg
from diagrams.model import identifiers
from diagrams.way import Way
from lifecycle.tables import TABLES
from tests.servers.chromium import Chromium, Page
from tests.test_diagrams import EVIL, failing
from tests.test_page import JOURNALS, of, saved

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.server("chromium"), pytest.mark.slow]

LOOKS = [(1280, False), (1280, True), (400, False), (400, True)]

OVERFLOWING = """
(width) => [...document.querySelectorAll("main *:not(svg *, figure *, .long *)")].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width && (box.right > width + 0.5 || box.left < -0.5);
}).map((one) => one.outerHTML.slice(0, 80))
"""
WORDS = ".figures dd, .name:not(.long .name), .num:not(.long .num), .player label, .player button, .verdict, h1, h2"
OVERFULL = f"""
[...document.querySelectorAll("{WORDS}")].filter(
  (one) => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== "inline"
).map((one) => one.outerHTML.slice(0, 80))
"""
DIM = "[...document.querySelectorAll('figure g.away, figure g.off')].map((one) => one.id)"
HERE = "[...document.querySelectorAll('figure g.now')].map((one) => one.id)"
FUTURE = "document.querySelectorAll('.future').length"
SAID = "document.querySelector('.player output').innerText"
BACK, PLAY, FORTH = (f".player button:nth-of-type({n})" for n in (1, 2, 3))


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(lines: list[dict[str, Any]]) -> Path:
        (tmp_path / "page.html").write_text(page.render(*of(lines)))
        return tmp_path / "page.html"

    return write


def dimmed(lines: list[dict[str, Any]]) -> set[str | None]:
    """What the drawing of the way dims, before any script."""
    groups = ET.fromstring(svg.render(*of(lines))).iter("{http://www.w3.org/2000/svg}g")
    return {one.get("id") for one in groups if one.get("class") in ("away", "off")}


def sound(tab: Page, file: Path) -> None:
    """What holds for every page."""
    assert tab.complaints == []
    assert tab.requests == [file.resolve().as_uri()]
    # Not innerWidth: a phone shows the whole of a page that is too wide for it, and makes everything smaller.
    assert tab.run("document.documentElement.scrollWidth") <= tab.width
    assert tab.run(f"({OVERFLOWING})({tab.width})") == []
    assert tab.run(OVERFULL) == []


@pytest.mark.parametrize("name", JOURNALS)
@pytest.mark.parametrize(("width", "dark"), LOOKS, ids=str)
def test_a_page_is_sound(
    name: str, width: int, *, dark: bool, chromium: Chromium, written: Any, tmp_path: Path
) -> None:
    file = written(JOURNALS[name](tmp_path))
    with Page(chromium, width=width, dark=dark) as tab:
        tab.open(file)
        sound(tab, file)
        ground = tab.run("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) < 3 * 128) is dark
        assert tab.run("document.querySelector('.player').hidden") is False


def test_the_way_is_gone_step_by_step(chromium: Chromium, written: Any, tmp_path: Path) -> None:
    lines = JOURNALS["failed"](tmp_path)
    table, _ = of(lines)
    ids = {f"wait-state-{name}": state for state, name in identifiers(table).items()}
    file = written(lines)
    with Page(chromium) as tab:
        tab.open(file)
        assert (set(tab.run(DIM)), tab.run(HERE), tab.run(FUTURE)) == (dimmed(lines), [], 0)
        tab.click(".player label:nth-of-type(2)")  # transitions
        seen = []
        for _ in range(tab.run("document.querySelectorAll('#steps > .enter, #steps > .leave, #steps > .end').length")):
            tab.click(BACK)
            seen += [ids[one] for one in tab.run(HERE) if ids[one] in table]
        assert list(dict.fromkeys(reversed(seen))) == list(Way.read(table, lines).visits)
        assert "wait-state-saving" in tab.run(DIM)
        rows = tab.run("document.querySelectorAll('#items li, #tracks > [data-step]').length")
        assert tab.run(FUTURE) == rows - 1, "all but the phase that it is in"
        tab.click(".player label:nth-of-type(3)")  # trouble
        told = []
        for _ in range(sum(one["kind"] in ("attempt", "failure") for one in lines) + 1):  # and the item that failed
            assert tab.run(f"document.querySelector('{FORTH}').disabled") is False
            tab.click(FORTH)
            told.append(tab.run(SAID))
        assert tab.run(f"document.querySelector('{FORTH}').disabled") is True
        assert any("503 slow down" in one for one in told)
        tab.click(".player label:nth-of-type(1)")
        tab.run("document.activeElement.blur()")
        for _ in lines:
            tab.press("ArrowRight")
        assert (set(tab.run(DIM)), tab.run(HERE), tab.run(FUTURE)) == (dimmed(lines), [], 0)
        sound(tab, file)


def test_it_plays_to_the_end_and_can_be_jumped_in(chromium: Chromium, written: Any, tmp_path: Path) -> None:
    file = written(saved(tmp_path))
    with Page(chromium) as tab:
        tab.open(file)
        # A timer that the test turns: no second of it is waited for.
        tab.run(
            "window.turn = 0; window.setInterval = (work) => ((window.turn = work), 7); window.clearInterval = () => {}"
        )
        tab.click(PLAY)
        assert "begins" in tab.run(SAID)
        steps = tab.run("document.querySelectorAll('#steps > li').length")
        for _ in range(steps):
            tab.run("turn()")
        assert "succeeded" in tab.run(SAID)
        assert tab.run(f"document.querySelector('{PLAY}').getAttribute('aria-label')") == "play"
        tab.click("#steps > li:nth-child(2)")
        assert f"2 of {steps}" in tab.run(SAID)
        assert tab.run(HERE) == ["wait-state-waiting"]


def test_a_hostile_journal_does_nothing(chromium: Chromium, written: Any) -> None:
    evil = f'{EVIL}<img src=x onerror="window.harm=1"><script>window.harm=1</script>" onclick="window.harm=1'
    file = written(failing(evil))
    with Page(chromium) as tab:
        tab.open(file)
        for _ in range(12):
            tab.click(BACK)
        sound(tab, file)
        assert tab.run("typeof window.harm") == "undefined"
        assert tab.run("document.querySelectorAll('img, script:not(main + script)').length") == 0
        # And if something of it were parsed after all, the policy would not let it run.
        tab.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.harm=1\">')")
        tab.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.harm=1'}))")
        assert tab.run("typeof window.harm") == "undefined"
        assert any("Content Security Policy" in one for one in tab.complaints)


def test_without_scripts_it_is_a_page_to_read(chromium: Chromium, written: Any, tmp_path: Path) -> None:
    file = written(saved(tmp_path))
    with Page(chromium) as tab:
        tab.call("Emulation.setScriptExecutionDisabled", value=True)
        tab.open(file)
        sound(tab, file)
        assert tab.run("document.querySelector('.player').hidden") is True
        assert tab.run("document.querySelector('.find').hidden") is True
        assert "succeeded after" in tab.run("document.body.innerText")


def test_five_thousand_items_stay_usable(chromium: Chromium, written: Any, tmp_path: Path) -> None:
    """A step costs a fraction of the first sight of the page, however many rows there are."""
    file = written(saved(tmp_path, 5000))
    with Page(chromium) as tab:
        tab.open(file)
        sound(tab, file)
        opened = tab.run("performance.getEntriesByType('navigation')[0].loadEventEnd")
        stepped = tab.run(
            "(() => { const began = performance.now();"
            f"for (let n = 0; n < 20; n++) {{ document.querySelector('{BACK}').click(); document.body.offsetHeight; }}"
            "return (performance.now() - began) / 20 })()"
        )
        assert stepped < opened / 4
        tab.run("document.querySelector('.find input').focus()")
        tab.call("Input.insertText", text="part-4321")
        assert tab.run("document.querySelectorAll('#items li:not([hidden])').length") == 1


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_picture_is_sound(name: str, *, dark: bool, chromium: Chromium) -> None:
    file = generate.HERE / f"{name}.svg"
    with Page(chromium, dark=dark) as tab:
        tab.open(file)
        assert tab.complaints == []
        assert tab.requests == [file.resolve().as_uri()]
        assert tab.run(TEXT_OUTSIDE) == []
        assert tab.run(TEXT_ON_TEXT) == []


def test_a_picture_of_a_way_is_sound(chromium: Chromium, tmp_path: Path) -> None:
    file = tmp_path / "way.svg"
    table, lines = of(JOURNALS["restarted"](tmp_path))
    file.write_text(svg.render(table, lines))
    with Page(chromium) as tab:
        tab.open(file)
        assert tab.complaints == []
        assert tab.run(TEXT_OUTSIDE) == []
        assert tab.run(TEXT_ON_TEXT) == []


TEXT_OUTSIDE = """
[...document.querySelectorAll("text")].filter((one) => {
  const box = one.getBoundingClientRect(), ground = document.documentElement.getBoundingClientRect();
  const card = one.parentElement.querySelector(":scope > rect.card");
  const room = card && !one.classList.contains("badge-text") ? card.getBoundingClientRect() : ground;
  return box.left < room.left || box.right > room.right || box.top < room.top || box.bottom > room.bottom + 1;
}).map((one) => one.textContent)
"""
TEXT_ON_TEXT = """
(() => {
  const all = [...document.querySelectorAll("text")].map((one) => [one.textContent, one.getBoundingClientRect()]);
  const found = [];
  all.forEach(([a, one], n) => all.slice(n + 1).forEach(([b, other]) => {
    const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
    const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
    if (wide > 1 && high > 4) found.push([a, b]);
  }));
  return found;
})()
"""
