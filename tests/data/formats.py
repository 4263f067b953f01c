"""The same pairs written in every format that a source can have."""

import csv
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Pair = tuple[str, bytes, str | bytes]  # path of the image with /, its bytes, its caption (bytes if it is not UTF-8)


def raw(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def write_images(folder: Path, pairs: Sequence[Pair]) -> None:
    for name, image, _ in pairs:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image)


def write_csv(folder: Path, pairs: Sequence[Pair], name: str = "pairs.csv") -> str:
    write_images(folder, pairs)
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(["file_name", "text"])
    writer.writerows([(path, text) for path, _, text in pairs])
    (folder / name).write_bytes(lines.getvalue().encode())
    return str(folder / name)


def write_tsv(folder: Path, pairs: Sequence[Pair]) -> str:
    """Without quotes, as the format is read."""
    write_images(folder, pairs)
    lines = ["file_name\ttext", *(f"{path}\t{str(text).strip()}" for path, _, text in pairs)]
    (folder / "pairs.tsv").write_bytes("\n".join(lines).encode())
    return str(folder / "pairs.tsv")


def write_jsonl(folder: Path, pairs: Sequence[Pair], name: str = "pairs.jsonl") -> str:
    write_images(folder, pairs)
    lines = [json.dumps({"file_name": path, "text": text}) for path, _, text in pairs]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return str(folder / name)


def write_imagefolder(folder: Path, pairs: Sequence[Pair]) -> str:
    write_jsonl(folder, pairs, "metadata.jsonl")
    return str(folder)


def write_folder(folder: Path, pairs: Sequence[Pair]) -> str:
    write_images(folder, pairs)
    for path, _, text in pairs:
        (folder / path).with_suffix(".txt").write_bytes(raw(text))
    return str(folder)


def write_tar(folder: Path, pairs: Sequence[Pair]) -> str:
    """Two shards."""
    half = -(-len(pairs) // 2)
    for shard in range(2):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for path, image, text in pairs[shard * half : (shard + 1) * half]:
                for name, data in ((path, image), (path.rpartition(".")[0] + ".txt", raw(text))):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return str(folder / "{00000..00001}.tar")


def arrow_table(pairs: Sequence[Pair]) -> pa.Table:
    names, images, texts = zip(*pairs, strict=True)
    texts = pa.array([raw(text) for text in texts], pa.binary()).view(pa.string())  # unchecked, as in bad files
    return pa.table({"path": pa.array(names), "image": pa.array(images, pa.binary()), "caption": texts})


def write_parquet(folder: Path, pairs: Sequence[Pair]) -> str:
    pq.write_table(arrow_table(pairs), folder / "pairs.parquet", row_group_size=7)
    return str(folder / "pairs.parquet")


def write_saved_dataset(folder: Path, pairs: Sequence[Pair]) -> str:
    """The layout of `datasets.DatasetDict({"train": ...}).save_to_disk`."""
    (folder / "train").mkdir()
    table = arrow_table(pairs)
    with pa.ipc.new_stream(folder / "train" / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}), encoding="utf-8")
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    (folder / "train" / "state.json").write_text(json.dumps(state), encoding="utf-8")
    return str(folder)


def write_coco(folder: Path, pairs: Sequence[Pair]) -> str:
    write_images(folder / "train2017", pairs)
    content = {
        "images": [{"id": 7 * n, "file_name": path} for n, (path, _, _) in enumerate(pairs)],
        "annotations": [{"image_id": 7 * n, "caption": text} for n, (_, _, text) in enumerate(pairs)],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations" / "captions_train2017.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder / "annotations" / "captions_train2017.json")


def write_karpathy(folder: Path, pairs: Sequence[Pair]) -> str:
    write_images(folder / "images", pairs)
    content = {
        "images": [
            {"filepath": "", "filename": path, "split": ("train", "restval")[n % 2], "sentences": [{"raw": text}]}
            for n, (path, _, text) in enumerate(pairs)
        ]
        + [{"filepath": "", "filename": "none.jpg", "split": "test", "sentences": [{"raw": "of the test"}]}],
        "dataset": "flickr30k",
    }
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder / "dataset.json")


def write_tokens(folder: Path, pairs: Sequence[Pair]) -> str:
    write_images(folder / "flickr30k-images", pairs)
    lines = b"".join(path.encode() + b"#0\t" + raw(text) + b"\n" for path, _, text in pairs)
    (folder / "results.token").write_bytes(lines)
    return str(folder / "results.token")


FORMATS: dict[str, Callable[[Path, Sequence[Pair]], str]] = {
    "csv": write_csv,
    "tsv": write_tsv,
    "jsonl": write_jsonl,
    "imagefolder": write_imagefolder,
    "folder": write_folder,
    "tar": write_tar,
    "parquet": write_parquet,
    "saved_dataset": write_saved_dataset,
    "coco": write_coco,
    "karpathy": write_karpathy,
    "tokens": write_tokens,
}
