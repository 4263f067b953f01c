"""A run as data: the recipe and its parts.

Every part is frozen, and an unknown key is an error. Reading a recipe from YAML, writing it, and changing single fields
of it are in recipes/settings.py.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from askew.data.sources.base import SourceOptions
from askew.errors import UserError, imported, printable
from askew.methods.base import Method, MethodConfig
from askew.methods.clip import CLIP
from askew.methods.declip import DeCLIP
from askew.methods.mcd import MCD
from askew.methods.siglip import SigLIP
from askew.methods.slip import SLIP
from askew.methods.uniclip import UniCLIP

Unit = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Area = Annotated[float, Field(gt=0, le=1)]
TrackerName = Literal["tensorboard", "wandb", "trackio"]  # and of the extra that installs it


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the first of the range is above the second")
    return pair


AreaRange = Annotated[tuple[Area, Area], AfterValidator(_rising)]
Range = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_rising)]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Part(BaseModel):
    """Base of the parts: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class TowerSettings(Part):
    """The two encoders: an open_clip configuration and changes to it."""

    model: str = "ViT-B-32"  # open_clip's name of a configuration, or "" if it is given in full below
    embed_dim: int = Field(default=0, ge=0)  # D; 0 = that of `model`
    quick_gelu: bool = False  # the activation of OpenAI's weights; on as well if `model` says so
    vision_cfg: dict[str, Any] = {}  # open_clip's fields, in place of those of `model`
    text_cfg: dict[str, Any] = {}
    token_std: float = Field(default=0.02, ge=0)  # of random token embeddings at the start; open_clip's
    # An open_clip tag, an open_clip directory, or a file of weights; "" starts from random weights. A file of weights
    # without a configuration beside it gets open_clip's own mean and std (OpenAI's), unless `mean` and `std` are set
    pretrained: str = ""
    lock: Literal["none", "image", "text", "both"] = "none"  # the towers that keep their weights, except:
    unlock_image_blocks: int = Field(default=0, ge=0)  # last blocks of a locked tower that are trained, with what
    unlock_text_blocks: int = Field(default=0, ge=0)  # follows them: the final norm and the projection
    mean: tuple[float, float, float] = IMAGENET_MEAN  # of pixels in [0, 1]; SLIP
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"  # of evaluation; open_clip's default

    @field_validator("unlock_image_blocks", "unlock_text_blocks")
    @classmethod
    def _of_a_locked_tower(cls, blocks: int, info: ValidationInfo) -> int:
        side = (info.field_name or "").split("_")[1]
        if blocks and info.data.get("lock", side) not in (side, "both"):
            raise ValueError(f"the {side} tower is trained as a whole; set towers.lock={side} (or both)")
        return blocks


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


class LoaderSettings(Part):
    """Batches, and the processes that make them."""

    batch_size: int = Field(default=4096, ge=1)  # over all ranks; Sec. 5.1
    num_workers: int = Field(default=4, ge=0)  # processes per rank that read, decode and crop
    cache_mb: int = Field(default=0, ge=0)  # decoded images that each worker keeps; for small data read many times
    stall_minutes: float = Field(default=30, gt=0)  # without a batch before the run fails; it warns every minute


class TrainSettings(Part):
    """Optimiser, schedule, precision, checkpoints."""

    epochs: float = Field(default=32, gt=0)  # passes over the data; Sec. 5.1
    max_steps: int = Field(default=0, ge=0)  # no more steps than this; 0 = epochs decide
    learning_rate: float = Field(default=1e-3, gt=0)  # peak; Sec. 5.1
    min_learning_rate: float = Field(default=1e-5, ge=0)  # at the end of the cosine; SLIP
    warmup_learning_rate: float = Field(default=1e-6, ge=0)  # at step 0; SLIP
    warmup_epochs: float = Field(default=1, ge=0)  # linear, no more than half of the run; SLIP
    weight_decay: float = Field(default=0.2, ge=0)  # on matrices only; Sec. 5.1
    betas: tuple[Beta, Beta] = (0.9, 0.98)  # SLIP
    eps: float = Field(default=1e-8, gt=0)  # SLIP
    grad_clip_norm: float = Field(default=0.0, ge=0)  # largest gradient norm; 0 = no clipping (SLIP)
    # Of training: a slower machine takes fewer steps, settled by the pace of its first ones; 0 = no limit
    minutes: float = Field(default=0.0, ge=0)
    # Written by the run: at which step `minutes` settled max_steps, and how many steps were planned until then
    settled: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (0, 0)
    # Written by --extend-to: the steps at which the plans ended that were extended
    extended: tuple[Annotated[int, Field(ge=1)], ...] = ()
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # autocast of the towers; auto: bf16 where it is fast
    loss_chunk_size: int = Field(default=0, ge=0)  # samples per rank whose pairs are in memory at once; 0 = all
    compile: bool = False  # torch.compile the towers; needs a C++ compiler and pays only in long runs
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = Field(default=0, ge=0)
    log_every: int = Field(default=10, ge=1)  # steps
    track: tuple[TrackerName, ...] = ()  # what records a run beside its own files; docs/training.md
    checkpoint_steps: int = Field(default=0, ge=0)  # steps between checkpoints; 0 = only checkpoint_minutes counts
    checkpoint_minutes: float = Field(default=10, gt=0)
    keep_checkpoints: int = Field(default=2, ge=1)

    @field_validator("track", mode="before")
    @classmethod
    def _one_or_several(cls, names: Any) -> Any:
        """`train.track=wandb` and `train.track=wandb,trackio` are lists too."""
        return [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else names

    @field_validator("track")
    @classmethod
    def _each_once(cls, names: tuple[TrackerName, ...]) -> tuple[TrackerName, ...]:
        return tuple(dict.fromkeys(names))

    @field_validator("min_learning_rate", "warmup_learning_rate")
    @classmethod
    def _below_the_peak(cls, rate: float, info: ValidationInfo) -> float:
        peak = info.data.get("learning_rate", rate)
        if rate > peak:
            raise ValueError(f"is above the peak, train.learning_rate={peak:g}; lower it too")
        return rate


def as_list(value: Any) -> Any:
    """A single value stands for a list of one."""
    return [value] if isinstance(value, str | dict) else value


class EvaluateEntry(Part):
    """What models are evaluated on: custom data, data sets of the catalogue, or planted wrong captions.

    Attributes:
        data: as `askew eval --data`; `settings`, written `set`, say how it is read.
        suite: as `askew eval --suite`, with `data_root` and `tasks`.
        wrong_captions: a source of images and captions, a tenth of which are exchanged.
    """

    model_config = ConfigDict(populate_by_name=True)

    data: str = ""
    suite: str = ""
    wrong_captions: str = ""
    data_root: str = ""
    tasks: Annotated[list[str], BeforeValidator(as_list)] = Field(default_factory=list)
    settings: Annotated[list[str], BeforeValidator(as_list)] = Field(default_factory=list, alias="set")

    @property
    def kind(self) -> str:
        """One of EVALUATE_KINDS."""
        return next(kind for kind in EVALUATE_KINDS if getattr(self, kind))

    @model_validator(mode="before")
    @classmethod
    def _of_data(cls, fields: Any) -> Any:
        """A text alone names custom data."""
        return {"data": fields} if isinstance(fields, str) else fields

    @model_validator(mode="after")
    def _one_kind(self) -> "EvaluateEntry":
        named = [kind for kind in EVALUATE_KINDS if getattr(self, kind)]
        if len(named) != 1:
            raise ValueError(f"an entry names one of {', '.join(EVALUATE_KINDS)}")
        if self.data_root and self.kind != "suite":
            raise ValueError("data_root belongs to suite")
        if self.settings and self.kind == "suite":
            raise ValueError("set says how data or wrong_captions are read; it does not belong to suite")
        if self.tasks and self.kind == "wrong_captions":
            raise ValueError("wrong_captions is itself the task; leave tasks out")
        return self


EVALUATE_KINDS = ("data", "suite", "wrong_captions")  # of an entry


class EvaluationSettings(Part):
    """What is run at the end of training, before it, and while it goes on."""

    suite: Literal["none", "tiny"] = "none"
    before: bool = False  # evaluate the starting weights too: what fine-tuning gains and loses
    # Evaluated while training goes on, as `askew eval` would: a source, or entries as in a study; docs/training.md
    during: Annotated[tuple[EvaluateEntry, ...], BeforeValidator(as_list)] = ()
    during_every: float = Field(default=1.0, gt=0)  # epochs between two of these; the last step is always evaluated
    best: str = ""  # the measure whose best model is kept beside the last one, such as dev/mean_recall
    batch_size: int = Field(default=256, ge=1)
    report: bool = True  # write report.html at the end
    # Pairs that are not trained on: the loss on them is logged as `held_out/loss`; "" measures none
    held_out: str | list[str] = ""
    held_out_split: str = ""  # of files that hold several splits; "" = data.split
    held_out_every: int = Field(default=100, ge=1)  # steps
    held_out_batches: int = Field(default=4, ge=1)  # of loader.batch_size samples; always the same ones
    held_out_retrieval: bool = True  # measure retrieval on all of them at the end


METHODS: dict[str, type[MethodConfig]] = {
    "clip": CLIP.Config,
    "slip": SLIP.Config,
    "declip": DeCLIP.Config,
    "uniclip": UniCLIP.Config,
    "mcd": MCD.Config,
    "siglip": SigLIP.Config,
}


def method_config_class(name: Any) -> type[MethodConfig]:
    """The configuration class of a method: one of METHODS, or that of `module:Class` from anywhere.

    Raises:
        UserError: no such name, module or class, or a class that is not a method.
    """
    if name in METHODS:
        return METHODS[name]
    if not isinstance(name, str) or ":" not in name:
        raise UserError(
            f"method.name={printable(str(name))!r} is not known; "
            f"methods: {', '.join(METHODS)}, or module:Class for one of your own"
        )
    found = imported(name, "method.name")
    config = getattr(found, "Config", None)
    if not (isinstance(found, type) and issubclass(found, Method) and isinstance(config, type)):
        raise UserError(f"method.name={name}: not a subclass of askew.methods.base.Method with a Config")
    if not issubclass(config, MethodConfig) or "Config" not in vars(found):
        raise UserError(
            f"method.name={name}: it needs a Config of its own, a subclass of askew.methods.base.MethodConfig"
        )
    return config


class Recipe(Part):
    """A whole run."""

    name: str
    method: SerializeAsAny[MethodConfig]
    towers: TowerSettings = TowerSettings()
    data: DataSettings = DataSettings()
    views: ViewSettings = ViewSettings()
    loader: LoaderSettings = LoaderSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @field_validator("method", mode="before")
    @classmethod
    def _of_its_class(cls, fields: Any) -> Any:
        return method_config_class(fields.get("name")).model_validate(fields) if isinstance(fields, dict) else fields
