"""How pairs are read, what a method sees of them, and how batches are made: three parts of a recipe."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from askew.data.short_text import Fit, Strategy
from askew.data.sources.base import SourceOptions

Unit = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Area = Annotated[float, Field(gt=0, le=1)]


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the first of the range is above the second")
    return pair


AreaRange = Annotated[tuple[Area, Area], AfterValidator(_rising)]
Range = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_rising)]


class Part(BaseModel):
    """Base of the parts: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class DataSettings(Part):
    """Where the pairs come from."""

    source: str | list[str] = "embedded"  # several are mixed, as by "a.csv*2 + b.parquet"; see docs/sources.md
    image_column: str = ""  # "" finds it by name
    caption_column: str = ""  # several: with commas; for tar shards: txt, caption, json, or a field of the .json
    image_root: str = ""  # folder of the images that a table lists; "" = the table's, or one found near it
    split: str = "train"  # where files, folders or rows name one; "all" reads everything
    separator: str = ""  # of the columns of a table: one character, or comma, tab, semicolon, bar; "" finds it
    # What double quotes mean in a table: they enclose a field, or are letters; auto: they enclose in CSV, not with tabs
    quotes: Literal["auto", "enclosing", "literal"] = "auto"
    layout: Literal["auto", "pairs", "classes"] = "auto"  # of a folder that can be read in two ways
    # Of an image with several captions: each visit draws one, or each of them is a sample of its own
    captions: Literal["one", "each"] = "one"
    # Whether samples whose captions are equal are contrasted, or are positives of one another; docs/training.md
    equal_captions: Literal["negatives", "positives"] = "negatives"
    allow_outside: bool = False  # whether listed paths may be absolute, or leave their folder by ..
    selected_from: str = ""  # where the data of a selection lie now, if they have moved; docs/inspect.md
    # Of shards in a store (docs/sources.md#shards-far-away): whole, by ranges of bytes, or as the cache has room
    remote_read: Literal["auto", "range", "whole"] = "auto"
    remote_cache_gb: float = Field(default=50, gt=0)  # of what is kept of them on this machine, at most; 1e9 bytes
    remote_folder: str = ""  # where it is kept; "" = askew/remote in the folder for caches
    remote_requests: float = Field(default=0, ge=0)  # per second, of all processes on this machine; 0 = no limit
    remote_timeout: float = Field(default=60, gt=0)  # seconds for a request of up to 32 MiB
    remote_retries: int = Field(default=8, ge=0)  # of a request, with growing delays: two minutes in all
    max_megapixels: float = Field(default=64, gt=0, le=4000)  # larger images are bad samples; memory: docs/sources.md

    @property
    def options(self) -> SourceOptions:
        """How the source is read."""
        return SourceOptions(**self.model_dump(exclude={"source", "captions", "equal_captions", "max_megapixels"}))


class ViewSettings(Part):
    """What a method sees of a sample: random crops, colour changes, and what becomes of the caption."""

    image_scale: AreaRange = (0.5, 1.0)  # share of the area that a crop of the original view keeps; SLIP
    image_flip: Unit = 0.0  # probability that the original view is mirrored; SLIP's CLIP view never is
    aug_scale: AreaRange = (0.08, 1.0)  # the same for the augmented views; SLIP
    flip: Unit = 0.5  # probability, of the augmented views; SLIP, as the six settings below
    jitter_probability: Unit = 0.8
    # Largest change of brightness, contrast and saturation (factors), and of hue (turns)
    jitter: tuple[Unit, Unit, Unit, Annotated[float, Field(ge=0, le=0.5)]] = (0.4, 0.4, 0.4, 0.1)
    grayscale: Unit = 0.2  # probability
    blur: Unit = 0.5  # probability
    blur_sigma: Range = (0.1, 2.0)  # pixels; SLIP at 224 px
    operations: dict[str, Unit] = {}  # custom image operations, module:NAME, and the probability of each
    scaled_decode: bool = True  # decode JPEGs no larger than the crops need; such images are not cached
    tags: Unit = 0.5  # probability that one to four tags follow the caption, where the source has tags
    tags_alone: Unit = 0.0  # probability that those tags replace the caption
    mask_probability: Unit = 0.15  # share of the words that masked language modelling hides; Sec. 4.4
    text: Literal["whole", "short"] = "whole"  # short: methods read shortened captions in place of captions; CLIPF
    # How captions are shortened, for views.text=short and for methods that read `text_short`; docs/views.md
    short_strategy: Strategy = "frequency"  # what is kept of a caption over the budget; CLIPF
    short_tokens: int = Field(default=6, ge=1)  # the budget, without start and end; CLIPF: 8 with them
    short_fit: Fit = "words"  # whether whole words are kept, or as in CLIPF's released code
    short_share_full: Unit = 0.1  # probability that a caption over the budget stays whole; CLIPF: 0, and tuning
    short_threshold: float = Field(default=1e-6, gt=0, le=1)  # t, the share below which no word is frequent; CLIPF
    short_unseen: Literal["drop", "keep"] = "drop"  # words that are not in the table go first, or stay first; CLIPF
    word_counts: str = ""  # the table for short_strategy=frequency: a file that `askew data words` made
    word_counts_sha256: str = ""  # written by the run: its table, so that it is not resumed with another


class LoaderSettings(Part):
    """Batches, and the processes that make them."""

    batch_size: int = Field(default=4096, ge=1)  # over all ranks; Sec. 5.1
    micro_batch_size: int = Field(default=0, ge=0)  # samples of a rank that are encoded at once; 0 = all of a batch
    num_workers: int = Field(default=4, ge=0)  # processes per rank that read, decode and crop
    cache_mb: int = Field(default=0, ge=0)  # decoded images that each worker keeps; for small data read many times
    stall_minutes: float = Field(default=30, gt=0)  # without a batch before the run fails; it warns every minute
