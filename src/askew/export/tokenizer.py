"""open_clip's tokenizer as a tokenizer.json: the same ids, computed by the library `tokenizers`.

open_clip cleans a text before it splits it (ftfy, HTML entities, white space, lower case). A tokenizer.json can only
replace patterns, so what ftfy guesses (text that was decoded wrongly) is left out; `LEFT_OUT` says so in the card.
"""

import html.entities
from typing import TYPE_CHECKING, Any

from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

from askew.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # CLIP's words
CONTROL = r"[\x00-\x08\x0b\x0e-\x1f\x7f\x{206a}-\x{206f}\x{feff}\x{fff9}-\x{fffc}]"  # what ftfy removes
LEFT_OUT_OF_CLEANING = (
    "The tokenizer does not repair text that was decoded wrongly (`cafÃ©`), as open_clip's does by ftfy, and of HTML "
    "entities it knows those of HTML 4 with their semicolons. It spells out `<end_of_text>` in a text, which "
    "open_clip's takes for the end."
)
LEFT_OUT = (
    'The tokenizer gives open_clip\'s ids, padded with 0, by `padding="max_length", truncation=True`. '
    + LEFT_OUT_OF_CLEANING
)


def tokenizer_of(tokenize: Any, context_length: int) -> "PreTrainedTokenizerFast":
    """A tokenizer of transformers that does as open_clip's byte-pair tokenizer does.

    Raises:
        UserError: it is another tokenizer, or cleans texts in another way.
    """
    from transformers import PreTrainedTokenizerFast

    made = backend_of(tokenize, "transformers")
    start, end = (tokenize.decoder[number] for number in (tokenize.sot_token_id, tokenize.eot_token_id))
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=start,
        eos_token=end,
        unk_token=end,
        pad_token=tokenize.decoder[0],  # "!", of which open_clip makes its pads
        split_special_tokens=True,  # or every "!" in a text would be taken for a pad
        model_max_length=context_length,
        padding_side="right",
        truncation_side="right",
    )


def backend_of(tokenize: Any, to: str) -> "Tokenizer":
    """A tokenizer of the library `tokenizers` that does as open_clip's byte-pair tokenizer does. It does not pad.

    Args:
        to: the format that it is for, for messages.

    Raises:
        UserError: it is another tokenizer, or cleans texts in another way.
    """
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import BPE

    lower = get_clean_fn("lower")
    if type(tokenize) is not SimpleTokenizer or tokenize.clean_fn is not lower or tokenize.reduction_fn is not None:
        raise UserError(
            f"--to {to}: the model's tokenizer is not open_clip's usual one (byte pairs, lower case), and no other "
            "has been made to agree; use --to open_clip"
        )
    start, end = (tokenize.decoder[number] for number in (tokenize.sot_token_id, tokenize.eot_token_id))
    merges: Any = sorted(tokenize.bpe_ranks, key=tokenize.bpe_ranks.__getitem__)
    model = BPE(vocab=dict(tokenize.encoder), merges=merges, unk_token=end, end_of_word_suffix="</w>")
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence(
        [
            *(normalizers.Replace(found, text) for found, text in _replacements()),
            normalizers.Replace(Regex(CONTROL), ""),
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Lowercase(),
        ]
    )
    words = pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True)
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("</w>", " ")])
    ids = [(token, tokenize.encoder[token]) for token in (end, start)]
    made.post_processor = processors.RobertaProcessing(*ids, trim_offsets=False, add_prefix_space=False)
    return made


def _replacements() -> list[tuple[Any, str]]:
    """What open_clip's cleaning replaces, character by character: entities first, which may stand for the others."""
    from ftfy.chardata import LIGATURES, WIDTH_MAP
    from tokenizers import Regex

    ampersands: list[tuple[Any, str]] = [("&amp;", "&")] * 2  # open_clip unescapes twice
    entities = [(f"&{name};", chr(code)) for name, code in html.entities.name2codepoint.items() if name != "amp"]
    numbered = [(f"&#{number};", chr(code)) for code in (34, 38, 39, 60, 62, 160) for number in (code, f"0{code}")]
    numbered += [(f"&#x{code:x};", chr(code)) for code in (34, 38, 39, 60, 62, 160)] + [("&apos;", "'")]
    characters = [(chr(code), text) for code, text in {**LIGATURES, **WIDTH_MAP}.items() if chr(code) != text]
    quotes = [(Regex("[\u02bc\u2018-\u201b]"), "'"), (Regex("[\u201c-\u201f]"), '"')]
    return [*ampersands, *numbered, *entities, *characters, *quotes]
