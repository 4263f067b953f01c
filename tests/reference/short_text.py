"""Word-frequency masking as a plain loop over the words of a caption, written from CLIPF's description."""

import math

from open_clip.tokenizer import SimpleTokenizer

TOKENIZER = SimpleTokenizer()
START, END = 49406, 49407


def probability(count, total, threshold):
    """P_w of a word."""
    return max(0.0, 1 - round(math.sqrt(threshold / (count / total)), 6))


def shortened(caption, budget, context, scores, unseen, drawn, whole_words):
    """The ids of a shortened caption, for one number in [0, 1) per word."""
    words = TOKENIZER.pat.findall(TOKENIZER.clean_fn(caption))
    num_tokens = sum(len(TOKENIZER.encode(word)) for word in words)
    kept = list(range(len(words)))
    if num_tokens > budget:
        score = [u - scores.get(word, unseen) for word, u in zip(words, drawn, strict=True)]
        best = sorted(kept, key=lambda i: -score[i])
        if whole_words:
            kept = []
            for i in best:
                if sum(len(TOKENIZER.encode(words[k])) for k in [*kept, i]) <= budget:
                    kept.append(i)
            kept = kept or best[:1]
            most = budget
        else:
            most = min(budget, len(words))
            kept = best[:most]
    else:
        most = budget
    ids = [number for i in sorted(kept) for number in TOKENIZER.encode(words[i])][:most]
    return [START, *ids, END] + [0] * (context - len(ids) - 2)
