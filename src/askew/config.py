"""A run as data: the recipe and its parts.

Every part is frozen, and an unknown key is an error. Reading a recipe from YAML, writing it, and changing single fields
of it are in recipes/settings.py.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from askew.data.settings import DataSettings, LoaderSettings, Part, ViewSettings
from askew.errors import UserError, imported, printable
from askew.methods.aclip import ACLIP
from askew.methods.albef import ALBEF
from askew.methods.base import Method, MethodConfig
from askew.methods.clip import CLIP
from askew.methods.declip import DeCLIP
from askew.methods.fastclip import FastCLIP
from askew.methods.mcd import MCD
from askew.methods.siglip import SigLIP
from askew.methods.slip import SLIP
from askew.methods.uniclip import UniCLIP

Beta = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
TrackerName = Literal["tensorboard", "wandb", "trackio"]  # and of the extra that installs it


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TowerSettings(Part):
    """The two encoders: an open_clip configuration and changes to it."""

    model: str = "ViT-B-32"  # open_clip's name of a configuration, or "" if it is given in full below
    embed_dim: int = Field(default=0, ge=0)  # D; 0 = that of `model`
    quick_gelu: bool = False  # the activation of OpenAI's weights; on as well if `model` says so
    vision_cfg: dict[str, Any] = Field(default_factory=dict)  # open_clip's fields, in place of those of `model`
    text_cfg: dict[str, Any] = Field(default_factory=dict)  # hf_model_name: docs/languages.md
    text_sha256: str = ""  # written by the run: the tokenizer and configuration of a Hugging Face text tower
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


class TrainSettings(Part):
    """Optimiser, schedule, precision, checkpoints."""

    epochs: float = Field(default=32, gt=0)  # passes over the data; Sec. 5.1
    max_steps: int = Field(default=0, ge=0)  # no more steps than this; 0 = epochs decide
    # muon: for the matrices of blocks, AdamW for the rest; both take over the learning rate and the decay of AdamW
    optimizer: Literal["adamw", "muon", "cautious_adamw"] = "adamw"  # SLIP
    learning_rate: float = Field(default=1e-3, gt=0)  # peak; Sec. 5.1
    min_learning_rate: float = Field(default=1e-5, ge=0)  # at the end of the cosine; SLIP
    warmup_learning_rate: float = Field(default=1e-6, ge=0)  # at step 0; SLIP
    warmup_epochs: float = Field(default=1, ge=0)  # linear, no more than half of the run; SLIP
    weight_decay: float = Field(default=0.2, ge=0)  # on matrices only; Sec. 5.1
    betas: tuple[Beta, Beta] = (0.9, 0.98)  # SLIP
    eps: float = Field(default=1e-8, gt=0)  # SLIP
    muon_momentum: Beta = 0.95  # Muon's; its other settings are PyTorch's
    grad_clip_norm: float = Field(default=0.0, ge=0)  # largest gradient norm; 0 = no clipping (SLIP)
    # Of training: a slower machine takes fewer steps, settled by the pace of its first ones; 0 = no limit
    minutes: float = Field(default=0.0, ge=0)
    # Written by the run: at which step `minutes` settled max_steps, and how many steps were planned until then
    settled: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (0, 0)
    # Written by --extend-to: the steps at which the plans ended that were extended
    extended: tuple[Annotated[int, Field(ge=1)], ...] = ()
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # autocast of the towers; auto: bf16 where it is fast
    loss_chunk_size: int = Field(default=0, ge=0)  # samples per rank whose pairs are in memory at once; 0 = by size
    # What each of several ranks holds: everything, or parts of the towers (FSDP2); docs/training.md
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    activation_checkpointing: bool = False  # keep only the inputs of blocks for the backward pass; it computes the rest
    count_flops: bool = False  # log operations per second and their share of a matrix product's; docs/scaling.md
    compile: bool = False  # torch.compile the towers; needs a C++ compiler and pays only in long runs
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = Field(default=0, ge=0)
    log_every: int = Field(default=10, ge=1)  # steps
    track: tuple[TrackerName, ...] = ()  # what records a run beside its own files; docs/training.md
    checkpoint_steps: int = Field(default=0, ge=0)  # steps between checkpoints; 0 = only checkpoint_minutes counts
    checkpoint_minutes: float = Field(default=10, gt=0)
    keep_checkpoints: int = Field(default=2, ge=1)
    checkpoint_async: bool = True  # written from a copy on the CPU while the next steps are taken

    @field_validator("track", mode="before")
    @classmethod
    def _one_or_several(cls, names: Any) -> Any:
        """`train.track=wandb` and `train.track=wandb,trackio` are lists too."""
        return [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else names

    @field_validator("track")
    @classmethod
    def _each_once(cls, names: tuple[TrackerName, ...]) -> tuple[TrackerName, ...]:
        return tuple(dict.fromkeys(names))

    @field_validator("parallel")
    @classmethod
    def _exact_on_parts(cls, mode: str, info: ValidationInfo) -> str:
        optimizer = info.data.get("optimizer", "adamw")
        if mode == "fsdp2" and optimizer != "adamw":
            raise ValueError(
                f"fsdp2 gives each rank a part of every matrix, and train.optimizer={optimizer} moves a matrix as a "
                "whole; set train.parallel=ddp, or train.optimizer=adamw"
            )
        return mode

    @field_validator("compile")
    @classmethod
    def _of_whole_towers(cls, wanted: bool, info: ValidationInfo) -> bool:
        if wanted and info.data.get("parallel") == "fsdp2":
            raise ValueError(
                "compiled towers do not run in parts (train.parallel=fsdp2); set train.compile=false, or "
                "train.parallel=ddp"
            )
        return wanted

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


def _entries(value: Any) -> Any:
    """Entries of `evaluation.during`; a text alone names custom data."""
    found = as_list(value)
    return [{"data": one} if isinstance(one, str) else one for one in found] if isinstance(found, list) else found


class EvaluateEntry(Part):
    """What models are evaluated on: custom data, data sets of the catalogue, or planted wrong captions.

    Attributes:
        data: as `askew eval --data`; `settings`, written `set`, say how it is read.
        suite: as `askew eval --suite`, with `data_root`, `tasks` and `allow_missing`.
        wrong_captions: a source of images and captions, a tenth of which are exchanged.
    """

    model_config = ConfigDict(populate_by_name=True)

    data: str = ""
    suite: str = ""
    wrong_captions: str = ""
    data_root: str = ""
    allow_missing: bool = False
    tasks: Annotated[list[str], BeforeValidator(as_list)] = Field(default_factory=list)
    settings: Annotated[list[str], BeforeValidator(as_list)] = Field(default_factory=list, alias="set")

    @property
    def kind(self) -> str:
        """One of EVALUATE_KINDS."""
        return next(kind for kind in EVALUATE_KINDS if getattr(self, kind))

    @model_validator(mode="after")
    def _one_kind(self) -> "EvaluateEntry":
        named = [kind for kind in EVALUATE_KINDS if getattr(self, kind)]
        if len(named) != 1:
            raise ValueError(f"an entry names one of {', '.join(EVALUATE_KINDS)}")
        wrong = {
            "data_root belongs to suite": self.data_root and not self.suite,
            "allow_missing belongs to suite": self.allow_missing and not self.suite,
            "set says how data or wrong_captions are read; it does not belong to suite": self.settings and self.suite,
            "wrong_captions is itself the task; leave tasks out": self.tasks and self.wrong_captions,
        }
        if found := next((text for text, is_so in wrong.items() if is_so), ""):
            raise ValueError(found)
        return self


EVALUATE_KINDS = ("data", "suite", "wrong_captions")  # of an entry


class EvaluationSettings(Part):
    """What is run at the end of training, before it, and while it goes on."""

    suite: Literal["none", "tiny"] = "none"
    before: bool = False  # evaluate the starting weights too: what fine-tuning gains and loses
    # Evaluated while training goes on, as `askew eval` would: a source, or entries as in a study; docs/training.md
    during: Annotated[tuple[EvaluateEntry, ...], BeforeValidator(_entries)] = ()
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
    "fastclip": FastCLIP.Config,
    "albef": ALBEF.Config,
    "aclip": ACLIP.Config,
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
