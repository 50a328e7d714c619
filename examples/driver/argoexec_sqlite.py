"""A storage driver for argoexec: artifacts in a SQLite database."""

import sqlite3
from contextlib import closing, contextmanager
from itertools import chain

from drivers.body import Body
from lifecycle.errors import BadRequest, Forbidden, InputError, NotFound, Permanent, StorageFull, Unavailable
from lifecycle.ports import StoredObject

CHUNK = 1 << 20  # never the whole object: an artifact may be larger than memory
TABLE = "CREATE TABLE IF NOT EXISTS chunk (key TEXT, number INTEGER, data BLOB, PRIMARY KEY (key, number))"
MEANINGS = {
    sqlite3.SQLITE_BUSY: Unavailable,  # transient: there will be another attempt, with a driver made anew
    sqlite3.SQLITE_CANTOPEN: BadRequest,
    sqlite3.SQLITE_FULL: StorageFull,
    sqlite3.SQLITE_READONLY: Forbidden,
}


@contextmanager
def told(what):
    """Errors of the library become argoexec's, where they are met: by type and code, never by text."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise MEANINGS.get(code, Permanent)(f"{what}: {error}", remedy="check the database") from error


class SqliteDriver:
    def __init__(self, config, secrets):  # secrets.read(config.get("passwordSecret")) gives a secret of the pod
        self._file = config.get("file")
        if not isinstance(self._file, str) or not self._file:
            raise InputError("expected the path of a database", place="configuration.file")

    def _connect(self):  # one for each call, as a driver serves several threads
        db = sqlite3.connect(self._file, timeout=60, isolation_level=None, check_same_thread=False)
        db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {TABLE}")
        return db

    def open(self, key):
        where = f"reading {key!r} of {self._file}"
        with told(where):
            db = self._connect()
            db.execute("BEGIN")  # size and chunks of one moment, whoever writes meanwhile
            size = db.execute("SELECT sum(length(data)) FROM chunk WHERE key = ?", [key]).fetchone()[0]
        if size is None:
            db.close()
            raise NotFound(f"{where}: there is no such object")
        return Body(Chunks(db, key, where), where, size, lambda error: error)

    def save(self, key, stream, size_hint):
        where = f"writing {key!r} to {self._file}"
        with told(where), closing(self._connect()) as db:  # what is not committed is gone when it is closed
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM chunk WHERE key = ?", [key])
            chunks = chain([stream.read(CHUNK)], iter(lambda: stream.read(CHUNK), b""))
            db.executemany("INSERT INTO chunk VALUES (?, ?, ?)", ((key, *one) for one in enumerate(chunks)))
            db.execute("COMMIT")

    def list(self, key):
        prefix, query = f"{key.rstrip('/')}/", "SELECT key, sum(length(data)) FROM chunk GROUP BY key ORDER BY key"
        with told(f"listing {key!r} of {self._file}"), closing(self._connect()) as db:
            for name, size in db.execute(query):
                if name.startswith(prefix):
                    yield StoredObject(name.removeprefix(prefix), size)

    def delete(self, key):
        with told(f"deleting {key!r} of {self._file}"), closing(self._connect()) as db:
            db.execute("DELETE FROM chunk WHERE key = ?", [key])


class Chunks:
    """What a Body wraps: reads of any size out of chunks."""

    def __init__(self, db, key, where):
        self._db, self._where, self._rest = db, where, b""
        self._chunks = db.execute("SELECT data FROM chunk WHERE key = ? ORDER BY number", [key])

    def read(self, size):
        with told(self._where):
            if not self._rest:
                self._rest = next(self._chunks, (b"",))[0]
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self):
        self._db.close()
