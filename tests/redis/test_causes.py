"""Why Redis cannot be used: said in words, never with a secret."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    MaxConnectionsError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from django_import_progress import ProgressUnavailable
from django_import_progress.redis import executor
from django_import_progress.redis.causes import KINDS, REFUSALS, cause_of

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.managers import manager_on
from ..kit.processes import RedisProcess, free_port

__all__ = ["defence"]

both_managers = pytest.mark.parametrize("kind", ["async", "sync"])
PASSWORD = "pass-word"


def _knows_no_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "cause_of", lambda error: "")


async def _fails(kind: str, url: str, words: str) -> None:
    async with manager_on(kind, url) as progress:
        with pytest.raises(ProgressUnavailable, match=words) as caught:
            await progress.get_progress("j1")
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that nobody has signed, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis.example")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *form))
    return folder


@pytest.fixture(scope="module")
def locked(redis_program: str, folder: Path) -> Iterator[tuple[RedisProcess, int]]:
    """A server with a password, EVALSHA renamed, and the port at which it speaks TLS."""
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(folder / "cert.pem")]
    options += ["--tls-key-file", str(folder / "key.pem"), "--tls-auth-clients", "no"]
    options += ["--tls-ca-cert-file", str(folder / "cert.pem"), "--rename-command", "EVALSHA", ""]
    with RedisProcess(redis_program, *options) as process:
        process.do("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        yield process, port


@both_managers
@pytest.mark.parametrize(
    ("login", "tail", "words"),
    [
        (f"app:{PASSWORD}@", "0", "does not know EVALSHA: renamed or disabled?"),
        (f"app:{PASSWORD}x@", "0", "does not accept the user or the password"),
        (f"nobody:{PASSWORD}@", "0", "does not accept the user or the password"),
        (f"app:{PASSWORD}@", "99", "has no database with the number in REDIS_URL"),
    ],
)
@without(_knows_no_cause)
async def test_what_a_server_refuses_is_said_in_words(
    locked: tuple[RedisProcess, int], kind: str, login: str, tail: str, words: str
) -> None:
    await _fails(kind, f"redis://{login}127.0.0.1:{locked[0].port}/{tail}", words)


@both_managers
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", r"certificate is not accepted \(self-signed certificate\)"),
        ("?ssl_ca_certs={folder}/cert.pem", r"certificate is not accepted \(.*127\.0\.0\.1"),
    ],
)
@without(_knows_no_cause)
async def test_a_certificate_is_said_to_be_the_cause(
    locked: tuple[RedisProcess, int], folder: Path, kind: str, options: str, words: str
) -> None:
    url = f"rediss://app:{PASSWORD}@127.0.0.1:{locked[1]}/0{options.format(folder=folder)}"
    await _fails(kind, url, words)


@both_managers
async def test_no_tls_where_it_is_wanted(locked: tuple[RedisProcess, int], kind: str) -> None:
    await _fails(kind, f"redis://127.0.0.1:{locked[1]}", "closed the connection|with TLS")


@both_managers
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://127.0.0.1:{port}", r"connection refused\); is the server up\?"),
        ("redis://nowhere.invalid", "name of its host cannot be resolved"),
        ("redis+cluster://127.0.0.1:{port}", "connection refused|Cluster's servers can be used"),
        ("redis+sentinel://127.0.0.1:{port}/main", "connection refused|know of no"),
        ("unix:///nowhere/redis.sock", "there is no such socket"),
    ],
)
@without(_knows_no_cause)
async def test_what_is_not_reached_is_said_in_words(kind: str, url: str, words: str) -> None:
    await _fails(kind, url.format(port=free_port()), words)


@both_managers
async def test_a_cluster_that_is_none(server: RedisProcess, kind: str) -> None:
    await _fails(kind, server.url.replace("redis:", "redis+cluster:"), "Cluster")


@pytest.fixture
def web_server() -> Iterator[int]:
    """The port of something that is no Redis."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@both_managers
async def test_what_is_no_redis_at_all(web_server: int, kind: str) -> None:
    await _fails(kind, f"redis://127.0.0.1:{web_server}", "not Redis|closed the connection")


@pytest.mark.parametrize(
    "text", ["-NOPERM this user has no permissions to access one of the keys used as arguments"]
)
def test_a_key_that_is_not_permitted(text: str) -> None:
    assert "one of its keys" in cause_of(ResponseError(text))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
            "memory is full",
        ),
        (ResponseError("ACL failure in script: No permissions to access a channel"), "its channel"),
        (ResponseError("Invalid command passed to redis.acl_check_cmd()"), "A COMMAND"),
        (ResponseError("The user executing the script can't run this"), "a command that is needed"),
        (ResponseError("whatever"), ""),
        (AuthenticationError("no"), "does not accept"),
        (MaxConnectionsError("Too many"), "all connections of this process are in use"),
        (InvalidResponse("Protocol Error"), "not Redis"),
        (RedisClusterException(), "none of the Cluster's servers"),
        (IndexError(), "does not serve all hash slots"),
        (TimeoutError(), "does not respond in time"),
        (PermissionError(), "may not open"),
        (RedisError("what nobody knows"), ""),
    ],
)
def test_each_error_has_its_words(error: Exception, words: str) -> None:
    assert words in cause_of(error)
    assert bool(cause_of(error)) is bool(words)


def test_the_words_end_no_sentence_and_hold_no_url() -> None:
    for words in (*REFUSALS.values(), *KINDS.values()):
        assert not words.endswith(".")
        assert "@" not in words


def test_errors_that_lead_to_each_other_in_a_circle() -> None:
    first: Any = RedisError("a")
    first.__cause__ = second = RedisError("b")
    second.__cause__ = first
    assert cause_of(first) == ""
