"""The checks themselves: a sound page has no faults, and each fault that is put into it is found."""

import pytest
from opened import PHONE, WIDE, faults_of

SOUND = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sound</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; }
body { margin: 16px; font: 16px/1.5 "DejaVu Sans", sans-serif; color: #222; background: #fff; }
.wide { overflow-x: auto; }
button { min-width: 40px; min-height: 40px; color: inherit; background: transparent; border: 1px solid; }
svg { color: inherit; }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #111; } }
/*style*/
</style></head><body><main>
<h1>A page</h1><h2 id="part">A part</h2>
<p id="words">Some words that are long enough to be set in several lines on a phone, and are read there.</p>
<div class="wide" tabindex="0"><table><tr><th>A column</th></tr><tr><td>WWWWWWWWWWWWWWWWWWWWWWWWWWWWWW</td></tr>
</table></div>
<img alt="A pixel" src="data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7">
<svg role="img" aria-label="A figure" width="200" height="60" viewBox="0 0 200 60">
<rect x="0" y="0" width="90" height="40" fill="#0072b2"/><text id="on" x="5" y="25" fill="#fff">on blue</text>
<text id="off" x="100" y="25" fill="currentColor">off blue</text>
<text id="turned" transform="translate(195,50) rotate(-90)" fill="currentColor" font-size="12">up</text></svg>
<details><summary style="padding: 8px">More</summary><p id="inside">Inside</p></details>
<button>Press</button>
<!--body-->
</main><script>/*script*/</script></body></html>
"""
FAULTS = {  # what is put where; what the checks then say
    "a box wider than the page": ("<!--body-->", "<div style='width: 2000px'>x</div>", "overflow: the page is"),
    "a word wider than a phone": ("<!--body-->", f"<p id='long'>{'w' * 60}</p>", "390 px: overflow"),
    "two lines on one another": (
        "<!--body-->",
        "<p id='up'>An upper line</p><p style='margin-top: -2.2em'>A lower line</p>",
        'overlap: p#up "An upper line" overlaps',
    ),
    "labels of a figure on one another": (
        '<text id="off" x="100"',
        '<text id="off" x="40"',
        'overlap: text#on "on blue" overlaps text#off',
    ),
    "text out of its box": (
        "<!--body-->",
        "<div id='low' style='height: 30px; overflow: hidden'><p>One</p><p>Two</p></div>",
        'cut: div#low > p "Two" is cut off by div#low',
    ),
    "text out of its figure": ('x="100" y="25"', 'x="170" y="25"', 'cut: text#off "off blue" is cut off by main > svg'),
    "a column of letters": (
        "<!--body-->",
        "<p id='thin' style='width: 1em; overflow-wrap: anywhere'>letters</p>",
        'squeezed: p#thin "letters" is set in',
    ),
    "small letters": ("/*style*/", "#words { font-size: 8px; }", "small: p#words"),
    "small letters of a figure": ('width="200" height="60"', 'width="80" height="24"', "small: text#on"),
    "pale text": ("/*style*/", "#words { color: #888; }", "contrast: p#words"),
    "faded text": ("/*style*/", "#words { opacity: 0.5; }", "contrast: p#words"),
    "text that is not for the dark": ("/*style*/", "#words { color: #222; }", "dark: contrast: p#words"),
    "pale text inside what is folded": ("/*style*/", "#inside { color: #999; }", "contrast: p#inside"),
    "text on a colour of a figure": ('fill="#fff"', 'fill="#000" fill-opacity="0.6"', "contrast: text#on"),
    "a picture without alt": ('alt="A pixel"', "", "img has no alt"),
    "a picture without words": ('<img alt="A pixel"', '<div></div><div><img alt=""', "img has no alt"),
    "a picture that is not there": ("R0lGODlh", "xxxx", "img does not load"),
    "a figure without words": ('role="img" aria-label="A figure"', "", "svg has no name"),
    "a heading left out": ("<h2", "<h4", "follows h1"),
    "an address outside": ("<!--body-->", "<a href='https://example.org'>out</a>", "leads out of the page"),
    "an address that is not there": ("<!--body-->", "<a href='#gone'>gone</a>", "leads to #gone"),
    "an id used twice": ("<!--body-->", "<p id='part'>again</p>", "ids used twice: part"),
    "text that cannot be selected": ("/*style*/", "#words { user-select: none; }", "user-select: none"),
    "a button too small": ("/*style*/", "button { min-height: 0; height: 15px; padding: 0; }", "small for a thumb"),
    "a control without a ring": ("/*style*/", "button:focus { outline: none; }", "does not show the focus"),
    "a control out of the keyboard's reach": ("<button>", "<button tabindex='-2'>", "is not reached by the Tab key"),
    "a script that talks": ("/*script*/", "console.log('hello')", "console log: hello"),
    "a script that fails": ("/*script*/", "nothing.there()", "error: nothing is not defined"),
    "a question": ("/*script*/", "alert('hello')", "dialog: hello"),
    "a request": ("<!--body-->", "<img alt='A' src='http://127.0.0.1:9/a.png'>", "request: http://127.0.0.1:9/a.png"),
    "a file beside it": ("<!--body-->", "<img alt='A' src='beside.png'>", "beside.png"),
    "a policy that stops something": (
        "<title>",
        "<meta http-equiv='Content-Security-Policy' content=\"script-src 'none'\"><title>",
        "script-src-elem: inline",
    ),
}


@pytest.fixture
def page_of(tmp_path):
    """Writes a page's text to a file."""

    def write(text, name="page.html"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_sound_page_has_no_faults(reader, page_of):
    assert faults_of(reader, page_of(SOUND)) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(reader, page_of, fault):
    old, new, expected = FAULTS[fault]
    assert SOUND.count(old) == 1
    found = faults_of(reader, page_of(SOUND.replace(old, new)), widths=(PHONE,))
    assert any(expected in line for line in found), found


def test_a_mouse_selects_text(reader, page_of):
    assert reader.open(page_of(SOUND)).drag_selects("#words").startswith("Some words")
    covered = SOUND.replace("<!--body-->", "<div style='position: fixed; inset: 0'></div>")
    assert reader.open(page_of(covered)).drag_selects("#words") == ""


def test_a_folded_part_is_not_read(reader, page_of):
    """What is not shown cannot overlap, be cut or be pale."""
    pale = SOUND.replace("/*style*/", "#inside { color: #999; }")
    assert faults_of(reader, page_of(pale), widths=(WIDE,), unfold=False) == []


@pytest.mark.parametrize(("width", "dark"), [(PHONE, True), (WIDE, False)])
def test_a_page_is_opened_as_asked(reader, page_of, width, dark):
    one = reader.open(page_of(SOUND), width, dark)
    assert one.page.evaluate("innerWidth") == width
    assert one.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is dark
    assert one.page.evaluate("navigator.onLine") is False
    assert not one.ran()
