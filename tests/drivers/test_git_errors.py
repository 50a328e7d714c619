"""The words of git, curl and ssh that no server of the tests says: other versions, TLS libraries and faults."""

from __future__ import annotations

import pytest

from drivers.git_command import Failed
from drivers.git_errors import meaning
from lifecycle.errors import (
    BadRequest,
    Forbidden,
    LifecycleError,
    Permanent,
    StorageFull,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("fatal: unable to access 'https://h/r/': SSL certificate problem: self-signed certificate", Permanent),
        ("fatal: unable to access 'https://h/r/': SSL: no alternative certificate subject name matches 'h'", Permanent),
        ("fatal: unable to access 'https://h/r/': error:0A00010B:SSL routines::wrong version number", Permanent),
        ("fatal: unable to access 'https://h/r/': gnutls_handshake() failed: Error in the pull function.", Unavailable),
        ("fatal: unable to access 'https://h/r/': Failed to connect to h port 443: Connection timed out", TimedOut),
        ("fatal: unable to access 'https://h/r/': Could not resolve proxy: p", Unavailable),
        ("fatal: unable to access 'https://h/r/': CONNECT tunnel failed, response 407", Unauthorized),
        ("fatal: unable to access 'https://h/r/': Received HTTP code 503 from proxy after CONNECT", Unavailable),
        ("fatal: unable to access 'http://h/r/': The requested URL returned error: 407", Unauthorized),
        ("fatal: unable to access 'https://h/r/': Empty reply from server", Unavailable),
        ("error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502\nfatal: early EOF", Unavailable),
        ("fatal: unable to look up h (port 9418) (Temporary failure in name resolution)", Unavailable),
        ("h[0: 10.0.0.1]: errno=Connection timed out", TimedOut),
        ("ssh: connect to host h port 22: Connection timed out", TimedOut),
        ("ssh: connect to host h port 22: No route to host", Unavailable),
        ("kex_exchange_identification: Connection closed by remote host", Unavailable),
        ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures", Unauthorized),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", BadRequest),
        ("No user exists for uid 12345\nfatal: Could not read from remote repository.", Unsupported),
        ("git: 'remote-https' is not a git command. See 'git --help'.", Unsupported),
        ("fatal: dumb http transport does not support shallow capabilities", Unsupported),
        ('Load key "/proc/1/fd/9": Permission denied\na@h: Permission denied (publickey).', Unsupported),
        ("error: unable to create file x: Disk quota exceeded", StorageFull),
        ("fatal: cannot mkdir .git: Read-only file system", Forbidden),
        ("", Unavailable),
        ("something new", Unavailable),
    ],
)
def test_what_is_said_means_one_error(said: str, error: type[LifecycleError]):
    found = meaning("git https://h/r", Failed("fetch", 128, said, network=True))

    assert type(found) is error
    assert found.message.startswith("git https://h/r: ")


def test_what_is_in_no_row_is_final_where_no_server_had_part():
    assert type(meaning("git /r", Failed("init", 128, "something new", network=False))) is Permanent
    assert type(meaning("git /r", Failed("init", -9, "", network=False))) is Unavailable


def test_a_long_line_is_cut():
    assert len(meaning("git /r", Failed("fetch", 1, "fatal: " + "x" * 10_000, network=True)).message) < 400
