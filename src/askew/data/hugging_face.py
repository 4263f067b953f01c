"""Text encoders and tokenizers of Hugging Face: where their files lie, what they hold, and whether they fit together.

A name is a folder, or a model on the Hugging Face hub, of which the small files are taken from the cache or downloaded.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from askew.data.files import home_path
from askew.errors import UserError, printable
from askew.nn.plain import BESIDE

SUPPORTED = ("bert", "roberta", "xlm-roberta", "mt5")  # the encoders that open_clip knows, without:
REFUSED = {"m2m_100": "its tokenizer must be given the language of every text"}
CONFIG = "config.json"
TOKENIZER_FILES = (  # which of them there are differs from one tokenizer to another
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
)  # fmt: skip
POOLERS = ("cls_pooler", "cls_last_hidden_state_pooler", "mean_pooler")


def refuse_without_transformers(name: str) -> None:
    """Raises UserError if the package for text encoders of Hugging Face is not installed."""
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the text tower {printable(name)!r} is one of Hugging Face, and transformers, which has their code, is "
            "not installed: pip install 'askew[text]'"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and the remarks of transformers. What is wrong is an exception."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def folder_of(name: str) -> Path:
    """The folder that a name stands for. The weights of a model on the hub are not in it.

    Raises:
        UserError: no such folder, and no such model on the hub or in its cache.
    """
    path = home_path(name)
    if path.is_dir():
        return path.resolve()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, *TOKENIZER_FILES]))
    except Exception as error:  # the hub's client raises many kinds
        raise UserError(
            f"towers.text_cfg: {printable(name, 400)!r} is neither a folder nor a model of the Hugging Face hub that "
            f"can be downloaded ({type(error).__name__}); check the name and the network, or give a local folder"
        ) from error


@dataclass(frozen=True)
class TextFiles:
    """The folders of a text encoder and its tokenizer.

    Attributes:
        encoder: has config.json.
        tokenizer: has the files of the tokenizer.
    """

    encoder: Path
    tokenizer: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The encoder's configuration, with all of its defaults.

        Raises:
            UserError: it cannot be read, or is of an encoder that is not supported.
        """
        file = self.encoder / CONFIG
        try:
            from transformers import AutoConfig

            kind = json.loads(file.read_text(encoding="utf-8"))["model_type"]
            fields = AutoConfig.from_pretrained(self.encoder).to_dict() if kind in SUPPORTED else {}
        except Exception as error:  # transformers raises many kinds
            raise UserError(
                f"towers.text_cfg.hf_model_name: {printable(str(file), 400)} is not the configuration of a Hugging "
                f"Face encoder ({type(error).__name__}); name a folder that save_pretrained has written"
            ) from error
        if kind not in SUPPORTED:
            why = f": {REFUSED[kind]}" if kind in REFUSED else ""
            raise UserError(
                f"towers.text_cfg.hf_model_name: a text tower of the kind {printable(str(kind))!r} is not supported"
                f"{why}; use one of {', '.join(SUPPORTED)}"
            )
        return fields

    def contents(self) -> dict[str, bytes]:
        """What a saved model needs of them, by file name. The weights are of float32 there, as askew trains them."""
        config = json.loads((self.encoder / CONFIG).read_text(encoding="utf-8"))
        config = {key: value for key, value in config.items() if key != "torch_dtype"} | {"dtype": "float32"}
        names = [name for name in TOKENIZER_FILES if (self.tokenizer / name).is_file()]
        return {
            CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
            **{name: (self.tokenizer / name).read_bytes() for name in names},
        }

    def sha256(self) -> str:
        """Of all that decides which ids a text has, and of the encoder's configuration."""
        return _sha256(self.contents())


def _sha256(contents: dict[str, bytes]) -> str:
    made = hashlib.sha256()
    for name, content in sorted(contents.items()):
        made.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return made.hexdigest()


def hashed(folder: Path) -> str:
    """sha256 of a tokenizer and a configuration beside saved weights, of as many of their files as there are."""
    files = (folder / name for name in (CONFIG, *TOKENIZER_FILES))
    return _sha256({file.name: file.read_bytes() for file in files if file.is_file()})


def found_beside(folder: Path, text_cfg: dict[str, Any]) -> dict[str, Any]:
    """The `text_cfg` of a model saved in a folder, naming the folder where the files that it names lie there.

    Nothing changes for a native text tower.
    """
    if not text_cfg.get("hf_model_name"):
        return text_cfg
    try:
        has_encoder = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_type"] in SUPPORTED
    except (OSError, ValueError, KeyError, TypeError):
        has_encoder = False
    has = {
        "hf_model_name": has_encoder,
        "hf_tokenizer_name": any((folder / name).is_file() for name in TOKENIZER_FILES),
    }
    return {**text_cfg, **{key: str(folder) for key, found in has.items() if found or text_cfg.get(key) == BESIDE}}


class HuggingFaceTokenizer:
    """A tokenizer as open_clip's HFTokenizer uses it, cleaning included.

    Attributes:
        pad: the id of padding.
        mask: the id of the mask token, None if there is none.
        ordinary: (n,) the ids that are not special, in rising order.
        special: the other ones.
        sha256: of the files that it was made from.

    Raises:
        UserError: transformers cannot read one in this folder, or it does not pad on the right.
    """

    def __init__(self, folder: str):
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # threads of it would not survive a fork
        from open_clip.tokenizer import HFTokenizer

        setting = "towers.text_cfg.hf_tokenizer_name"
        try:
            with quiet():
                self._open_clips = HFTokenizer(folder)
        except Exception as error:  # transformers raises many kinds
            raise UserError(
                f"{setting}: {printable(folder, 400)} has no tokenizer that transformers can read "
                f"({type(error).__name__}); name a folder that the tokenizer's save_pretrained has written"
            ) from error
        inner: Any = self._open_clips.tokenizer
        if inner.pad_token_id is None or inner.padding_side != "right" or inner.truncation_side != "right":
            raise UserError(
                f"{setting}: the tokenizer in {printable(folder, 400)} does not pad and cut texts on the right; give "
                "it a pad token, padding_side=right and truncation_side=right"
            )
        added = [number for number, token in inner.added_tokens_decoder.items() if token.special]
        self._inner, self.pad, self.mask = inner, int(inner.pad_token_id), inner.mask_token_id
        self.special = sorted({*inner.all_special_ids, *added})
        known = set(inner.get_vocab().values())
        self.ordinary = np.array(sorted(known - set(self.special)), dtype=np.int64)
        self.num_ids = max(known) + 1
        self._is_word = np.zeros(self.num_ids, dtype=bool)
        self._is_word[self.ordinary] = True
        self._before, self._after = self._frame()
        self.sha256 = hashed(Path(folder))

    def _frame(self) -> tuple[list[int], list[int]]:
        """What begins and what ends a text."""
        found = self._inner("a", return_special_tokens_mask=True)
        ids, special = found.input_ids, found.special_tokens_mask
        return ids[: special.index(0)], ids[len(ids) - special[::-1].index(0) :]

    def __call__(self, caption: str, length: int) -> Tensor:
        """(L,) int64: what begins a text, its tokens, its end, padding."""
        return self._open_clips(caption, context_length=length)[0]

    def ids(self, caption: str) -> list[int]:
        """The ids of a caption, all of them, without what begins and ends a text."""
        return self._inner(self._open_clips.clean_fn(caption), add_special_tokens=False, truncation=False).input_ids

    def framed(self, ids: list[int], length: int) -> Tensor:
        """(L,) int64: these ids with what begins and ends a text, and padding."""
        text = torch.full((length,), self.pad, dtype=torch.int64)
        whole = [*self._before, *ids, *self._after]
        text[: len(whole)] = torch.tensor(whole)
        return text

    def is_word(self, ids: np.ndarray) -> np.ndarray:
        """Which ids are not special."""
        return self._is_word[ids]

    @property
    def num_framing(self) -> int:
        """How many tokens begin and end a text, together."""
        return len(self._before) + len(self._after)


def why_unfit(tokenizer: HuggingFaceTokenizer, config: dict[str, Any], context_length: int) -> str:
    """Why a tokenizer and an encoder with this configuration do not fit together; "" if they do.

    Args:
        context_length: L, the tokens of a text.
    """
    rows, pad, positions = config["vocab_size"], config["pad_token_id"], config.get("max_position_embeddings")
    if tokenizer.num_ids > rows:
        return (
            f"the tokenizer has {tokenizer.num_ids:,} ids and the encoder's embedding {rows:,} rows; name the "
            "tokenizer that the encoder was trained with"
        )
    if pad != tokenizer.pad:
        return (
            f"the tokenizer pads with id {tokenizer.pad} and the encoder expects {pad} (pad_token_id of its "
            "config.json); give both the same id"
        )
    if positions and config["model_type"] in ("roberta", "xlm-roberta"):
        positions -= pad + 1  # the first ones belong to padding
    if positions and context_length > positions:
        return f"context_length={context_length} exceeds the encoder's {positions} positions; lower it"
    return ""
