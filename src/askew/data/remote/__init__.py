"""Tar shards in a store far away (`s3://`, `gs://`, `hf://`, `https://`), through the extra `remote`.

A source of such shards gives exactly the samples of the same shards on this machine. `address` finds the shards,
`store` makes requests and repeats them, `cache` keeps parts of shards in a folder of bounded size, `ahead` fetches the
parts that the order of samples needs next, and `source` puts them together. Nothing here is imported for local data.
"""
