"""The words of a caption as open_clip's tokenizer sees them, and a table of how often words occur.

`askew data words` makes a table. It is JSON: `source`, `captions`, `min_count`, `total` and `counts`.
"""

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer

from askew.errors import UserError, printable
from askew.nn.towers import END_TOKEN

START_TOKEN = END_TOKEN - 1


@cache
def tokenizer() -> SimpleTokenizer:
    """The one tokenizer of this process. It takes 0.2 s and 20 MB to make."""
    return SimpleTokenizer()


@lru_cache(maxsize=8_192)
def words_of(caption: str) -> tuple[str, ...]:
    """The words of a caption, cleaned and in lower case: runs of letters, single digits, runs of other signs."""
    return tuple(tokenizer().pat.findall(tokenizer().clean_fn(caption)))


@lru_cache(maxsize=65_536)
def ids_of(word: str) -> tuple[int, ...]:
    """The token ids of one of `words_of`. Those of a caption are the ids of its words, one after the other."""
    one = tokenizer()
    letters = "".join(one.byte_encoder[byte] for byte in word.encode("utf-8"))
    return tuple(one.encoder[part] for part in one.bpe(letters).split(" "))


@dataclass(frozen=True)
class WordCounts:
    """How often the words of a source's captions occur.

    Attributes:
        source: what was counted, in a few words.
        captions: how many captions were counted.
        min_count: rarer words are left out, also of `total`; CLIPF has 5.
        counts: by word.
    """

    source: str
    captions: int
    min_count: int
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """Occurrences of all words in the table."""
        return sum(self.counts.values())

    def to_json(self) -> str:
        """The table as text, frequent words first. Equal tables give equal text."""
        counts = dict(sorted(self.counts.items(), key=lambda item: (-item[1], item[0])))
        fields = {"source": self.source, "captions": self.captions, "min_count": self.min_count, "total": self.total}
        return json.dumps({**fields, "counts": counts}, indent=0) + "\n"

    @classmethod
    def read(cls, path: Path) -> "WordCounts":
        """A table from a file.

        Raises:
            UserError: it cannot be read, or holds something else.
        """
        name = printable(str(path), 400)
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            table = cls(*(fields[key] for key in ("source", "captions", "min_count", "counts")))
            fits = all(type(count) is int and count > 0 for count in table.counts.values())
            fits = fits and table.total == fields["total"] > 0
        except OSError as error:
            raise UserError(
                f"views.word_counts: {name} cannot be read ({error.strerror}); make it: "
                f"askew data words SOURCE --out {name}"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError):
            fits = False
        if not fits:
            raise UserError(
                f"views.word_counts: {name} is not a table of word counts, or is damaged; make one: "
                "askew data words SOURCE --out FILE"
            )
        return table
