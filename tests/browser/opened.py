"""A page of askew in Chromium, as a reader opens it: from a file, offline; and what is wrong with it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "scripts" / "install_chromium.sh"
CHECKS = (HERE / "checks.js").read_text(encoding="utf-8")
PHONE, WIDE = 390, 1440  # CSS pixels
HEIGHTS = {PHONE: 844, WIDE: 900}
TABS = 40  # at most so many presses of the Tab key
PAYLOAD = "askewWasHere"  # the global that every hostile string tries to set
WATCH = """
addEventListener("securitypolicyviolation", (event) => {
  (window.askewViolations ??= []).push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
"""


def chromium() -> str | None:
    """The browser that scripts/install_chromium.sh finds."""
    shell = shutil.which("sh")
    if shell is None:
        return os.environ.get("CHROMIUM")
    found = subprocess.run([shell, str(SCRIPT), "--find"], capture_output=True, text=True)
    return found.stdout.strip() or None


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium without a window. Skips the test where there is none, and fails it where ASKEW_NEEDS_CHROMIUM=1."""
    path = chromium()
    if path is None:
        line = "no Chromium: run scripts/install_chromium.sh"
        (pytest.fail if os.environ.get("ASKEW_NEEDS_CHROMIUM") == "1" else pytest.skip)(line)
    with sync_playwright() as playwright:
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's sandbox refuses root
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if is_root else [])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Opened:
    """A page in Chromium, and everything that it did besides being there."""

    page: Page
    path: Path
    incidents: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note scripts that talk, fail or ask, requests of anything but the file itself, and windows that open."""
        note = self.incidents.append
        self.page.on("console", lambda message: note(f"console {message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: note(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (note(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("popup", lambda popup: (note(f"a window: {popup.url}"), popup.close()))
        self.page.on("download", lambda download: note(f"a download: {download.url}"))
        self.page.on("worker", lambda worker: note(f"a worker: {worker.url}"))
        self.page.on("request", self._note_request)

    def _note_request(self, request: Request) -> None:
        address = request.url.split("#")[0]
        if not address.startswith(("data:", "about:blank")) and address != self.path.as_uri():
            self.incidents.append(f"request: {request.url[:200]}")

    def dark(self, dark: bool = True) -> None:
        """As a reader whose system is set to dark, or light, sees it."""
        self.page.emulate_media(color_scheme="dark" if dark else "light")

    def faults(self, *names: str) -> list[str]:
        """The checks of checks.js that are named, on the page as it is now."""
        return self.page.evaluate("names => askewChecks.run(names)", list(names))

    def walk(self) -> list[str]:
        """Press Tab through the page: every control is reached, and shows that it has the focus."""
        missing = []
        for _ in range(min(self.page.evaluate("askewChecks.count()") + 20, TABS)):
            self.page.keyboard.press("Tab")
            focus = self.page.evaluate("askewChecks.focused()")
            if focus is None:
                break
            if not focus["ring"]:
                missing.append(f"keyboard: {focus['name']} {focus['text']} does not show the focus")
        else:
            return missing
        return missing + [f"keyboard: {line}" for line in self.page.evaluate("askewChecks.unreached()")]

    def drag_selects(self, selector: str) -> str:
        """What dragging a mouse over the first such element selects."""
        element = self.page.locator(selector).first
        element.scroll_into_view_if_needed()
        box = element.bounding_box()
        assert box is not None, f"{selector} is not seen"
        y = box["y"] + min(box["height"] / 2, 9)  # in the first line
        self.page.mouse.move(box["x"] + 1, y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + box["width"] - 1, y, steps=3)
        self.page.mouse.up()
        return self.page.evaluate("getSelection().toString()")

    def all_seen(self, selector: str) -> list[str]:
        """The text that a reader sees in each such element, spaces collapsed."""
        texts = self.page.evaluate("s => [...document.querySelectorAll(s)].map((one) => one.innerText)", selector)
        return [" ".join(text.split()) for text in texts]

    def unfold(self) -> None:
        """Open what is folded."""
        self.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")

    def ran(self) -> bool:
        """Whether any hostile string ran as a script."""
        return self.page.evaluate(
            f"window.{PAYLOAD} !== undefined || document.documentElement.dataset.{PAYLOAD} === '1'"
        )

    def all_incidents(self) -> list[str]:
        """Everything noted so far, and what the page's security policy had to stop."""
        return self.incidents + self.page.evaluate("window.askewViolations ?? []")


class Reader:
    """Chromium with one page for each width, because a new page costs more than all its checks."""

    def __init__(self, browser: Browser):
        self.browser = browser
        self.pages: dict[int, Opened] = {}

    def open(self, path: Path, width: int = WIDE, dark: bool = False) -> Opened:
        """The page at `path`, `width` CSS pixels wide: a phone where that is narrow. It replaces the page before."""
        one = self.pages.get(width)
        if one is None:
            one = self.pages[width] = Opened(self._new_page(width), path)
            one.watch()
        one.page.goto("about:blank")  # what the page before has yet to say is not the next one's
        one.path = path.resolve()
        one.incidents.clear()
        one.dark(dark)
        one.page.goto(one.path.as_uri())
        one.page.evaluate(CHECKS)
        one.page.evaluate(LOAD)
        return one

    def _new_page(self, width: int) -> Page:
        context = self.browser.new_context(
            viewport={"width": width, "height": HEIGHTS.get(width, 900)},
            is_mobile=width < 600,
            has_touch=width < 600,
            device_scale_factor=1,
            reduced_motion="reduce",  # else a page scrolls on while a mouse is already moving
        )
        context.set_offline(True)
        context.set_default_timeout(15_000)
        context.add_init_script(WATCH)
        return context.new_page()


LOAD = """() => Promise.all([...document.images].map((one) => {
  one.loading = "eager";
  return one.decode().catch(() => {});
}))"""  # pictures that the window has not come to yet
LAYOUT = ("overflow", "overlap", "cut", "squeezed", "small")


def faults_of(reader: Reader, path: Path, widths: tuple[int, ...] = (PHONE, WIDE), unfold: bool = True) -> list[str]:
    """Everything that is wrong with a page: on a phone and on a wide screen, in light and in dark.

    Args:
        unfold: look at the page with all that a reader can unfold (`details`).
    """
    found = []
    size = path.stat().st_size
    if size > 10_000_000:
        found.append(f"{size:,} bytes: a page stays under 10 MB")
    for width in widths:
        one = reader.open(path, width)
        lines = one.faults("overflow")
        if unfold:
            one.unfold()
        lines += one.faults(*LAYOUT, "contrast", "structure", "selectable")
        lines += one.faults("targets") if width == PHONE else one.walk()
        one.dark()
        lines += [f"dark: {line}" for line in one.faults("contrast")]
        lines += one.all_incidents()
        found += [f"{width} px: {line}" for line in dict.fromkeys(lines)]
    return found


def assert_sound(reader: Reader, path: Path, widths: tuple[int, ...] = (PHONE, WIDE)) -> None:
    """Fail with one line per fault."""
    found = faults_of(reader, path, widths)
    if found:
        pytest.fail("\n".join([f"{len(found)} faults of {path.name}:", *found[:40]]), pytrace=False)
