"""The tables, their versions, and how an older state directory becomes a current one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiplatform.mesh_ide.ports.errors import NewerStateError
from aiplatform.mesh_ide.storage.errors import ForeignStateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import apsw

APPLICATION_ID: Final = 0x4D455348
"""ASCII "MESH": tells our database from any other (https://sqlite.org/pragma.html)."""

CHUNK_BITS: Final = 24
"""A chunk's key is its blob's number and, in the low 24 bits, its index: 16 TiB a blob."""

_VERSION_1: Final = """
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    session BLOB NOT NULL UNIQUE
) STRICT;

CREATE TABLE batches (
    number INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    count INTEGER NOT NULL,
    root BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE INDEX batches_by_start ON batches (session, first_sequence);

-- The number is the order of storing. The bytes stand last, so that reading the columns before
-- them touches no overflow page.
CREATE TABLE entries (
    number INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    file BLOB NOT NULL,
    id BLOB NOT NULL,
    proof BLOB,
    encoded BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_by_dot ON entries (session, sequence);
CREATE INDEX entries_by_file ON entries (file);
-- Eight bytes of the id find the row (the whole id is compared there): 35 bytes an entry saved.
CREATE INDEX entries_by_id ON entries (substr(id, 1, 8));

CREATE TABLE records (
    kind INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

-- "missing" counts the chunks that are not stored yet: 0 is a whole blob.
CREATE TABLE blobs (
    number INTEGER PRIMARY KEY,
    blob BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    missing INTEGER NOT NULL
) STRICT;

CREATE TABLE chunks (
    place INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    content BLOB NOT NULL
) STRICT;
"""

MIGRATIONS: Final[tuple[str, ...]] = (_VERSION_1,)
"""Element ``n`` takes a database from version ``n`` to ``n + 1``. Only ever appended to: what was
released once is never edited."""


def upgrade(connection: apsw.Connection, directory: Path, migrations: Sequence[str]) -> None:
    """Bring the database to the newest version, one transaction for each step.

    Raises:
        NewerStateError: a newer program wrote it; nothing was changed.
        ForeignStateError: another program wrote it; nothing was changed.
    """
    application = int(connection.pragma("application_id"))
    version = int(connection.pragma("user_version"))
    is_new = application == 0 and version == 0 and not connection.pragma("schema_version")
    if application != APPLICATION_ID and not is_new:
        message = (
            f"The database in {directory} belongs to another program "
            f"(application id {application:#x}); choose another state directory."
        )
        raise ForeignStateError(message)
    if version > len(migrations):
        message = (
            f"The state in {directory} has schema version {version}; this program knows "
            f"versions up to {len(migrations)}. Update the program; nothing was changed."
        )
        raise NewerStateError(message)
    for number, script in enumerate(migrations[version:], start=version + 1):
        with connection:
            connection.execute(script)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", number)
