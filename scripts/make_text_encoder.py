"""Make a small text encoder of Hugging Face with random weights and a tokenizer trained on a file of texts.

    python scripts/make_text_encoder.py names.txt --out encoder

The folder has config.json (XLM-R's architecture) and the tokenizer (Unigram, as XLM-R's). It is what
`--set towers.text_cfg.hf_model_name=encoder --set towers.text_cfg.hf_model_pretrained=false` takes.
"""

import argparse
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig

SPECIAL = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def train_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A Unigram tokenizer with XLM-R's special tokens: `<s>` is 0, `<pad>` 1, `</s>` 2."""
    made = Tokenizer(models.Unigram())
    made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL.values()), unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(token, made.token_to_id(token)) for token in ("<s>", "</s>")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, **SPECIAL)


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path, help="one text per line")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vocab-size", type=int, default=4000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--positions", type=int, default=64)
    arguments = parser.parse_args()
    tokenizer = train_tokenizer(arguments.texts.read_text(encoding="utf-8").splitlines(), arguments.vocab_size)
    tokenizer.save_pretrained(arguments.out)
    XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=arguments.width,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.width // 64,
        intermediate_size=4 * arguments.width,
        max_position_embeddings=arguments.positions + tokenizer.pad_token_id + 1,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ).save_pretrained(arguments.out)
    print(f"{arguments.out}: {len(tokenizer):,} tokens, {arguments.layers} layers of width {arguments.width}")


if __name__ == "__main__":
    main()
