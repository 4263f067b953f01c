"""Run CLIPF's released tokenizer on clipf_inputs.py and write clipf.json. Not part of the test suite: see README.md.

python tests/oracles/make_clipf.py CHECKOUT_OF_CLIPF
"""

import importlib.util
import json
import random
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from clipf_inputs import CAPTIONS, COUNTS, LENGTHS, MIN_COUNT, THRESHOLDS, uniform  # noqa: E402


def official(path):
    """A module of the checkout, without the package around it, which needs more than is used here."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, Path(sys.argv[1], path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tokenizer, counter = official("src/open_clip/tokenizer.py"), official("tests/data_counter.py")
one = tokenizer._tokenizer
ends = {"sot_token_id": one.sot_token_id, "eot_token_id": one.eot_token_id, "encode_fn": one.encode}
counts = {word: number for word, number in COUNTS.items() if number >= MIN_COUNT}  # as the script does before
cases = []
for place, caption in enumerate(CAPTIONS):
    for length in LENGTHS:
        name = f"{place}/{length}"
        torch.rand = lambda num, name=name: torch.tensor(uniform(name, num))
        torch.randperm = lambda num, name=name: torch.tensor(uniform(name, num)).argsort()
        random.randint = lambda low, high, name=name: low + int(uniform(name, 1)[0] * (high - low + 1))
        case = {"caption": place, "length": length}
        for threshold in THRESHOLDS:
            scores = counter.compute_word_frequency(counts, threshold)
            ids = tokenizer.frequency_mask_tokenize([caption], length, **ends, mask_probability=scores)
            case[f"frequency {threshold:g}"] = ids[0].tolist()
        case["random"] = tokenizer.random_mask_tokenize([caption], length, **ends)[0].tolist()
        case["block"] = tokenizer.simple_mask_tokenize([caption], length, **ends)[0].tolist()
        case["truncation"] = one(caption, length)[0].tolist()
        cases.append(case)
result = {
    "code": "https://github.com/MingliangLiang3/CLIPF",
    "commit": "5a24b8b",
    "torch": torch.__version__,
    "scores": {
        f"{t:g}": {w: float(p) for w, p in counter.compute_word_frequency(counts, t).items()} for t in THRESHOLDS
    },
    "cases": cases,
}
text = json.dumps(result).replace('{"caption"', '\n{"caption"').replace('"cases"', '\n"cases"')
(HERE / "clipf.json").write_text(text + "\n", encoding="utf-8")
