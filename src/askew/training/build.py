"""From a recipe with resolved towers to objects: the method, the views that it reads, and the loader."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from askew import config, distributed
from askew.data import operations
from askew.data.files import home_path, sha256_of
from askew.data.images import PixelLimit
from askew.data.loader import Loader
from askew.data.short_text import ShortText, drop_scores
from askew.data.sources import open_source
from askew.data.sources.each_caption import with_captions
from askew.data.views import ImageView, MaskedTokens, Normalise, Tokens, Views
from askew.data.words import WordCounts
from askew.data.workers import refuse_unguarded_script
from askew.devices import choose_device, choose_precision, keep_few_kernels, keep_freed_memory
from askew.errors import UserError, printable
from askew.methods.base import Method
from askew.training import parallel
from askew.training.agreement import refuse_disagreement, what_runs
from askew.training.held_out import HeldOut, open_held_out
from askew.training.step import Step
from askew.training.text import text_of, without_weights
from askew.training.towers import build_towers

Custom = Sequence[operations.Operation] | None  # operations of `views.operations`; None imports them


@dataclass(frozen=True)
class Built:
    """What a recipe stands for on this machine.

    Attributes:
        recipe: with `train.precision` decided, and the table of word counts recorded where there is one.
        method: on its device, in training mode.
        step: the method's forward pass.
        backward: takes the method's step as it is trained: compiled, in micro-batches, spread over ranks.
        held_out: the loss on pairs that are not trained on, if the recipe asks for it.
    """

    recipe: config.Recipe
    device: torch.device
    method: Method
    step: Step
    backward: parallel.Backward
    loader: Loader
    held_out: HeldOut | None = None


def build(recipe: config.Recipe, say: Callable[[str], None] = lambda text: None, pretrained: bool = True) -> Built:
    """Method and loader of a recipe with resolved towers, on this process's device. Joins the group of ranks.

    Args:
        say: called with what was found when the data were opened, and with warnings about long waits.
        pretrained: whether to load pretrained weights. A checkpoint holds all weights, and theirs may be gone.

    Raises:
        UserError: data, towers or a device that cannot be had, or settings that do not fit together.
    """
    refuse_unguarded_script(recipe.loader.num_workers)
    device = choose_device(recipe.train.device)
    train = recipe.train.model_copy(update={"precision": choose_precision(recipe.train.precision, device)})
    recipe = recipe.model_copy(update={"train": train})
    if device.type == "cpu":
        keep_few_kernels()
        keep_freed_memory()
    distributed.start(device, stall=60 * recipe.loader.stall_minutes)
    refuse_disagreement(lambda: what_runs(recipe))
    # Rank 0 makes the index files, and the others read them
    data = recipe.data
    source = distributed.main_first(lambda: with_captions(open_source(data.source, data.options), data.captions))
    apart = distributed.main_first(lambda: open_held_out(recipe)) if recipe.evaluation.held_out else None
    if distributed.is_main():
        for note in source.notes:
            say(f"data     {note}")
    custom = operations.custom_operations(recipe.views.operations)
    method = build_method(recipe, pretrained, custom)
    method.allocate(len(source))
    method = method.to(device).train()
    recipe = with_counted_words(recipe, method.views)
    views = build_views(recipe, method.views, custom)
    loader = Loader(
        source,
        views,
        recipe.loader.batch_size,
        train.seed,
        recipe.loader.num_workers,
        distributed.rank(),
        distributed.world_size(),
        recipe.loader.cache_mb * 2**20,
        say,
        fail_after=60 * recipe.loader.stall_minutes,
    )
    refuse_disagreement(lambda: {"the names of the samples (their hash)": loader.fingerprint})
    whole = replace(views, shorten=False)  # what is measured is measured on whole captions
    step, size = Step(method, train.precision, train.loss_chunk_size), micro_batch_size(recipe)
    held_out = HeldOut(recipe, apart, step, whole, device, say, size) if apart is not None else None
    backward = parallel.backward_of(step, device, train.compile, size, train.parallel, train.activation_checkpointing)
    return Built(recipe, device, method, step, backward, loader, held_out)


def micro_batch_size(recipe: config.Recipe, ranks: int = 0) -> int:
    """`loader.micro_batch_size`, or 0 where a rank's part of a batch is no larger. `ranks` is 0 for those of now."""
    size = recipe.loader.micro_batch_size
    return size if size * (ranks or distributed.world_size()) < recipe.loader.batch_size else 0


def build_method(recipe: config.Recipe, pretrained: bool = True, custom: Custom = None) -> Method:
    """The method of a recipe with resolved towers, on the CPU. It starts from the pretrained temperature and bias.

    Without `pretrained`, towers that name pretrained weights stay random: a checkpoint will be loaded over them.
    """
    custom = operations.custom_operations(recipe.views.operations) if custom is None else custom
    towers = recipe.towers if pretrained else without_weights(recipe.towers)
    pair = build_towers(towers, recipe.train.seed, recipe.method.needs_mask_token)
    try:
        method = recipe.method.build(pair, operations.identity(custom))
    except ValueError as error:  # towers that the method cannot use
        raise UserError(str(error)) from error
    if pair.pretrained_scale is not None:
        with torch.no_grad():
            method.logit_scale.fill_(pair.pretrained_scale)
            if method.logit_bias is not None and pair.pretrained_bias is not None:
                method.logit_bias.fill_(pair.pretrained_bias)
    return method


def build_views(recipe: config.Recipe, wanted: tuple[str, ...], custom: Custom = None) -> Views:
    """The views of a recipe with resolved towers. `wanted` are the keys that the method reads.

    The recipe's limit of pixels becomes that of this process.
    """
    limit = PixelLimit(recipe.data.max_megapixels, "--set data.max_megapixels={}")
    limit.apply()
    custom = operations.custom_operations(recipe.views.operations) if custom is None else custom
    views, size = recipe.views, recipe.towers.vision_cfg.get("image_size", 224)
    if not isinstance(size, int):
        raise UserError(f"towers.vision_cfg.image_size={size}: images are square, give one number of pixels")
    if "masked_text" in wanted and views.mask_probability == 0:
        raise UserError(
            "views.mask_probability=0 leaves masked language modelling nothing to learn from; "
            "raise it, or turn the term off by method.mlm_weight=0"
        )
    custom = operations.custom_operations(views.operations)
    strong = {
        "flip": views.flip,
        "jitter_probability": views.jitter_probability,
        "jitter": views.jitter,
        "grayscale": views.grayscale,
        "blur": views.blur,
        "blur_sigma": views.blur_sigma,
        "custom": custom,
    }
    text, masked = text_of(recipe.towers), MaskedTokens(views.mask_probability)
    if text is not None:
        masked = replace(masked, folder=text.folder, mask=text.mask)
    never = tuple(replace(operation, probability=0.0) for operation in custom)
    return Views(
        wanted=wanted,
        images=(
            ImageView("image", size, views.image_scale, views.image_flip, custom=never),
            ImageView("aug", size, views.aug_scale, **strong),
            ImageView("aug2", size, views.aug_scale, **strong),
        ),
        tokens=Tokens(recipe.towers.text_cfg.get("context_length", 77), folder=text.folder if text else ""),
        masked=masked,
        short=build_short_text(recipe, wanted),
        shorten=views.text == "short",
        normalise=Normalise(recipe.towers.mean, recipe.towers.std),
        tags=views.tags,
        tags_alone=views.tags_alone,
        scaled_decode=views.scaled_decode,
        caption_ids=recipe.data.equal_captions == "positives",
        num_patches=(size // recipe.towers.vision_cfg.get("patch_size", 16)) ** 2,
        limit=limit,
    )


def reads_short_text(recipe: config.Recipe, wanted: tuple[str, ...]) -> bool:
    """Whether a method that reads the keys `wanted` gets shortened captions.

    Raises:
        UserError: the method reads whole captions beside shortened ones, and the recipe shortens all of them.
    """
    if "text_short" in wanted and recipe.views.text == "short":
        raise UserError(
            "views.text=short leaves no whole captions, and the method compares them with shortened ones; "
            "leave views.text=whole"
        )
    texts = {"text", "masked_text", "text_aug"} if recipe.views.text == "short" else {"text_short"}
    return not texts.isdisjoint(wanted)


def with_counted_words(recipe: config.Recipe, wanted: tuple[str, ...]) -> config.Recipe:
    """The recipe with the sha256 of its table of word counts, where one is read.

    Raises:
        UserError: the recipe has the sha256 of another table.
    """
    views = recipe.views
    if views.short_strategy != "frequency" or not views.word_counts or not reads_short_text(recipe, wanted):
        return recipe
    path = home_path(views.word_counts)
    WordCounts.read(path)
    found = sha256_of(path)
    if views.word_counts_sha256 not in ("", found):
        raise UserError(
            f"views.word_counts: {printable(str(path), 400)} is not the table that the run began with (its sha256 is "
            f"{found[:12]}..., and not {views.word_counts_sha256[:12]}...); name that one, or start a new run"
        )
    return recipe.model_copy(update={"views": views.model_copy(update={"word_counts_sha256": found})})


def build_short_text(recipe: config.Recipe, wanted: tuple[str, ...]) -> ShortText | None:
    """How captions are shortened, by `views` of a recipe with resolved towers; None where nothing reads them.

    Raises:
        UserError: no table of word counts, one that cannot be read, or a budget that exceeds the context.
    """
    if not reads_short_text(recipe, wanted):
        return None
    views, text = recipe.views, text_of(recipe.towers)
    room = recipe.towers.text_cfg.get("context_length", 77) - (text.tokenizer.num_framing if text else 2)
    if text and views.short_strategy == "frequency":
        raise UserError(
            "views.short_strategy=frequency takes words apart as open_clip's tokenizer does, and the text tower has "
            "another one; set views.short_strategy=random, block or truncation"
        )
    if views.short_tokens > room:
        raise UserError(
            f"views.short_tokens={views.short_tokens} is more than fit into the context without start and end, {room}"
        )
    scores: dict[str, float] = {}
    if views.short_strategy == "frequency":
        if not views.word_counts:
            raise UserError(
                "captions are shortened by the frequency of words, and nothing says how frequent they are; count them "
                "once: askew data words SOURCE --out words.json, then --set views.word_counts=words.json"
            )
        scores = drop_scores(WordCounts.read(home_path(views.word_counts)), views.short_threshold)
    unseen = 1.0 if views.short_unseen == "drop" else 0.0
    strategy, folder = views.short_strategy, text.folder if text else ""
    return ShortText(views.short_tokens, strategy, views.short_fit, views.short_share_full, scores, unseen, folder)
