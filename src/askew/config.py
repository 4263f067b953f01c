"""A run as data: Recipe and its parts, YAML in and out, typed overrides.

Frozen models; an unknown key is an error that names the nearest field. A recipe dumps to YAML and is taken wherever a
recipe's name is, so every run can be run again from its own `recipe.yaml`.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from askew.data.sources.base import Options
from askew.errors import UserError, printable
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


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the first of the range is above the second")
    return pair


AreaRange = Annotated[tuple[Area, Area], AfterValidator(_rising)]
Range = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_rising)]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Part(BaseModel):
    """Base of the parts: frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Towers(Part):
    """The two encoders: an open_clip configuration, with changes."""

    model: str = "ViT-B-32"  # open_clip's name of a configuration, or "" for one given whole below
    embed_dim: int = Field(default=0, ge=0)  # D; 0 = that of `model`
    quick_gelu: bool = False  # the activation of OpenAI's weights; also on where `model` says so
    vision_cfg: dict[str, Any] = {}  # open_clip's fields, over those of `model`
    text_cfg: dict[str, Any] = {}
    token_std: float = Field(default=0.02, ge=0)  # of token embeddings at the start, from random weights; open_clip's
    # An open_clip tag, an open_clip directory, or a file of weights, which alone is taken to have open_clip's own mean
    # and std (OpenAI's) where `mean` and `std` are left as they are; "" starts from random weights
    pretrained: str = ""
    lock: Literal["none", "image", "text"] = "none"  # a tower that keeps its weights
    mean: tuple[float, float, float] = IMAGENET_MEAN  # of pixels in [0, 1]; SLIP
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"  # of evaluation; open_clip's default


class Data(Part):
    """Where the pairs come from."""

    source: str | list[str] = "embedded"  # several are mixed, as in "a.csv*2 + b.parquet"; see docs/sources.md
    image_column: str = ""  # "" finds it by name
    caption_column: str = ""  # also of tar shards: txt, caption, json, or a field of the .json
    image_root: str = ""  # folder of the images that a table lists; "" = that of the table, or found near it
    split: str = "train"  # of files that hold several
    allow_outside: bool = False  # whether listed paths may be absolute, or climb out of their folder by ..

    @property
    def options(self) -> Options:
        """How the source is read."""
        return Options(**self.model_dump(exclude={"source"}))


class Loader(Part):
    """Batches and views."""

    batch_size: int = Field(default=4096, ge=1)  # over all ranks; Sec. 5.1
    num_workers: int = Field(default=4, ge=0)  # processes a rank that make the sample stage
    cache_mb: int = Field(default=0, ge=0)  # decoded images that every worker keeps; for small data read many times
    stall_minutes: float = Field(default=30, gt=0)  # without a batch, after which a run fails; a warning every minute
    scaled_decode: bool = True  # JPEGs are decoded no larger than the crops need; such images are not cached
    tags: Unit = 0.5  # probability that one to four tags follow the caption, where the source has tags
    tags_alone: Unit = 0.0  # probability that such tags stand in the caption's place
    image_scale: AreaRange = (0.5, 1.0)  # crop area of the original view; SLIP
    aug_scale: AreaRange = (0.08, 1.0)  # crop area of the augmented view; SLIP
    # Greatest change of brightness, contrast, saturation (factors), and hue (turns); SLIP
    jitter: tuple[Unit, Unit, Unit, Annotated[float, Field(ge=0, le=0.5)]] = (0.4, 0.4, 0.4, 0.1)
    jitter_probability: Unit = 0.8
    grey: Unit = 0.2
    blur: Unit = 0.5
    blur_sigma: Range = (0.1, 2.0)  # pixels; SLIP at 224 px
    flip: Unit = 0.5
    mask_probability: Unit = 0.15  # Sec. 4.4


class Train(Part):
    """Optimiser, schedule, precision, checkpoints."""

    epochs: float = Field(default=32, gt=0)  # passes over the data; Sec. 5.1
    max_steps: int = Field(default=0, ge=0)  # no more steps than that, however many `minutes` allow; 0 = epochs decide
    learning_rate: float = Field(default=1e-3, gt=0)  # peak; Sec. 5.1
    min_learning_rate: float = Field(default=1e-5, ge=0)  # at the end of the cosine; SLIP
    warmup_learning_rate: float = Field(default=1e-6, ge=0)  # at step 0; SLIP
    warmup_epochs: float = Field(default=1, ge=0)  # linear, no more than half of the run; SLIP
    weight_decay: float = Field(default=0.2, ge=0)  # on matrices only; Sec. 5.1
    betas: tuple[Beta, Beta] = (0.9, 0.98)  # SLIP
    eps: float = Field(default=1e-8, gt=0)  # SLIP
    clip_gradient: float = Field(default=0.0, ge=0)  # greatest gradient norm; 0 = no clipping (SLIP)
    minutes: float = Field(default=0.0, ge=0)  # of training: fewer steps where a machine needs longer; 0 = no limit
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # autocast of the towers; auto: bf16 where it is quick
    block_rows: int = Field(default=0, ge=0)  # samples a rank whose pairs are in memory at once; 0 = all
    compile: bool = False  # towers by torch.compile; needs a C++ compiler, and pays in long runs only
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = Field(default=0, ge=0)
    log_every: int = Field(default=10, ge=1)  # steps
    checkpoint_steps: int = Field(default=0, ge=0)  # a checkpoint every so many steps; 0 = by minutes alone
    checkpoint_minutes: float = Field(default=10, gt=0)
    keep_checkpoints: int = Field(default=2, ge=1)

    @field_validator("min_learning_rate", "warmup_learning_rate")
    @classmethod
    def _below_the_peak(cls, rate: float, info: ValidationInfo) -> float:
        peak = info.data.get("learning_rate", rate)
        if rate > peak:
            raise ValueError(f"is above the peak, train.learning_rate={peak:g}; lower it too")
        return rate


class Evaluation(Part):
    """What is run at the end of training."""

    suite: Literal["none", "tiny"] = "none"
    before: bool = False  # test the starting weights too: what fine-tuning gives and takes
    batch_size: int = Field(default=256, ge=1)


Method = Annotated[
    CLIP.Config | SLIP.Config | DeCLIP.Config | UniCLIP.Config | MCD.Config | SigLIP.Config, Field(discriminator="name")
]


class Recipe(Part):
    """A whole run."""

    name: str
    method: Method
    towers: Towers = Towers()
    data: Data = Data()
    loader: Loader = Loader()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()


LEADING = ("method.name", "towers.model", "towers.pretrained")  # settings that change what others stand for
OF_MODEL = ("embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "token_std")  # what a named model says by itself

RESUMABLE = (  # what may differ from the recorded recipe on --resume
    "loader.num_workers",
    "loader.cache_mb",
    "loader.stall_minutes",
    "train.log_every",
    "train.checkpoint_steps",
    "train.checkpoint_minutes",
    "train.keep_checkpoints",
    "train.device",
)


def to_yaml(recipe: Recipe) -> str:
    """The recipe as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def from_yaml(path: Path) -> Recipe:
    """A recipe from a YAML file.

    Raises:
        UserError: unreadable, not YAML, unknown keys, wrong types.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({printable(' '.join(str(error).split()))})") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path}: a recipe is a mapping of name, method, towers, ...")
    return validate(fields, str(path))


def override(recipe: Recipe, settings: list[str]) -> Recipe:
    """The recipe with KEY=VALUE settings; keys are dotted (`train.epochs=2`), values are read as YAML.

    Another `method.name` or `towers.model`, and a directory for `towers.pretrained`, come with their own defaults, over
    which the other settings are laid.

    Raises:
        UserError: no `=`, an unknown key (names the nearest), a value of the wrong type.
    """
    fields = recipe.model_dump(mode="json")
    for setting in sorted(settings, key=lambda setting: setting.partition("=")[0].strip() not in LEADING):
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"--set {printable(setting)}: write it as KEY=VALUE, for example train.epochs=2")
        *parents, leaf = key.strip().split(".")
        where = fields
        for depth, parent in enumerate(parents):
            if not isinstance(where.get(parent), dict):
                raise UserError(unknown_key(".".join(parents[: depth + 1]), recipe))
            where = where[parent]
        if leaf not in where and not (parents and parents[-1] in ("vision_cfg", "text_cfg")):
            raise UserError(unknown_key(key.strip(), recipe))
        try:
            where[leaf] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"--set {printable(setting)}: the value is not valid YAML") from error
        if isinstance(where[leaf], str):  # YAML 1.1 takes 1e-3 for a string
            where[leaf] = _number(where[leaf])
        if where[leaf] is None:
            where[leaf] = ""
        if key.strip() == "method.name":
            fields = validate({**fields, "method": {"name": where[leaf]}}, "--set").model_dump(mode="json")
        another = key.strip() == "towers.model" and where[leaf] != recipe.towers.model
        if another or (key.strip() == "towers.pretrained" and Path(str(where[leaf])).expanduser().is_dir()):
            where |= Towers().model_dump(mode="json", include=set(OF_MODEL))
    return validate(fields, "--set")


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def validate(fields: dict[str, Any], where: str) -> Recipe:
    """A Recipe, or one line that says which key is wrong and how."""
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        path = [str(p) for p in problem["loc"]]
        if len(path) > 1 and path[0] == "method":
            path.pop(1)  # the discriminator's value is not part of the key
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            raise UserError(f"{where}: {unknown_key(key, fields)}") from error
        message = problem["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
        raise UserError(f"{where}: {key or 'recipe'}: {message}, got {printable(repr(problem['input']))}") from error


def unknown_key(key: str, recipe: Recipe | dict) -> str:
    """`unknown key ...; did you mean ...?`"""
    if isinstance(recipe, Recipe):
        known = leaves(recipe.model_dump(mode="json"))
    else:
        known = leaves(Recipe(name="", method=_default_method(recipe)).model_dump(mode="json"))
    short = {k.rsplit(".", 1)[-1]: k for k in known}
    sections = sorted({k.rsplit(".", 1)[0] for k in known if "." in k})
    near = difflib.get_close_matches(key, [*sections, *known], n=1, cutoff=0.6)
    near = near or [short[k] for k in difflib.get_close_matches(key.rsplit(".", 1)[-1], list(short), n=1, cutoff=0.6)]
    return f"unknown key {printable(key)!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _default_method(fields: dict[str, Any]) -> Method:
    """The method that a recipe's fields name, with its own defaults; CLIP where they name none."""
    method = fields.get("method")
    name = method.get("name") if isinstance(method, dict) else None
    try:
        return TypeAdapter(Method).validate_python({"name": name})
    except ValidationError:
        return CLIP.Config()


def leaves(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values; a mapping of free keys (vision_cfg, text_cfg) counts as one leaf."""
    found: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, dict) and key not in ("vision_cfg", "text_cfg"):
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
