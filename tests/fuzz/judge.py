"""What must hold for any bytes at all, whatever they are declared to be."""

import io
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

from lifecycle.archive import limits as limits_module
from lifecycle.archive.extract import Limits, unpack
from lifecycle.archive.staging import remove
from lifecycle.errors import LifecycleError
from tests.lifecycle.archives import snapshot

# Small, so that a case is one too much for them as often as not.
LIMITS = Limits(members=100, size=1 << 20)

# Of room to grow: xz may take 96 MiB, zstd 128.
_MEMORY = 512 << 20


class Judge:
    """Unpacks cases, one after another, in a directory of its own with canaries around the target."""

    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self.target = self.home / "volume/inputs"
        self.target.mkdir(parents=True)
        (self.home / "outside").mkdir()
        for place in (self.home, self.home / "volume", self.home / "outside"):
            (place / "canary").write_text("alive")
        self.before = snapshot(self.home)
        self._ratio_from = limits_module._RATIO_FROM
        limits_module._RATIO_FROM = 1 << 20

    def __enter__(self):
        return self

    def __exit__(self, *_):
        limits_module._RATIO_FROM = self._ratio_from
        remove(self.home)

    def __call__(self, data, declared):
        """What became of it, in a word or a message; two cases of the same answer took the same way.

        Raises:
            AssertionError: it did what no archive may.
            Exception: it came out as an error that is none of ours.
        """
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += 1

        said = ""
        sys.setprofile(count)
        try:
            done = unpack(io.BytesIO(data), self.target / "out", declared, LIMITS)
            said = f"{done.kind} {min(done.members, 3)} {done.note}"
        except LifecycleError as error:
            said = f"{type(error).__name__} {error.message} {error.__cause__ or ''}"
            assert self.names() == [], "something was left behind"
        finally:
            sys.setprofile(None)
        if not said.startswith(("file", "directory")):
            assert snapshot(self.home) == self.before, "something outside was changed"
            return said
        assert self.names() == ["out"], "something was left beside the target"
        # What was unpacked is judged and removed; what remains must be what was there.
        out = self.target / "out"
        assert not out.is_symlink(), "the artifact itself is a link"
        assert size(out) <= 1 << 20, "it is larger than it may be"
        if out.is_dir():
            remove(out)
            shutil.rmtree(out, ignore_errors=True)
        else:
            out.unlink()
        assert snapshot(self.home) == self.before, "something outside was changed"
        # A megabyte out, a hundred entries: no honest way through is longer.
        assert calls < 100_000 + len(data), f"{calls} calls for {len(data)} bytes"
        return said

    def names(self):
        return os.listdir(self.target)


def size(top):
    return sum(os.lstat(os.path.join(where, name)).st_size for where, _, names in os.walk(top) for name in names)


def bound_memory():
    """From here on this process cannot grow much: what asks for more fails, and is found."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
