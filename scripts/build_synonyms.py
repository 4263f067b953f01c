"""Build src/askew/assets/synonyms/synonyms.txt.xz from WordNet's data files. The result is committed.

    apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wordnet
    python scripts/build_synonyms.py wordnet/usr/share/wordnet

Each line of the table is a set of synonyms: WordNet's lemmas in lower case, separated by commas. Sets that would give
no word a synonym are left out. Function words are removed from all sets. Each gets a line of its own, so that it is
known and has no synonym: to WordNet, "a" is an angstrom and "in" is indium.
"""

import lzma
import re
import sys
from pathlib import Path

FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
OUT = Path(__file__).parents[1] / "src" / "askew" / "assets" / "synonyms" / "synonyms.txt.xz"
FUNCTION_WORDS = """
    a an the this that these those some any each every either neither no none all both few many much more most other
    another such i me my mine we us our ours you your yours he him his she her hers it its they them their theirs
    myself ourselves yourself himself herself itself themselves who whom whose which what where when why how am is
    are was were be been being have has had having do does did doing will would shall should can could may might
    must and or but nor so yet if then than because as until while although though since unless of at by for with
    about against between into through during before after above below to from up down in out on off over under
    again further once here there now just only very too not also own same near upon within without along across
    behind beside
""".split()  # noqa: SIM905


def lemmas(line: str) -> list[str]:
    """The lemmas in a line of data.*. Field 3 is their number, in hexadecimal; then follow the lemmas and their ids."""
    fields = line.split(" | ")[0].split()
    names = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
    return [re.sub(r"\((a|p|ip)\)$", "", name).lower() for name in names]  # without an adjective's position marker


def shown(lemma: str) -> str:
    """A lemma as it appears in a caption."""
    return re.sub("[^a-z ]", "", re.sub("[_-]", " ", lemma))


def main() -> None:
    """Read the data files in the folder given on the command line, and write the table."""
    folder, lines = Path(sys.argv[1]), set(FUNCTION_WORDS)
    for name in FILES:
        for line in (folder / name).read_text(encoding="ascii").splitlines():
            if line.startswith("  "):  # the licence at the start of each file
                continue
            kept = [lemma for lemma in dict.fromkeys(lemmas(line)) if lemma not in FUNCTION_WORDS and shown(lemma)]
            one_word = any("_" not in lemma for lemma in kept)
            if one_word and len({shown(lemma) for lemma in kept}) > 1:
                lines.add(",".join(sorted(kept)))
    text = "\n".join(sorted(lines)) + "\n"
    OUT.write_bytes(lzma.compress(text.encode("ascii"), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(lines):,} sets of synonyms, {len(text):,} bytes, {OUT.stat().st_size:,} packed")


if __name__ == "__main__":
    main()
