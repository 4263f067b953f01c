"""Text towers: what all of them have, and open_clip's own."""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from open_clip.transformer import TextTransformer
from torch import Tensor, nn
from torch.func import functional_call

from askew.nn.cpu.packed_text import can_pack, token_features
from askew.nn.encoded import Encoded, Projection, unit
from askew.nn.shards import whole

END_TOKEN = 49407  # open_clip's tokenizer always ends a text with it; towers pool there
VOCABULARY = 49408  # ids of open_clip's tokenizer
MASK_TOKEN = 49408  # appended after the tokenizer's own ids; dropped from a saved model


class TextTower(nn.Module, ABC):
    """Base of the text towers. Forward: token ids (B, L) -> Encoded.

    Attributes:
        trunk: gives the features of tokens. It is the part that can be compiled.
        projection: from pooled features to the joint space.
        pad: the id of padding.
    """

    trunk: Any
    projection: nn.Module
    pad: int = 0

    @property
    @abstractmethod
    def width(self) -> int:
        """F, the width of token features."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """V, including an appended mask token."""

    @property
    @abstractmethod
    def plain_vocab_size(self) -> int:
        """V without an appended mask token: the rows of the embedding that are saved."""

    @property
    @abstractmethod
    def num_positions(self) -> int:
        """The largest L: how many tokens attend to one another."""

    @abstractmethod
    def forward(self, text: Int[Tensor, "B L"], wanted: Bool[Tensor, "B L"] | None = None) -> Encoded:
        """Pooled (B, F) and unit-length float32 embeddings (B, D), and token features (R, F) of the R wanted tokens."""

    @abstractmethod
    def is_word(self, text: Int[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """Which tokens are words or parts of words: neither padding nor special."""

    @abstractmethod
    def num_needed(self, text: Int[Tensor, "B L"]) -> int:
        """How many leading tokens the texts need in training. What follows is padding that changes nothing.

        Reading it from a GPU would wait for all that is queued there: ask on the CPU, before the texts are copied.
        """

    @abstractmethod
    def append_mask_token(self) -> None:
        """Add a row to the token embedding: the mean of the others plus the usual initial noise."""

    def compile_trunk(self) -> None:
        """Have torch.compile make code for the trunk that serves texts of every length."""
        self.trunk.compile(dynamic=True)

    @abstractmethod
    def plain_state(self) -> dict[str, Tensor]:
        """Its parameters by their names in a saved open_clip model, without an appended mask token."""


class NativeTextTower(TextTower):
    """open_clip's text transformer and its projection.

    It pools at the first end token (`pool_type="eos"`). open_clip's default pools at the highest id, which would be an
    appended mask token. In training, a causal tower runs only up to the batch's longest caption, because no token sees
    the pads after the end, and on CPUs it skips pads altogether. (For other devices, training/transfer.py cuts the
    texts.) A bidirectional tower, and any tower in eval mode,
    runs at the full context length.
    """

    def __init__(self, text: nn.Module):
        super().__init__()
        if not isinstance(text, TextTransformer):
            raise ValueError(f"text tower {type(text).__name__} is not supported; use open_clip's native text tower")
        if text.cls_emb is not None or text.pool_type not in ("argmax", "eos"):
            raise ValueError(
                f"a text tower with pool_type={text.pool_type!r}, embed_cls={text.cls_emb is not None} is not "
                "supported: askew pools at the end token (pool_type argmax or eos)"
            )
        if not isinstance(text.text_projection, nn.Parameter):
            raise ValueError("a text tower with a biased or missing projection is not supported; use proj_bias=false")
        self.projection = Projection(text.text_projection)
        text.text_projection = None
        text.output_tokens, text.pool_type, text.eos_id = True, "eos", END_TOKEN
        self.trunk = text
        # A trunk with another mask than its own. It knows nothing of this tower, which may be copied
        self._masked = lambda trunk, text, mask: functional_call(trunk, {"attn_mask": mask}, (text,))

    @property
    def causal(self) -> bool:
        """Whether a token sees only itself and the tokens before it."""
        return self.trunk.attn_mask is not None

    @property
    def width(self) -> int:
        """F, the width of token features."""
        return self.trunk.width

    @property
    def vocab_size(self) -> int:
        """V, including the mask token if there is one."""
        return self.trunk.token_embedding.num_embeddings

    @property
    def plain_vocab_size(self) -> int:
        """V without the mask token."""
        return min(self.vocab_size, VOCABULARY)

    @property
    def num_positions(self) -> int:
        """The context length."""
        return self.trunk.num_pos

    def is_word(self, text: Int[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """Which tokens lie between start and end. The id of padding, 0, is a word too: "!"."""
        return between_ends(text)

    def num_needed(self, text: Int[Tensor, "B L"]) -> int:
        """Up to the last end token of a causal tower, which sees nothing behind it; all of a bidirectional one."""
        return int((text == END_TOKEN).int().argmax(dim=1).max()) + 1 if self.causal else text.shape[1]

    def plain_state(self) -> dict[str, Tensor]:
        """Its parameters in open_clip's plain CLIP layout."""
        state = dict(self.trunk.state_dict())
        state["token_embedding.weight"] = whole(state["token_embedding.weight"])[:VOCABULARY]
        return {**state, "text_projection": self.projection.get_parameter("weight")}

    def forward(self, text: Int[Tensor, "B L"], wanted: Bool[Tensor, "B L"] | None = None) -> Encoded:
        """Pooled (B, F) and unit-length float32 embeddings (B, D), and token features (R, F) of the R wanted tokens.

        `wanted` may select tokens up to and including the end token. Their features are returned text by text.
        """
        end = (text == END_TOKEN).int().argmax(dim=1)
        wanted = torch.zeros_like(text, dtype=torch.bool) if wanted is None else wanted
        if self.training and self.causal:
            longest = self.num_needed(text) if text.device.type == "cpu" else text.shape[1]
            text, wanted = text[:, :longest], wanted[:, :longest]
            if text.device.type == "cpu" and can_pack(self.trunk):
                at_end = F.one_hot(end, longest).bool()
                needed = wanted | at_end
                features = token_features(self.trunk, text, end + 1, needed)
                pooled, tokens = features[at_end[needed]], features[wanted[needed]]
                return Encoded(pooled, unit(self.projection(pooled)), tokens)
        if self.causal and text.shape[1] < self.num_positions:
            mask = self.trunk.get_buffer("attn_mask")[: text.shape[1], : text.shape[1]]
            pooled, tokens = self._masked(self.trunk, text, mask)
        else:
            pooled, tokens = self.trunk(text)
        return Encoded(pooled, unit(self.projection(pooled)), tokens[wanted])

    def compile_trunk(self) -> None:
        """A mask that is the trunk's own would be of one length in compiled code, so it is an input of it."""
        super().compile_trunk()
        self._masked = torch.compile(self._masked, dynamic=True)

    @torch.no_grad()
    def append_mask_token(self) -> None:
        """Add a row to the token embedding, id MASK_TOKEN: the mean of the others plus the usual initial noise."""
        old = self.trunk.token_embedding
        if old.num_embeddings != VOCABULARY:
            raise ValueError(
                f"masked language modelling needs open_clip's {VOCABULARY}-token vocabulary, but this text tower has "
                f"{old.num_embeddings} tokens; set method.mlm_weight=0"
            )
        new = nn.Embedding(old.num_embeddings + 1, old.embedding_dim)
        new.weight[:-1] = old.weight
        new.weight[-1] = old.weight.mean(dim=0) + 0.02 * torch.randn(old.embedding_dim)
        self.trunk.token_embedding, self.trunk.vocab_size = new, new.num_embeddings


def between_ends(text: Int[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
    """Which of open_clip's tokens lie between start and end."""
    place = torch.arange(text.shape[1], device=text.device)
    end = (text == END_TOKEN).int().argmax(dim=1, keepdim=True)
    return (place > 0) & (place < end)
