"""Time retrieval at COCO's size from given embeddings, with askew and CLIP_benchmark in turn, and their peak memory.

    python benchmarks/retrieval.py --clip-benchmark DIR [--images 5000] [--captions 25010] [--rounds 3]

DIR is a checkout of github.com/LAION-AI/CLIP_benchmark (measured: commit 48de38c). Both get the same random embeddings
of 512 numbers, ready in memory: what is timed is scores and recalls, in both directions, for k of 1, 5 and 10. Recalls
must agree. Memory is that of the whole process, above what it held before. Use an idle machine.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

from fresh import result_of

WIDTH, BATCH = 512, 64


def embeddings(images: int, captions: int):
    """Images (n, D), captions (c, D) near their images, and the image of each caption."""
    import numpy as np

    rng = np.random.default_rng(0)
    image = rng.standard_normal((images, WIDTH), dtype=np.float32)
    image_of = np.sort(np.arange(captions) % images)
    text = image[image_of] + 7 * rng.standard_normal((captions, WIDTH), dtype=np.float32)
    return (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (image, text)), image_of


def peak() -> float:
    """MiB at the most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held() -> float:
    """MiB at present."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def ours(images: int, captions: int) -> dict:
    """Seconds, memory and recalls of askew."""
    import numpy as np

    from askew.evaluation.datasets.base import Captioned
    from askew.evaluation.features import Features
    from askew.evaluation.tasks.retrieval import retrieval

    (image, text), image_of = embeddings(images, captions)

    class Keys:
        keys = tuple(str(number) for number in range(images))

        def __len__(self) -> int:
            return images

    class Given:
        def text(self, texts) -> np.ndarray:
            return text

    items = tuple(f"{number:032x}" for number in range(images))
    features = Features(None, image, items, np.ones(images, dtype=bool), (), "content", items)
    data = Captioned("coco", Keys(), tuple(str(number) for number in range(captions)), image_of)  # type: ignore[arg-type]
    before, start = held(), time.perf_counter()
    to_text, to_image = retrieval(Given(), data, features)  # type: ignore[arg-type]
    recalls = [result.values[f"r@{k}"] for result in (to_image, to_text) for k in (1, 5, 10)]
    return {"seconds": time.perf_counter() - start, "memory": peak() - before, "recalls": recalls}


def theirs(images: int, captions: int, checkout: Path) -> dict:
    """Seconds, memory and recalls of CLIP_benchmark's `evaluate`, with a model that looks embeddings up."""
    sys.path.insert(0, str(checkout))
    import torch
    from clip_benchmark.metrics import zeroshot_retrieval

    (image, text), image_of = embeddings(images, captions)
    texts_of = [[] for _ in range(images)]
    for number, owner in enumerate(image_of.tolist()):
        texts_of[owner].append(number)

    class Given:
        def encode_image(self, pixels):
            return pixels

        def encode_text(self, tokens):
            return torch.from_numpy(text)[tokens]

    given = torch.from_numpy(image)
    batches = [(given[i : i + BATCH], texts_of[i : i + BATCH]) for i in range(0, images, BATCH)]
    before, start = held(), time.perf_counter()
    found = zeroshot_retrieval.evaluate(Given(), batches, torch.tensor, "cpu", amp=False, recall_k_list=[1, 5, 10])
    recalls = [found[f"{kind}_retrieval_recall@{k}"] for kind in ("image", "text") for k in (1, 5, 10)]
    return {"seconds": time.perf_counter() - start, "memory": peak() - before, "recalls": recalls}


def main() -> None:
    """Print seconds and memory of both, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-benchmark", type=Path, required=True)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--captions", type=int, default=25010)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = (arguments.images, arguments.captions)
    if arguments.child:
        made = ours(*size) if arguments.child == "ours" else theirs(*size, arguments.clip_benchmark.resolve())
        print(json.dumps(made))
        return
    ratios = []
    for number in range(arguments.rounds):
        found = {}
        for side in ("theirs", "ours"):
            found[side] = result_of([
                __file__, "--child", side, "--images", str(size[0]), "--captions", str(size[1]), "--clip-benchmark",
                str(arguments.clip_benchmark.resolve()),
            ])  # fmt: skip
        apart = max(abs(a - b) for a, b in zip(found["ours"]["recalls"], found["theirs"]["recalls"], strict=True))
        if apart > 1e-3:
            sys.exit(f"recalls differ: {found['ours']['recalls']} and {found['theirs']['recalls']}")
        ratios.append(found["theirs"]["seconds"] / found["ours"]["seconds"])
        print(
            f"round {number + 1}: CLIP_benchmark {found['theirs']['seconds']:.1f} s, {found['theirs']['memory']:,.0f} "
            f"MiB; askew {found['ours']['seconds']:.1f} s, {found['ours']['memory']:,.0f} MiB; {ratios[-1]:.1f} times "
            f"as fast; recalls at most {apart:.1e} apart",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
