"""A storage driver for argoexec: artifacts as files below a folder, such as a mounted share."""

import os
from contextlib import contextmanager, suppress
from itertools import chain
from tempfile import TemporaryDirectory

from drivers.body import Body
from lifecycle.errors import BadRequest, InputError, NotFound, from_os_error
from lifecycle.ports import StoredObject


def fail(error):
    raise error


class FolderDriver:
    def __init__(self, config, secrets):  # secrets.read(config.get("tokenSecret")).reveal() is the value of a secret
        self._folder = str(config.get("folder", ""))
        if not os.path.isdir(self._folder):  # never NotFound: `optional` would forgive a volume that is not mounted
            raise InputError(f"there is no folder {self._folder!r}", place="configuration.folder", remedy="mount it")

    @contextmanager
    def _at(self, key, no_file=BadRequest):
        path = self._folder + os.path.normpath(f"/{key}")  # no '..' leads out of the folder
        try:
            yield path
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise no_file(f"{path}: {error.strerror}", remedy="correct the key") from error
        except OSError as error:  # translated where it is met, by its type and number, never by its text
            raise from_os_error(error) from error

    def open(self, key):
        with self._at(key, NotFound) as path:
            return Body(file := open(path, "rb"), f"reading {path}", os.fstat(file.fileno()).st_size, from_os_error)

    def save(self, key, stream, size_hint):
        with self._at(key) as path:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            beside = TemporaryDirectory(dir=self._folder, prefix=".saving-")
        with beside as new:  # what is not complete never has its name, and is gone afterwards
            for data in chain([b""], iter(lambda: stream.read(1 << 20), b"")):  # its own errors stay as they are
                with self._at(key), open(f"{new}/object", "ab") as file:
                    file.write(data)
            with self._at(key):
                os.replace(f"{new}/object", path)

    def list(self, key):
        with self._at(key) as top:
            found = os.walk(top, onerror=fail) if os.path.isdir(top) else ()
            files = sorted(os.path.relpath(f"{place}/{name}", top) for place, _, names in found for name in names)
        return map(StoredObject, files)

    def delete(self, key):
        with suppress(NotFound), self._at(key, NotFound) as path:
            os.unlink(path)
