"""Files of keys: what is public from end to end, and how wrong judges are found out."""

from __future__ import annotations

import base64
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.ports.filetree import SkipReason
from aiplatform.mesh_ide.workspace.adapters.memory_disk import MemoryDisk
from aiplatform.mesh_ide.workspace.adapters.memory_tree import MemoryFileTree
from aiplatform.mesh_ide.workspace.pem import PUBLIC_LABELS, is_public
from tests.contract.filetree_rig import Cache

_BLOCK = re.compile(rb"-----BEGIN [\s\S]*?-----END.*\n")
_BODY = base64.encodebytes(bytes(range(150)))


def block(label: str, body: bytes = _BODY) -> bytes:
    """Return a labelled block."""
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), body, label.encode())


CERTIFICATE = block("CERTIFICATE")
SHORT_KEY = b"MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmi\n"
BEGIN = b"-----BEGIN CERTIFICATE-----\n"
PRIVATE = block("PRIVATE KEY")

PUBLIC = {
    "one certificate": CERTIFICATE,
    "several, with comments": b"# Issuer: CN=\xc5\x91 Root\n" + CERTIFICATE + b"\n" + CERTIFICATE,
    "as curl's bundle is": b"## SHA256: " + b"1b" * 32 + b"\n\nA Root\n====\n" + CERTIFICATE,
    "lines as Windows ends them": CERTIFICATE.replace(b"\n", b"\r\n"),
    "a public key": block("PUBLIC KEY"),
    **{f"labelled {label.decode()}": block(label.decode()) for label in PUBLIC_LABELS},
}  # fmt: skip

SECRET = {
    "empty": b"",
    "no PEM": b"anything",
    "a document": b"PK\x03\x04" + bytes(200),
    "a private key": PRIVATE,
    "a private key of each old kind": block("RSA PRIVATE KEY"),
    "an encrypted one": block("ENCRYPTED PRIVATE KEY"),
    "a key behind a certificate": CERTIFICATE + PRIVATE,
    "a key between certificates": CERTIFICATE + PRIVATE + CERTIFICATE,
    "a key behind much": CERTIFICATE * 400 + PRIVATE,
    "a key whose label is cut": CERTIFICATE + b"-----BEGIN PRIV",
    "a key commented out": CERTIFICATE + PRIVATE.replace(b"-----BEGIN", b"# -----BEGIN"),
    "a key as openssl prints it": CERTIFICATE + b"Private-Key: (256 bit)\npriv:\n    00:a1\n",
    "a key without labels": CERTIFICATE + _BODY,
    "a short key without labels": CERTIFICATE + SHORT_KEY,
    "a short key in a comment": CERTIFICATE + b"# " + SHORT_KEY,
    "a key in a certificate's block": block("CERTIFICATE", PRIVATE),
    "a key of ssh.com": CERTIFICATE + b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n",
    "a key in lower case": CERTIFICATE + b"-----begin private key-----\n",
    "a key in UTF-16": CERTIFICATE + PRIVATE.decode().encode("utf-16"),
    "a certificate that is being written": CERTIFICATE[:-10],
    "ends that do not fit": BEGIN + _BODY + b"-----END PUBLIC KEY-----\n",
    "an end alone": b"-----END CERTIFICATE-----\n",
    "headers inside": block("CERTIFICATE", b"Proc-Type: 4,ENCRYPTED\n\n" + _BODY),
    "a block of an unknown kind": block("PKCS7"),
    "parameters": block("EC PARAMETERS"),
}  # fmt: skip


def misjudged(judge: Callable[[bytes], bool]) -> list[str]:
    """Return the files that a judge calls wrongly."""
    wrong = [name for name, content in PUBLIC.items() if not judge(content)]
    return wrong + [name for name, content in SECRET.items() if judge(content)]


def test_only_what_is_public_from_end_to_end_is_public() -> None:
    """Whatever is not understood counts as secret."""
    assert misjudged(is_public) == []


@pytest.mark.parametrize(
    "careless",
    [
        lambda content: b"PRIVATE KEY-----" not in content,
        lambda content: content.lstrip().startswith(b"-----BEGIN CERTIFICATE"),
        lambda content: is_public(content[: 64 * 1024].rpartition(b"-----\n")[0] + b"-----\n"),
        lambda content: is_public(b"".join(_BLOCK.findall(content))),
    ],
    ids=["looks for a label", "looks at the beginning", "looks at a part", "skips what is between"],
)  # fmt: skip
def test_a_careless_judge_lets_a_key_out_and_is_found(careless: Callable[[bytes], bool]) -> None:
    """Each of the tempting shortcuts calls a private key public."""
    assert [name for name in misjudged(careless) if "key" in name and name in SECRET]


def test_what_openssl_makes_is_judged_rightly(tmp_path: Path) -> None:
    """Real keys and certificates, also in one file."""

    def openssl(*words: str) -> bytes:
        command = ["openssl", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=rocket", "-keyout", "key.pem", "-out", "cert.pem")  # fmt: skip
    certificate, key = ((tmp_path / name).read_bytes() for name in ("cert.pem", "key.pem"))
    explained = openssl("x509", "-in", "cert.pem", "-text")
    public = openssl("pkey", "-in", "key.pem", "-pubout")
    both = openssl("pkey", "-in", "key.pem", "-text")
    verdicts = [is_public(one) for one in (certificate, explained, public, certificate + public)]
    assert verdicts == [True] * 4
    assert [is_public(one) for one in (key, both, certificate + key, key + certificate)] == [
        False
    ] * 4


def test_a_mebibyte_is_judged_within_a_moment() -> None:
    """The cost is that of one reading, whatever stands in the file (5 ms measured; 500 allowed)."""
    start = time.process_time()
    for hostile in (
        CERTIFICATE * 4500,
        b"-----BEGIN " * 90_000,
        b"A" * 1_000_000,
        b"#\n" * 500_000,
    ):
        is_public(hostile[: 1024 * 1024])
    assert time.process_time() - start < 2


def test_what_is_too_large_to_be_judged_is_not_read_at_all() -> None:
    """A file that cannot be read tells: a look that tried would call it unreadable."""
    disk = MemoryDisk()
    for name, size in (("huge.pem", 1024 * 1024 + 1), ("small.pem", 1)):
        disk.put(name, disk.make(bytes(size), FileMode.REGULAR))
        disk.denied.add(name)
    batch = MemoryFileTree(disk, Cache()).observe(["huge.pem", "small.pem"], {})
    assert {one.path: one.reason for one in batch.skipped} == {
        "huge.pem": SkipReason.SECRET,
        "small.pem": SkipReason.UNREADABLE,
    }


@pytest.mark.parametrize(
    "said",
    [
        b"# key " + b"9d61b19d" * 8,
        b"9d 61 b1 9d ef fd 5a 60 ba 84 4a f4 92 ec",
        b"MC4CAQAwBQYDK2VwBCIEINTu\nctv5E1hK1bbY8fdp",
        b"priv:\n    00:ab:12:cd:00:ab:12:cd:00:ab:12:cd",
        b"password=hunter2",
        b"SECRET: x",
        bytes(range(128, 228)),
    ],
)
def test_what_stands_between_blocks_may_be_a_key_without_its_labels(said: bytes) -> None:
    """Keys in hexadecimal, cut into short lines or named as what they are stay at home."""
    certificate = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    assert is_public(certificate + b"# Buypass Class 2 Root CA\n# MD5 Fingerprint: 46:a7:d2\n")
    assert not is_public(certificate + said + b"\n")
