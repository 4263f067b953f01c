"""The layout of a plain tar file: where each member's bytes are, found by reading only the headers.

Formats: V7, POSIX ustar, GNU long names, pax extended headers (POSIX.1-2001), base-256 sizes.
"""

from collections.abc import Iterator
from typing import NamedTuple

from askew.data.sources.positioned import PositionedFile
from askew.errors import Unusable

TAR_BLOCK = 512  # bytes; headers and contents start at multiples of it
# Type flags: 7 is a contiguous file; 1 to 6 are links, devices and folders
REGULAR, WITHOUT_CONTENTS = b"0\x007", b"123456"
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL, DIRECTORY = b"L", b"K", b"x", b"g", b"5"
MAX_HEADER = 2**20  # bytes of an extended header; a longer one is damaged
ZERO, MAGIC = bytes(TAR_BLOCK), b"ustar"


class Damaged(Unusable):
    """A tar file that is damaged from some point on; the members before it are good."""

    def __init__(self, message: str, cause: str = "damaged tar"):
        super().__init__(message, cause)


class Member(NamedTuple):
    """One member. Its contents are `size` bytes from block `block` on. `regular` is false for links, devices, ..."""

    name: str
    block: int
    size: int
    regular: bool


def number(field: bytes) -> int:
    """A numeric header field: octal digits, or base 256 if the first bit is set (GNU, for 8 GiB and more)."""
    if field[0] >= 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def header_name(header: bytes) -> bytes:
    """The name in the header: ustar's prefix, if any, and the name field."""
    name = header[:100].partition(b"\0")[0]
    if header[345] and header[257:263] == b"ustar\0":
        return header[345:500].partition(b"\0")[0] + b"/" + name
    return name


def check_header(header: bytes, where: str) -> None:
    """Raises Damaged if the checksum is wrong: the sum of the header's bytes, with blanks for the checksum itself."""
    try:
        stored = number(header[148:156])
    except ValueError:
        stored = -1
    if stored != sum(header) - sum(header[148:156]) + 256:
        raise Damaged(f"{where}: no tar header")


def pax_records(data: bytes, where: str) -> dict[bytes, bytes]:
    """`LENGTH KEY=VALUE\\n` records of an extended header."""
    records: dict[bytes, bytes] = {}
    while data.strip(b"\0"):
        length, blank, _ = data[:24].partition(b" ")
        if not (blank and length.isdigit() and len(length) + 3 < int(length) <= len(data)):
            raise Damaged(f"{where}: a damaged pax header")
        key, equals, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if not equals:
            raise Damaged(f"{where}: a damaged pax header")
        records[key], data = value, data[int(length) :]
    return records


def members(file: PositionedFile) -> Iterator[Member]:
    """Every member except folders, in order, of an open file. Its end may cut off the last one.

    Blocks of zeros are skipped, so that tar files joined by `cat` are read to the end.

    Raises:
        Damaged: a header is wrong, or the file ends too early. The good members before come first.
    """
    size = file.size
    position, long_name, records = 0, b"", {}
    while position + TAR_BLOCK <= size:
        header = file.read(TAR_BLOCK, position)
        if header == ZERO:
            position += TAR_BLOCK
            continue
        where = position
        if (
            header[257:262] != MAGIC
        ):  # with the magic, checking costs more than it finds: damage shows at the next header
            check_header(header, f"byte {where:,}")
        try:
            length, kind = number(header[124:136]), header[156:157]
        except ValueError as error:
            raise Damaged(f"byte {where:,}: a member without a size") from error
        position += TAR_BLOCK
        if kind in (LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL):
            if length > MAX_HEADER or position + length > size:
                raise Damaged(f"byte {where:,}: a damaged extended header")
            content = file.read(length, position)
            if kind == LONG_NAME:
                long_name = content.rstrip(b"\0")
            elif kind == PAX:
                records = pax_records(content, f"byte {where:,}")
            position += -(-length // TAR_BLOCK) * TAR_BLOCK
            continue
        if records and b"size" in records:
            if not records[b"size"].isdigit():
                raise Damaged(f"byte {where:,}: a damaged pax header")
            length = int(records[b"size"])
        name = records.get(b"path") or long_name or header_name(header)
        if kind != DIRECTORY:
            text = name.decode("utf-8", "surrogateescape").removeprefix("./")
            yield Member(text, position // TAR_BLOCK, length, kind in REGULAR)
        if kind not in WITHOUT_CONTENTS:
            position += -(-length // TAR_BLOCK) * TAR_BLOCK
        if position > size + TAR_BLOCK:
            raise Damaged(f"the file ends inside {name.decode('utf-8', 'replace')}", "truncated tar")
        long_name, records = b"", {}
    if position < size:
        raise Damaged(f"byte {position:,}: the file ends inside a header", "truncated tar")
