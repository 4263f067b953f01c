"""Text that data may contain and that a page must show and never obey: captions, names of files, classes and runs."""

from dataclasses import dataclass

RAN = "askewWasHere=1"  # what every payload tries to do: browser/opened.py looks for this global
NOWHERE = "http://127.0.0.1:9"  # what every payload that asks a network asks for


@dataclass(frozen=True)
class Hostile:
    """A string, and what a reader of a page sees of it.

    Attributes:
        raw: as it comes from data.
        shown: as it stands on a page, spaces collapsed; the beginning of it if it is too long to be shown whole.
    """

    raw: str
    shown: str


def _as_it_is(text: str) -> Hostile:
    return Hostile(text, text)


HOSTILE = {
    # markup
    "a script": _as_it_is(f"<script>{RAN}</script>"),
    "a script of another file": _as_it_is(f"<script src={NOWHERE}/a.js></script>"),
    "a handler": _as_it_is(f"<img src=x onerror={RAN}>"),
    "a handler in a drawing": _as_it_is(f"<svg onload={RAN}><animate onbegin={RAN} attributeName=x dur=1s>"),
    "a folded part": _as_it_is(f"<details open ontoggle={RAN}>"),
    "a frame": _as_it_is(f'<iframe srcdoc="<script>parent.{RAN}</script>">'),
    "another address": _as_it_is(f'<meta http-equiv="refresh" content="0;url={NOWHERE}">'),
    "another base": _as_it_is(f'<base href="{NOWHERE}/">'),
    "another style": _as_it_is(
        f"<link rel=stylesheet href={NOWHERE}/a.css><style>@import '{NOWHERE}/b.css'; *{{display:none}}"
    ),
    "the end of the style": _as_it_is(f"</style><script>{RAN}</script>"),
    "the end of the title": _as_it_is(f"</title><script>{RAN}</script>"),
    "the end of the script": _as_it_is(f"</script><script>{RAN}</script>"),
    "the end of a text area": _as_it_is(f"</textarea></select></option><script>{RAN}</script>"),
    "a comment": _as_it_is(f"--><script>{RAN}</script><!--"),
    "the end of a comment": _as_it_is(f"--!><script>{RAN}</script>"),
    "the end of a drawing": _as_it_is(f"]]></text></svg><script>{RAN}</script>"),
    "an entity of XML": _as_it_is('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>&b;'),
    "nested markup": _as_it_is(f"<scr<script>ipt>{RAN}</scr</script>ipt>"),
    "a form": _as_it_is(f'<form action="{NOWHERE}"><button autofocus onfocus={RAN}>'),
    # quotes, addresses, entities, templates
    "a double quote": _as_it_is(f'"><img src=x onerror="{RAN}">'),
    "a single quote": _as_it_is(f"'><img src=x onerror='{RAN}'>"),
    "an attribute": _as_it_is(f'" autofocus tabindex=1 onfocus="{RAN}'),
    "a back quote": _as_it_is(f"`${{{RAN}}}`"),
    "an address that runs": _as_it_is(f"javascript:{RAN}"),
    "an address of data": _as_it_is(f"data:text/html,<script>{RAN}</script>"),
    "entities": _as_it_is(f"&lt;script&gt;{RAN}&lt;/script&gt; &amp;amp; &#60;b&#62; &copy &nbsp;"),
    "a template": _as_it_is("{{7*7}} {% raw %} {# a #} ${7*7} #{7*7} <%= 7*7 %>"),
    "JSON inside a script": _as_it_is(f'"}}]; {RAN}; [{{"'),
    "percent signs": _as_it_is("%3Cscript%3E %s %d %(name)s {0} {name}"),
    # figures, spreadsheets, terminals
    "mathematics": _as_it_is(r"$\frac{1}{0}$ $x$ \alpha $"),
    "mathematics that fails": _as_it_is(r"$\notacommand{$"),
    "a hidden label": _as_it_is("_nolegend_"),
    "a formula": _as_it_is('=HYPERLINK("http://127.0.0.1:9","open")'),
    "a formula with a plus": _as_it_is("+1+cmd|' /C calc'!A0"),
    "console markup": _as_it_is("[bold red]loud[/bold red] [link=http://127.0.0.1:9]here[/link] [/]"),
    "a control code of terminals": Hostile("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
    "control codes": Hostile("a\x00b\x08c\rd\ne\tf\x7fg\x85h", r"a\x00b\x08c\rd\ne\tf\x7fg\x85h"),
    # letters
    "right to left by force": Hostile("photo\u202egnp.exe", r"photo\u202egnp.exe"),
    "an isolate that is not closed": Hostile("\u2067abc (1)\u2066", r"\u2067abc (1)\u2066"),
    "right to left": _as_it_is("שלום <b>עולם</b> 123"),
    "no width": Hostile("pass\u200bword\u00ad\u2060\ufeffend", r"pass\u200bword\xad\u2060\ufeffend"),
    "letters that show nothing": Hostile("a\u3164b\u2800c", r"a\u3164b\u2800c"),
    "half a letter": Hostile("half \ude00 \udcff", r"half \ude00 \udcff"),
    "no letter": Hostile("\ufffe\uffff\U000e0041", r"\ufffe\uffff\U000e0041"),
    "a flag, a family": Hostile("🇯🇵 👩\u200d🚀 凧 é", r"🇯🇵 👩\u200d🚀 凧 é"),
    "marks on marks": _as_it_is("Z" + "\u0334\u0321\u0330" * 8 + "algo"),
    "lines of Unicode": Hostile("one\u2028two\u2029three", r"one\u2028two\u2029three"),
    # lengths
    "a long word": _as_it_is("w" * 300),
    "a word without end": Hostile("W" * 20_000, "W" * 100),
    "many words": Hostile("very " * 5_000, "very " * 50),
    "nothing": Hostile("", ""),
    "spaces": Hostile("   ", ""),
}
RAW = [one.raw for one in HOSTILE.values()]
