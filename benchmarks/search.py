"""Exact search over a million embeddings in memory: seconds per query, checked against a plain product and sort.

python benchmarks/search.py [--num 1000000] [--width 512] [--block 16384]
"""

import argparse
import resource
import time

import numpy as np

from askew.evaluation.nearest import TOGETHER, Block, nearest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--block", type=int, default=TOGETHER)
    parser.add_argument("--top", type=int, default=10)
    asked = parser.parse_args()
    random = np.random.default_rng(0)
    vectors = np.empty((asked.num, asked.width), dtype=np.float32)
    for start in range(0, asked.num, 65_536):
        part = random.standard_normal((min(65_536, asked.num - start), asked.width), dtype=np.float32)
        vectors[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    places = np.arange(asked.num)
    parts = [
        Block(vectors[at : at + asked.block], places[at : at + asked.block], places[at : at + asked.block])
        for at in range(0, asked.num, asked.block)
    ]
    for num_queries in (1, 1, 1, 10):
        queries = random.standard_normal((num_queries, asked.width), dtype=np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        started = time.perf_counter()
        found = nearest(parts, queries, asked.top)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        scores = queries @ vectors.T
        expected = np.argsort(-scores, axis=1, kind="stable")[:, : asked.top]
        plain = time.perf_counter() - started
        equal = (found.places == expected).all()
        print(f"{num_queries} queries: {seconds:.3f} s; product and sort {plain:.3f} s; the same results: {equal}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
