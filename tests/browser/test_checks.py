"""The checks themselves: a sound page has no faults, and each fault that is put into it is found."""

import pytest
from opened import PHONE, WIDE, faults_of

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
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
<p id="pale">A first paragraph for a fault</p><p id="faded">A second one</p><p id="night">A third one</p>
<p id="held">A fourth one</p><p id="tiny">A fifth one</p><p>A last one</p>
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
FIGURE = """<svg id="{id}" role="img" aria-label="A figure" width="200" height="60" viewBox="0 0 200 60">
<rect x="0" y="0" width="90" height="40" fill="#0072b2"/>{text}</svg>"""
LABEL = '<text id="{id}" x="{x}" y="25" fill="{fill}">on blue</text>'
FAULTS = {  # what is put where; what the checks then say
    "a box wider than the page": ("body", "<div id='broad' style='width: 2000px'>x</div>", "px wide in 390: div#broad"),
    "a word wider than a phone": ("body", f"<p id='long'>{'w' * 60}</p>", "; p#long"),
    "two lines on one another": (
        "body",
        "<p id='up'>An upper line</p><p style='margin-top: -2.2em'>A lower line</p>",
        'overlap: p#up "An upper line" overlaps',
    ),
    "labels of a figure on one another": (
        "body",
        FIGURE.format(
            id="close", text=LABEL.format(id="a", x=5, fill="#fff") + LABEL.format(id="b", x=40, fill="#fff")
        ),
        'overlap: text#a "on blue" overlaps text#b',
    ),
    "text out of its box": (
        "body",
        "<div id='low' style='height: 30px; overflow: hidden'><p>One</p><p>Two</p></div>",
        'cut: div#low > p "Two" is cut off by div#low',
    ),
    "text out of its figure": (
        "body",
        FIGURE.format(id="out", text=LABEL.format(id="c", x=170, fill="currentColor")),
        'cut: text#c "on blue" is cut off by svg#out',
    ),
    "a column of letters": (
        "body",
        "<p id='thin' style='width: 1em; overflow-wrap: anywhere'>letters</p>",
        'squeezed: p#thin "letters" is set in',
    ),
    "small letters": ("style", "#tiny { font-size: 8px; }", "small: p#tiny"),
    "small letters of a figure": (
        "body",
        FIGURE.format(id="shrunk", text=LABEL.format(id="d", x=5, fill="#fff")).replace('"200"', '"80"'),
        "small: text#d",
    ),
    "pale text": ("style", "#pale { color: #888; }", "contrast: p#pale"),
    "faded text": ("style", "#faded { opacity: 0.5; }", "contrast: p#faded"),
    "text that is not for the dark": ("style", "#night { color: #222; }", "dark: contrast: p#night"),
    "pale text inside what is folded": ("style", "#inside { color: #999; }", "contrast: p#inside"),
    "text on a colour of a figure": (
        "body",
        FIGURE.format(id="blue", text=LABEL.format(id="e", x=5, fill="#222")),
        "contrast: text#e",
    ),
    "a picture without alt": ("body", f"text<img id='mute' src='{PIXEL}'>", "img#mute has no alt"),
    "a picture without words": ("body", f"<div><img id='bare' alt='' src='{PIXEL}'></div>", "img#bare has no alt"),
    "a picture that is not there": (
        "body",
        "<img id='gap' alt='A' src='data:image/gif;base64,x'>",
        "img#gap does not load",
    ),
    "a figure without words": ("body", "<svg id='nameless' width='9' height='9'></svg>", "svg#nameless has no name"),
    "a heading left out": ("body", "<h4 id='deep'>Deep</h4>", 'h4#deep "Deep" follows h2'),
    "an address outside": ("body", "<a href='https://example.org'>out</a>", "leads out of the page"),
    "an address that is not there": ("body", "<a href='#gone'>gone</a>", "leads to #gone"),
    "an id used twice": ("body", "<p id='part'>again</p>", "ids used twice: part"),
    "text that cannot be selected": ("style", "#held { user-select: none; }", 'p#held "A fourth one" has user-select'),
    "a button too small": ("body", "<button id='dot' style='min-height: 0; height: 15px'>x</button>", "button#dot"),
    "a control without a ring": (
        "body",
        "<button id='dull' style='outline: none'>x</button>",
        'button#dull "x" does not show',
    ),
    "a control out of the keyboard's reach": (
        "body",
        "<button id='lost' tabindex='-2'>x</button>",
        'button#lost "x" is not reached by the Tab key',
    ),
    "a script that talks": ("script", "console.log('hello');", "console log: hello"),
    "a question": ("script", "alert('hello');", "dialog: hello"),
    "a script that fails": ("script", "nothing.there();", "error: nothing is not defined"),
    "a request": ("body", "<img alt='A' src='http://127.0.0.1:9/a.png'>", "request: http://127.0.0.1:9/a.png"),
    "a file beside it": ("body", "<img alt='A' src='beside.png'>", "beside.png"),
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


@pytest.fixture(scope="module")
def found(reader, tmp_path_factory):
    """What the checks say of a page with every fault."""
    page = SOUND
    for where, what, _ in FAULTS.values():
        mark = {"body": "<!--body-->", "style": "/*style*/", "script": "/*script*/"}[where]
        page = page.replace(mark, what + mark)
    path = tmp_path_factory.mktemp("faults") / "page.html"
    path.write_text(page, encoding="utf-8")
    return faults_of(reader, path)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(found, fault):
    assert any(FAULTS[fault][2] in line for line in found), "\n".join(found)


def test_what_a_policy_stops_is_found(reader, page_of):
    policy = "<meta http-equiv='Content-Security-Policy' content=\"script-src 'none'\">"
    found = faults_of(reader, page_of(SOUND.replace("<title>", policy + "<title>")), widths=(PHONE,))
    assert any("script-src-elem: inline" in line for line in found), "\n".join(found)


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
