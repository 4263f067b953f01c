"""Pictures of HTML pages on a phone and on a wide screen, in light and in dark, for looking at them.

    python scripts/page_pictures.py runs/tiny-001/report.html --out pictures
    python scripts/page_pictures.py runs/tiny-001/report.html --readme docs/report.png
    python scripts/page_pictures.py runs/tiny-001/report.html --readme docs/report_map.png --section examples-0-map

The first writes NAME-390-light.png, NAME-390-dark.png, NAME-1440-light.png and NAME-1440-dark.png: whole pages, in
pieces (NAME-390-light-2.png) where they are longer than 4,000 px. The second and the third write the top of
the page, and of a section, for the README. It needs a Chromium: scripts/install_chromium.sh.
"""

import argparse
import io
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

FIND = Path(__file__).with_name("install_chromium.sh")
WIDTHS = {390: 844, 1440: 900}  # CSS pixels: width to height of the window
LOAD = """() => Promise.all([...document.images].map((one) => {
  one.loading = "eager";
  return one.decode().catch(() => {});
}))"""  # pictures that the window has not come to yet
PIECE = 4000  # px: a longer picture cannot be looked at as a whole
README_WIDTH, README_HEIGHT, README_BYTES = 1200, 1500, 300_000


@contextmanager
def window(browser: Browser, page: Path, width: int, height: int, dark: bool) -> Iterator[Page]:
    """A page in a window of that size; a phone's where it is narrow."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        is_mobile=width < 600,
        has_touch=width < 600,
    )
    context.set_offline(True)
    tab = context.new_page()
    tab.goto(page.resolve().as_uri())
    tab.evaluate(LOAD)
    yield tab
    context.close()


def write_all(browser: Browser, page: Path, folder: Path, unfold: bool) -> None:
    """All four pictures of a page, from top to bottom."""
    folder.mkdir(parents=True, exist_ok=True)
    for width, height in WIDTHS.items():
        for dark in (False, True):
            with window(browser, page, width, height, dark) as tab:
                if unfold:
                    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
                length = tab.evaluate("document.documentElement.scrollHeight")
                stem = f"{page.stem}-{width}-{'dark' if dark else 'light'}"
                for number, top in enumerate(range(0, length, PIECE), 1):
                    path = folder / f"{stem}{f'-{number}' if length > PIECE else ''}.png"
                    piece = {"x": 0, "y": top, "width": width, "height": min(PIECE, length - top)}
                    tab.screenshot(path=path, full_page=True, clip=piece)
                    print(path)


def write_readme(browser: Browser, page: Path, path: Path, section: str) -> None:
    """The top of a page or of a section of it, light, as a PNG of few colours under 300 kB."""
    with window(browser, page, README_WIDTH, README_HEIGHT, False) as tab:
        if section:
            tab.evaluate("(id) => document.getElementById(id).scrollIntoView({behavior: 'instant'})", section)
        whole = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    for colours in (256, 128, 64, 32):
        whole.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= README_BYTES:
            break
    print(f"{path}: {path.stat().st_size:,} bytes")


def main() -> None:
    """Read the command line and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path, help="HTML files")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="a folder (default: pictures)")
    parser.add_argument("--readme", type=Path, help="write the top of the first page to this PNG, and nothing else")
    parser.add_argument("--section", default="", help="with --readme: begin at the section of this id")
    parser.add_argument("--unfold", action="store_true", help="open every part that is folded")
    options = parser.parse_args()
    found = subprocess.run(["sh", FIND, "--find"], capture_output=True, text=True).stdout.strip()
    if not found:
        parser.exit(2, f"no Chromium: run {FIND}\n")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        if options.readme:
            write_readme(browser, options.pages[0], options.readme, options.section)
        else:
            for page in options.pages:
                write_all(browser, page, options.out, options.unfold)
        browser.close()


if __name__ == "__main__":
    main()
