"""Compression as streams, and what bytes are by how they begin.

gzip goes through isal wherever it can: 640 MB/s at a ratio of 0.352 on one core, where zlib's level 6 makes
56 MB/s at 0.316 and the standard library's default of 9 makes 16 MB/s for one further percent. Memory is flat
both ways: a decompressor is never asked for more than a chunk.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from lifecycle.archive import headers
from lifecycle.archive.stream import Readable
from lifecycle.errors import BadRequest, CorruptData, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lifecycle.archive.stream import Head

CHUNK = 128 * 1024

_GZIP_WINDOW = 31  # 15 bits of window, and 16 for a gzip header: its time is 0, so equal content gives equal bytes
_ISAL_DEFAULT = 2
_ZLIB_DEFAULT = 6

_RAW_WINDOW = -15

# xz -9 needs 65 MiB. The format can ask for 4 GiB; 6 000 bytes would be enough to end the pod.
_XZ_MEMORY = 96 << 20

# 128 MiB of window: what `zstd -d` takes without being asked, and `zstd --long` and --ultra -22 need. The format can
# ask for 2 TiB. It costs memory only as it fills; -19 makes windows of 8 MiB.
_ZSTD_WINDOW_LOG = 27

_MAGIC = {
    "gzip": b"\x1f\x8b\x08",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "zstd": b"\x28\xb5\x2f\xfd",
}
# pzstd puts a frame to be skipped before each of its frames.
_SKIPPABLE = {bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16)}
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")

# bzip2 gives nothing before it has a whole block, which may be 900 kB of input; the others need far less, but may begin
# with frames to be skipped or members of nothing.
_LOOK_AHEAD = (4096, 128 * 1024, 1 << 20, 8 << 20)


@dataclass(frozen=True, slots=True)
class Detected:
    """What bytes are: ``compression`` is gzip, bzip2, xz, zstd or none; ``container`` is tar, zip or none.

    ``empty`` says that a tar's end stands where its first entry should be: a tar only for whoever declared
    one.
    """

    compression: str | None
    container: str | None
    empty: bool = False


class Decompressor(Protocol):
    """What bz2, lzma, isal and zstd have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def compress(chunks: Iterator[bytes], level: int | None) -> Iterator[bytes]:
    """Gzip. ``level`` is Argo's ``archive.tar.compressionLevel``, by the words of Go's compress/gzip.

    ======== =================================================================
    None, -1 isal 2, the best of size for time: 643 MB/s, ratio 0.352
    0        stored, in a gzip envelope
    1, 2, 3  isal at that level: 670, 643, 372 MB/s, ratio 0.356, 0.352, 0.341
    4, 5, 6  isal 3 too: zlib 6 would take seven times as long for 0.316
    7, 8, 9  zlib at that level: whoever asks for so much wants the ratio
    -2       Huffman codes only
    ======== =================================================================

    Raises:
        BadRequest: another level. At once, not at the first chunk.
    """
    engine = _compressor(level)

    def run() -> Iterator[bytes]:
        for chunk in chunks:
            data = engine.compress(chunk)
            if data:
                yield data
        yield engine.flush()

    return run()


def _compressor(level: int | None) -> Any:
    if level is None:
        level = -1
    if not -2 <= level <= 9:
        raise BadRequest(f"the compression level {level} does not exist", remedy="choose one of -2 to 9")
    if level in (-2, 0) or level >= 7:
        strategy = zlib.Z_HUFFMAN_ONLY if level == -2 else zlib.Z_DEFAULT_STRATEGY
        return zlib.compressobj(1 if level == -2 else level, wbits=_GZIP_WINDOW, strategy=strategy)
    try:
        from isal import isal_zlib  # noqa: PLC0415 - 22 ms, on the first archive
    except ImportError:
        return zlib.compressobj(_ZLIB_DEFAULT if level == -1 else level, wbits=_GZIP_WINDOW)
    return isal_zlib.compressobj(_ISAL_DEFAULT if level == -1 else min(level, 3), wbits=_GZIP_WINDOW)


def deflater() -> Any:
    """For an entry of a zip: isal's level 2 makes 257 MB/s at a ratio of 0.413, where zlib's 6 makes 31 at 0.412."""
    try:
        from isal import isal_zlib  # noqa: PLC0415
    except ImportError:
        return zlib.compressobj(_ZLIB_DEFAULT, wbits=_RAW_WINDOW)
    return isal_zlib.compressobj(_ISAL_DEFAULT, wbits=_RAW_WINDOW)


def inflater(method: int, take: Callable[[int], bytes], size: int, *, marked: bool) -> Decompressor:
    """For an entry of a zip, by its method. LZMA alone needs to know what it becomes, unless its end is ``marked``.

    Raises:
        CorruptData: LZMA's properties, which ``take`` gives, cannot be right, or ask for too much memory.
        Unsupported: this Python has no module for it.
    """
    from lifecycle.archive import records  # noqa: PLC0415 - on the first zip

    if method == records.LZMA:
        import lzma  # noqa: PLC0415

        head = take(9)
        if len(head) < 9 or head[2:4] != b"\x05\x00":
            raise CorruptData("the properties of its lzma data cannot be read")
        engine: Decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_MEMORY)
        # As an .lzma file: its header is these properties, and the size or all ones.
        before = head[4:] + (b"\xff" * 8 if marked else size.to_bytes(8, "little"))
        _guarded(engine, before, 0, "lzma")
        return engine
    return _new_decompressor({records.DEFLATED: "deflate", records.BZIP2: "bzip2", records.ZSTD: "zstd"}[method])


def decompressed(stream: BinaryIO, kind: str) -> BinaryIO:
    """The content of a gzip, bzip2, xz or zstd stream, several members in a row included. ``stream`` stays
    the caller's.

    Reading raises CorruptData where the bytes are damaged or end too early.

    Raises:
        Unsupported: this Python has no module for ``kind``.
    """
    _new_decompressor(kind)
    return _Decompressed(stream, kind)


def detect(head: Head) -> Detected:
    """What a stream is, from its first bytes; nothing of it is consumed.

    A compressed file is an archive only if there is a tar inside, by the checksum of its first header: a
    plain ``.gz`` is the user's data, and is to be stored as it is.
    """
    first = head.peek(512)
    if first.startswith(_ZIP_MAGIC):
        return Detected(None, "zip")
    kind = next((kind for kind, magic in _MAGIC.items() if first.startswith(magic)), None)
    if kind is None and first[:4] in _SKIPPABLE:
        kind = "zstd"
    if kind is not None:
        first = _first_inside(head, kind)
    return Detected(kind, "tar" if headers.is_header(first) else None, empty=first == bytes(512))


def _first_inside(head: Head, kind: str) -> bytes:
    """The first 512 bytes of the content, or what there is of them."""
    found = b""
    for size in _LOOK_AHEAD:
        ahead = head.peek(size)
        found = b""
        with suppress(CorruptData, Unsupported):
            inside = decompressed(BytesIO(ahead), kind)
            while len(found) < 512 and (more := inside.read(512 - len(found))):
                found += more
        if len(found) == 512 or len(ahead) < size:
            break
    return found


class _Decompressed(Readable):
    def __init__(self, stream: BinaryIO, kind: str) -> None:
        self._stream = stream
        self._kind = kind
        self._engine: Decompressor | None = None
        self._ahead = b""
        self._started = False

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return self.readall()
        while size > 0:
            if self._engine is None and not self._next_member():
                return b""
            engine = self._engine
            assert engine is not None  # noqa: S101 - _next_member made it
            if engine.needs_input and not self._ahead:
                self._ahead = self._stream.read(CHUNK)
                if not self._ahead:
                    raise CorruptData(
                        f"the {self._kind} data ends too early: it was cut",
                        remedy="store the artifact again; the upload or the download was interrupted",
                    )
            data, self._ahead = self._ahead, b""
            out = _guarded(engine, data, min(size, CHUNK), self._kind)
            if engine.eof:
                self._ahead = engine.unused_data
                self._engine = None
            if out:
                return out
        return b""

    def _next_member(self) -> bool:
        """Begin with the first member, or the next one; zeros between and behind them are padding."""
        while True:
            if self._started:
                self._ahead = self._ahead.lstrip(b"\0")
            if self._ahead:
                break
            self._ahead = self._stream.read(CHUNK)
            if not self._ahead:
                if self._started:
                    return False
                raise CorruptData(f"there is no {self._kind} data: the stream is empty")
        self._started = True
        self._engine = _new_decompressor(self._kind)
        return True


def _guarded(engine: Decompressor, data: bytes, size: int, kind: str) -> bytes:
    try:
        return engine.decompress(data, size)
    except MemoryError:
        raise
    except Exception as error:
        # Each library has an error type of its own, and bz2 raises OSError; nothing else can go wrong in
        # there.
        raise CorruptData(f"the {kind} data is damaged: {error}") from error


def _new_decompressor(kind: str) -> Decompressor:
    engine: Decompressor
    if kind in ("gzip", "deflate"):
        try:
            from isal import igzip_lib  # noqa: PLC0415
        except ImportError:
            return _Inflate(_GZIP_WINDOW if kind == "gzip" else _RAW_WINDOW)
        engine = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP if kind == "gzip" else igzip_lib.DECOMP_DEFLATE)
        return engine
    if kind == "bzip2":
        import bz2  # noqa: PLC0415

        return bz2.BZ2Decompressor()
    if kind == "xz":
        import lzma  # noqa: PLC0415

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    if kind == "zstd":
        zstd = _zstd()
        engine = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})
        return engine
    raise Unsupported(f"there is no decompression for {kind!r}")


def _zstd() -> Any:
    """The module of Python 3.14, or its backport, which has the same classes."""
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name)
    raise Unsupported(
        "this Python cannot read zstd data",
        remedy="use Python 3.14, install the package backports.zstd, or store the artifact with gzip",
    )


class _Inflate:
    """zlib in the clothes of the others, for machines without isal."""

    def __init__(self, window: int) -> None:
        self._engine = zlib.decompressobj(window)
        self._more = False

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def needs_input(self) -> bool:
        return not self._more and not self._engine.eof

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._engine.decompress(self._engine.unconsumed_tail + data, max_length)
        # A full answer may leave more inside than unconsumed_tail shows.
        self._more = bool(self._engine.unconsumed_tail) or len(out) == max_length
        return out
