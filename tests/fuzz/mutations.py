"""Cases: archives of entries that mean harm or lie, and archives whose bytes or headers were changed afterwards."""

import bz2
import copy
import gzip
import lzma
import random
import struct

from lifecycle.archive import headers
from tests.lifecycle.archives import KINDS, One, head, pax, tarred, zipped, zstd

NAMES = [
    b"a", b"b", b"d/", b"d/a", b"d/e/f", b"..", b"../x", b"/", b"", b".", b"./a", b"d//a", b"d/../x", b"/etc/x",
    b"a\0b", b"\xff", "ä".encode(), b"C:\\x", b"..\\x", b"n" * 100, b"n" * 300, b"x/" * 200 + b"y", b"d", b"l", b"l/a",
    b" ", b"\n", b"../../x", b"../../canary", b"../../../../outside/x", b"l/canary", b"l/x", b"d/l", b"d/l/x",
]  # fmt: skip
# From the hidden directory beside the target four levels up are the judge's home.
LINKS = [
    b"", b".", b"..", b"a", b"d", b"/", b"../canary", b"l", b"\xff", b"x" * 5000, b"a\0b", b"../../../../outside",
    b"../../../..", b"../..", b"../../canary", b"../../../../outside/canary", b"d/..",
]  # fmt: skip
CONTENTS = [b"", b"x", b"some words " * 100, bytes(5000), bytes(700_000), b"PK\5\6" + bytes(18), b"PK\1\2" * 30]
NUMBERS = [
    0, 1, 2, 7, 8, 12, 14, 22, 30, 46, 93, 99, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF,
    0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1,
]  # fmt: skip
KINDS_OF_ENTRY = [b"0", b"0", b"0", b"1", b"2", b"2", b"3", b"5", b"5", b"6", b"7", b"S", b"L", b"K", b"V", b"\0", b"x"]
PACK = {"": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd.compress}
ZIP64 = struct.Struct("<2H3Q")

# Where the fields of a tar's header are.
FIELDS = [(0, 100), (100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (148, 8), (156, 1), (157, 100), (257, 8),
          (345, 155), (386, 24), (482, 1), (483, 12)]  # fmt: skip
VALUES = [
    b"", b"\0", b"7" * 11, b"\x80" + bytes(10) + b"\1", b"\x80" + b"\x7f" * 11, b"\xff" * 12, b"-1", b" 1", b"0x1",
    b"ustar\0", b"ustar  \0", b"../x", b"/", b"9" * 12, b"1_0",
]  # fmt: skip
RECORDS = [
    {"path": b"../x"}, {"path": b"a\0b"}, {"path": b""}, {"linkpath": b"../../outside"}, {"size": b"-1"},
    {"size": b"9" * 20}, {"size": b"5"}, {"mtime": b"1e9"}, {"mtime": b"-0.5"}, {"mtime": b"9" * 19},
    {"uid": b"9" * 15}, {"GNU__sparse__size": b"100", "GNU__sparse__map": b"0,1,50,2"},
    {"GNU__sparse__realsize": b"9" * 18},
    {"GNU__sparse__major": b"1", "GNU__sparse__realsize": b"3000"}, {"GNU__sparse__name": b"/../x"},
]  # fmt: skip


class Maker:
    """Makes cases from a seed; a case is bytes and what they are declared to be."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.kept = []

    def case(self):
        """A new archive, or one that was worth keeping, usually with something changed."""
        chance = self.random.random()
        if self.kept and chance < 0.5:
            data, declared = self.random.choice(self.kept)
        elif chance < 0.75:
            data, declared = self.zip(), "zip"
        else:
            data, declared = self.tar(), "tar"
        if self.random.random() < 0.7:
            data = self.changed(data)
        if self.random.random() < 0.1:
            declared = self.random.choice(["tar", "zip", None, "none"])
        return data[: 1 << 20], declared

    def keep(self, data, declared):
        """It took a way that none took before: begin with it again."""
        if len(data) < 1 << 18:
            self.kept.append((data, declared))

    def entries(self):
        pick = self.random.choice
        found = [
            One(pick(NAMES), pick(KINDS_OF_ENTRY), pick(CONTENTS), pick(LINKS), pick([0o755, 0o644, 0, 0o7777]))
            for _ in range(pick([0, 1, 1, 2, 3, 5, 9]))
        ]
        if self.random.random() < 0.3:
            # Something, and an entry through it: where archives have escaped from other programs.
            way = pick([b"l", b"d", b"d/l"])
            found.insert(0, One(way, pick([b"2", b"2", b"1", b"0"]), b"x", pick(LINKS)))
            found.append(One(way + pick([b"", b"/", b"/x", b"/../x"]), pick(KINDS_OF_ENTRY), b"x", pick(LINKS)))
        return found

    def tar(self):
        data = bytearray()
        for entry in self.entries():
            if self.random.random() < 0.3:
                data += pax(**self.random.choice(RECORDS))
            if entry.kind in (b"L", b"K"):
                text = self.random.choice(NAMES) + b"\0"
                data += headers.build(b"././@LongLink", entry.kind, 0, 0, 0, len(text), 0) + text.ljust(512, b"\0")
                continue
            data += head(entry.name, entry.kind, entry.content, entry.link, entry.mode)
        data += bytes(1024)
        if self.random.random() < 0.5 and len(data) > 1024:
            self._change_header(data)
        return PACK[self.random.choice(list(PACK))](bytes(data))

    def _change_header(self, data):
        """A field of one header, and its checksum so that it is believed."""
        at = self.random.randrange(len(data) // 512) * 512
        start, size = self.random.choice(FIELDS)
        value = self.random.choice(VALUES)[:size]
        data[at + start : at + start + len(value)] = value
        data[at + 148 : at + 156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])

    def zip(self):
        pick, chance = self.random.choice, self.random.random
        entries = self.entries()
        for entry in entries:
            self._stored(entry)
            self._lie(entry)
        last = None
        if chance() < 0.1:
            key = pick(["here", "count", "size", "offset", "comment", "disk"])
            last = {key: pick(NUMBERS) & (0xFFFFFFFF if key in ("size", "offset") else 0xFFFF)}
        around = {key: pick(CONTENTS[:3] + CONTENTS[5:]) for key in ("before", "between", "comment") if chance() < 0.05}
        return zipped(copy.deepcopy(entries), last=last, **around)

    def _stored(self, entry):
        """Some compression, done well."""
        entry.method = self.random.choice([0, 8, 8, 8, 12, 14, 93, 9])
        if entry.method == 12:
            entry.stored = bz2.compress(entry.content)
        elif entry.method == 14:
            alone = lzma.compress(entry.content, lzma.FORMAT_ALONE)
            entry.stored, entry.flags = b"\x09\4\5\0" + alone[:5] + alone[13:], 2
        elif entry.method == 93:
            entry.stored = zstd.compress(entry.content)

    def _lie(self, entry):
        pick, chance = self.random.choice, self.random.random
        entry.host = pick([0, 3, 3, 3, 10, 19])
        if chance() < 0.1:
            entry.extra = ZIP64.pack(1, 24, pick(NUMBERS), pick(NUMBERS), pick(NUMBERS))
        if chance() < 0.1:
            entry.flags |= pick([1, 8, 32, 64, 2048, 8192])
        for lies in (entry.local, entry.central):
            if chance() < 0.15:
                key = pick(["size", "stored", "crc", "method", "flags"])
                lies[key] = pick(NUMBERS) & (0xFFFF if key in ("method", "flags") else 0xFFFFFFFF)
        for key in ("offset", "attributes"):
            if chance() < 0.1:
                entry.central[key] = pick(NUMBERS) & 0xFFFFFFFF

    def changed(self, data):
        """Bytes of it, with no knowledge of what they are."""
        changed = bytearray(data)
        for _ in range(self.random.choice([1, 1, 1, 2, 5])):
            if changed:
                self._change(changed, self.random.randrange(len(changed)))
        return bytes(changed)

    def _change(self, data, at):
        pick = self.random.choice
        match self.random.randrange(8):
            case 0:
                data[at] ^= 1 << self.random.randrange(8)
            case 1:
                data[at] = pick([0, 0xFF, 0x7F, 0x80, self.random.randrange(256)])
            case 2:
                size = pick([2, 4, 8])
                data[at : at + size] = (pick(NUMBERS) & (1 << 8 * size) - 1).to_bytes(size, pick(["little", "big"]))
            case 3:
                del data[at : at + pick([1, 2, 22, 46, 512, 4096])]
            case 4:
                data[at:at] = data[at : at + pick([1, 30, 46, 512, 2048])]
            case 5:
                del data[at:]
            case 6:
                data += self.random.randbytes(pick([1, 4, 512]))
            case _ if self.kept:
                other = pick(self.kept)[0]
                data[at:] = other[self.random.randrange(len(other) + 1) :]


def seeds():
    """One good archive of each kind."""
    entries = [
        One(b"d/", b"5"), One(b"d/f", content=b"some words " * 50), One(b"d/l", b"2", link=b"f"),
        One(b"d/e", content=b""),
    ]  # fmt: skip
    for pack, declared in KINDS.values():
        yield pack(copy.deepcopy(entries)), declared
    yield tarred(entries) * 2, "tar"
