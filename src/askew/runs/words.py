"""What `askew data words` does: count the words of a source's captions, for the view `text_short`."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from askew.config import Recipe
from askew.data.files import check_output_file, write_text
from askew.data.loader import cause_of, not_read
from askew.data.parcel import EXHAUSTED
from askew.data.sources import Source, open_source
from askew.data.words import WordCounts, words_of
from askew.errors import UserError, printable, writing
from askew.methods.mcd import MCD
from askew.recipes.settings import override
from askew.report.console import Console

EVERY = 50_000  # samples between two messages


@dataclass(frozen=True)
class WordsRequest:
    """What was asked for on the command line.

    Attributes:
        source: as `askew train --data`.
        out: the file to write.
        sets: settings, of which `data` says how the source is read. Tags are counted unless `views.tags` is 0.
        min_count: rarer words are left out.
        overwrite: whether a file that is there is replaced.
    """

    source: str
    out: Path
    sets: tuple[str, ...] = ()
    min_count: int = 5
    overwrite: bool = False


def write_word_counts(asked: WordsRequest, console: Console) -> WordCounts:
    """Count the words of every caption once, and write the table.

    Raises:
        UserError: no such source, an `out` that cannot be written, or no word that is frequent enough.
    """
    out, name = asked.out, printable(str(asked.out), 400)
    recipe = override(Recipe(name="words", method=MCD.Config()), list(asked.sets))
    check_output_file(out, asked.overwrite)
    source = open_source(asked.source, recipe.data.options)
    console.say(f"source   {source.describe}")
    for note in source.notes:
        console.say(f"note     {note}")
    counted, captions = count_words(source, recipe.views.tags > 0, console)
    kept = {word: number for word, number in counted.items() if number >= asked.min_count}
    if not kept:
        raise UserError(
            f"{printable(source.describe, 400)}: no word occurs {asked.min_count} times or more in its "
            f"{captions:,} captions; lower --min-count"
        )
    table = WordCounts(source.describe, captions, asked.min_count, kept)
    with writing("the table of word counts", out):
        write_text(out, table.to_json())
    shares = ", ".join(f"{printable(word)} {number / table.total:.2%}" for word, number in counted.most_common(5))
    console.say(f"captions {captions:,}, with {counted.total():,} words, of which {len(counted):,} are different")
    console.say(
        f"kept     {len(kept):,} words that occur {asked.min_count} times or more; the most frequent ones: {shares}"
    )
    console.say(f"written  {name}: --set views.word_counts={name}")
    return table


def count_words(source: Source, with_tags: bool, console: Console) -> tuple[Counter[str], int]:
    """How often each word occurs in the captions of a source, and the number of captions.

    A sample that cannot be read is left out, and counted in a warning. With tags, a caption is followed by all of
    its tags, as training joins them.
    """
    counted: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    captions = 0
    for index in range(len(source)):
        if index and index % EVERY == 0:
            console.say(f"counting {index:,} of {len(source):,} samples")
        try:
            sample = source[index]
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise not_read(source, index, error) from error
            bad[cause_of(error)] += 1
            continue
        except Exception as error:
            raise not_read(source, index, error) from error
        captions += len(sample.captions)
        for caption in sample.captions:
            counted.update(words_of(", ".join((caption, *(sample.tags if with_tags else ())))))
    if bad:
        causes = ", ".join(f"{cause} {number:,}" for cause, number in bad.most_common())
        console.warn(f"{bad.total():,} of {len(source):,} samples cannot be read and are left out: {causes}")
    return counted, captions
