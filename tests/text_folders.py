"""Micro text encoders of Hugging Face with tokenizers made on the spot: five languages in four scripts."""

import json
from functools import cache
from pathlib import Path

from askew.config import TowerSettings
from helpers import WORDS, micro_towers

CAPTIONS = (
    "a red bicycle against a wall", "two dogs, one asleep", "an old boat on the lake", "a lamp under the tree",
    "ein rotes Fahrrad an einer Wand", "zwei Hunde, einer schläft", "ein altes Boot auf dem See", "eine Lampe am Baum",
    "壁の赤い自転車", "二匹の犬", "湖の古い舟", "木の下の灯",
    "دراجة حمراء على الحائط", "كلبان أحدهما نائم", "قارب قديم في البحيرة", "مصباح تحت الشجرة",
    "दीवार पर लाल साइकिल", "दो कुत्ते एक सो रहा है", "झील पर पुरानी नाव", "पेड़ के नीचे दीपक",
)  # fmt: skip
MICRO_CAPTIONS = " ".join([*"0123456789", *WORDS, "number"])  # of the micro batches and pairs of the tests
POSITIONS = 40
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
T5_SIZES = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}


@cache
def tokenizer(kind: str):
    """A WordPiece tokenizer as BERT's, of all words and letters; or a trained Unigram one as XLM-R's or mT5's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if kind == "bert":
        names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
        normalizer, splitter = normalizers.BertNormalizer(strip_accents=False), pre_tokenizers.BertPreTokenizer()
        texts = map(normalizer.normalize_str, [*CAPTIONS, MICRO_CAPTIONS])
        words = {word for text in texts for word, _ in splitter.pre_tokenize_str(text)}
        letters = {letter for word in words for letter in word}
        # A trained vocabulary would be another one each time: its trainer breaks ties by the order of a hash table
        pieces = [*names.values(), *sorted(letters | words | {f"##{letter}" for letter in letters})]
        made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
        made.normalizer, made.pre_tokenizer = normalizer, splitter
    else:
        names = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
        if kind == "mt5":
            names = {"pad": "<pad>", "sep": "</s>", "unk": "<unk>"}
        made = Tokenizer(models.Unigram())
        made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=list(names.values()), unk_token="<unk>", show_progress=False
        )
        made.train_from_iterator([*CAPTIONS, MICRO_CAPTIONS], trainer)
    ends = [names[end] for end in ("cls", "sep") if end in names]
    single = f"{names['cls']} $A {names['sep']}" if "cls" in names else f"$A {names['sep']}"
    made.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(end, made.token_to_id(end)) for end in ends]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, **{f"{name}_token": text for name, text in names.items()})


def text_folder(folder: Path, kind: str = "bert", dropout: float = 0.0, weights: bool = False) -> Path:
    """A folder with config.json and a tokenizer, and weights if wanted. `kind` is bert, xlm-roberta or mt5."""
    from transformers import AutoConfig, AutoModel

    made = tokenizer(kind)
    made.save_pretrained(folder)
    shape = {"vocab_size": len(made), "pad_token_id": made.pad_token_id}
    if kind == "mt5":
        config = AutoConfig.for_model(kind, **T5_SIZES, **shape, dropout_rate=dropout)
    else:
        chances = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        config = AutoConfig.for_model(kind, **SIZES, **shape, **chances, max_position_embeddings=POSITIONS)
    if weights:
        AutoModel.from_config(config).save_pretrained(folder)
    else:
        config.save_pretrained(folder)
    return folder


def edit_json(file: Path, **fields) -> None:
    """Change fields of a JSON file; None removes one."""
    found = {**json.loads(file.read_text(encoding="utf-8")), **fields}
    file.write_text(json.dumps({k: v for k, v in found.items() if v is not None}), encoding="utf-8")


def with_text_folder(folder: Path, **text_cfg: object) -> TowerSettings:
    """Micro towers with the text tower of a folder, not resolved."""
    fields = {"hf_model_name": str(folder), "hf_model_pretrained": False, "hf_proj_type": "linear", **text_cfg}
    return micro_towers().model_copy(update={"text_cfg": {"context_length": 16, **fields}})
