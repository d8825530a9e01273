"""What in a folder is not looked at, and why: ignore files and built-in exclusions.

Pure: adapters read the ignore files and hand their bytes in. ``.gitignore`` counts at every level
with git's full semantics; ``.meshignore`` has the same language in a chain of its own and *adds*:
a path is left out if either chain says so, so no ``.meshignore`` can let in what git leaves out.
Built-in exclusions come first and no ignore file lifts them.

Secrets stay at home by their names, and private keys by what they hold. Names that stand for keys
of both kinds (``.pem``, ``.key``) are no verdict: what such a file holds decides, and it travels
only if all of it is public.

Being ignored says only that a path is not looked at. It is never a reason to delete a file, here
or elsewhere: adapters report a known path that became ignored as skipped, not as gone.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from aiplatform.mesh_ide.ports.filetree import SkipReason
from aiplatform.mesh_ide.workspace.gitignore import IgnoreRules
from aiplatform.mesh_ide.workspace.pem import is_public

GITIGNORE: Final = ".gitignore"
MESHIGNORE: Final = ".meshignore"
IGNORE_FILES: Final = frozenset({GITIGNORE, MESHIGNORE})

TEMP_FOLDER: Final = ".mesh-tmp"
"""Where ``FileTree.apply`` prepares files, at the root (a rename needs the same filesystem)."""

ENVIRONMENT_MARKER: Final = "pyvenv.cfg"
"""Stands at the top of every virtual environment, whatever it is called (PEP 405)."""

CACHE_MARKER: Final = "CACHEDIR.TAG"
"""Stands at the top of a cache that says so itself (https://bford.info/cachedir/)."""

CACHE_SIGNATURE: Final = b"Signature: 8a477f597d28d172789f06886806bc55"
"""A ``CACHEDIR.TAG`` counts only if it begins with this."""

SECRET_PROBE_BYTES_MAX: Final = 64 * 1024
"""Key files are small (a 16,384 bit RSA key in PEM has 13 KB); larger ones are not probed."""

KEY_FILE_BYTES_MAX: Final = 1024 * 1024
"""Files whose name may stand for a private key are judged up to here. The certificates that
browsers trust have 0.3 MB."""

_CONTROL: Final = frozenset({".git", ".hg", ".svn", ".jj", TEMP_FOLDER})
"""Files too: in a worktree or a submodule ``.git`` is a file."""

_CONTROL_SHORT_NAMES: Final = frozenset({"git~1"})
"""The 8.3 alias of ``.git`` on NTFS (CVE-2019-1352, CVE-2014-9390)."""

_IGNORABLE: Final = re.compile(
    "[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]",
)
"""HFS+ drops these when it compares names: ``.g\\u200cit`` is ``.git`` there (CVE-2014-9390)."""

_ENVIRONMENTS: Final = frozenset({".venv", "node_modules", "bower_components", ".direnv"})
_CACHES: Final = frozenset(
    {
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".hypothesis",
        ".tox",
        ".nox",
        ".import_linter_cache",
        ".gradle",
        ".terraform",
        ".parcel-cache",
    }
)
"""Folders that a tool rebuilds and that nobody else uses the name of. ``venv``, ``build`` and
``target`` are words people use for sources: they count only with a marker inside."""

_MACHINE_FILES: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_EDITOR_FILE: Final = re.compile(r"\..*\.sw[a-p]|\.#.*", re.DOTALL)
"""Vim's swap files and Emacs' locks: rewritten at every key, no use to another machine."""

_SECRET_NAMES: Final = frozenset(
    {
        ".netrc",
        "_netrc",
        ".pypirc",
        ".pgpass",
        ".git-credentials",
        ".htpasswd",
        "id_rsa",
        "id_dsa",
        "id_ecdsa",
        "id_ecdsa_sk",
        "id_ed25519",
        "id_ed25519_sk",
    }
)
_SECRET_SUFFIXES: Final = (
    ".p12", ".pfx", ".jks", ".keystore", ".ppk", ".kdbx",
)  # fmt: skip
_KEY_SUFFIXES: Final = (".pem", ".key")
"""Private keys are called so, and so are certificates and public keys."""
_ENV_SAMPLES: Final = (".example", ".sample", ".template", ".dist", ".defaults")

_PRIVATE_KEY: Final = re.compile(
    rb"\s*(?:-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-)"
)
_NPM_TOKEN: Final = re.compile(
    rb"^[^#;\n]*(?:_authToken|_auth|_password)\s*=\s*[^\s$]", re.MULTILINE
)
"""An ``.npmrc`` is usually committed settings; only one that holds a literal token is a secret."""


class Skip(NamedTuple):
    """Why something is not looked at."""

    reason: SkipReason
    detail: str


_CONTROL_SKIP: Final = Skip(SkipReason.CONTROL, "belongs to a version control system or to us")
_ENVIRONMENT_SKIP: Final = Skip(SkipReason.IGNORED, "an environment: every machine makes its own")
_CACHE_SKIP: Final = Skip(SkipReason.IGNORED, "a cache: every machine makes its own")
_MACHINE_SKIP: Final = Skip(SkipReason.IGNORED, "kept by this machine's desktop or editor")
_SECRET_NAME_SKIP: Final = Skip(
    SkipReason.SECRET, "its name says that it holds a secret; if it holds none, rename it"
)
_KEY_FILE_SKIP: Final = Skip(
    SkipReason.SECRET,
    "it may hold a private key: .pem and .key files travel if they hold nothing but certificates "
    "and public keys, in PEM and 1 MiB at most",
)
_KEY_SKIP: Final = Skip(SkipReason.SECRET, "it begins as a private key does")
_TOKEN_SKIP: Final = Skip(
    SkipReason.SECRET, "it holds a registry token; put ${A_VARIABLE} in its place"
)
_GIT_SKIP: Final = Skip(SkipReason.IGNORED, GITIGNORE)
_MESH_SKIP: Final = Skip(SkipReason.IGNORED, MESHIGNORE)


def is_control_name(name: str) -> bool:
    """Return whether ``name`` is, or on some filesystem passes for, a control folder's name."""
    if name in _CONTROL:
        return True
    if not (name.startswith(".") or "~" in name or not name.isascii()):
        return False
    # NTFS drops trailing dots and spaces and reads what follows a colon as a stream.
    folded = _IGNORABLE.sub("", name).split(":", 1)[0].rstrip(". ").casefold()
    return (
        folded in _CONTROL
        or folded in _CONTROL_SHORT_NAMES
        or folded.startswith(TEMP_FOLDER + "-")  # prepared below a mount point
    )


def judge_name(name: str, *, is_folder: bool) -> Skip | None:
    """Return why this name is left out wherever it stands, or ``None``."""
    if is_control_name(name):
        return _CONTROL_SKIP
    folded = name.lower()
    if is_folder:
        if folded in _ENVIRONMENTS:
            return _ENVIRONMENT_SKIP
        return _CACHE_SKIP if folded in _CACHES else None
    if folded in _SECRET_NAMES or folded.endswith(_SECRET_SUFFIXES) or _is_env_file(folded):
        return _SECRET_NAME_SKIP
    if folded in _MACHINE_FILES or (name[0] == "." and _EDITOR_FILE.fullmatch(name)):
        return _MACHINE_SKIP
    return None


def _is_env_file(folded: str) -> bool:
    if not folded.startswith(".env"):
        return False
    return folded == ".env" or (folded[4] == "." and not folded.endswith(_ENV_SAMPLES))


def judge_size(name: str, size: int) -> Skip | None:
    """Return why a file is left out unread, or ``None``: it may be a key and is too large for one.

    So no look reads more than ``KEY_FILE_BYTES_MAX`` bytes of a file that then stays at home.
    """
    is_key_file = name.lower().endswith(_KEY_SUFFIXES)
    return _KEY_FILE_SKIP if is_key_file and size > KEY_FILE_BYTES_MAX else None


def judge_content(name: str, content: bytes) -> Skip | None:
    """Return why a file is a secret by what it holds, or ``None``.

    A file whose name may stand for a private key has to be public from end to end. Others are
    probed up to ``SECRET_PROBE_BYTES_MAX`` bytes.
    """
    if name.lower().endswith(_KEY_SUFFIXES):
        is_judged = len(content) <= KEY_FILE_BYTES_MAX
        return None if is_judged and is_public(content) else _KEY_FILE_SKIP
    if len(content) > SECRET_PROBE_BYTES_MAX:
        return None
    if _PRIVATE_KEY.match(content):
        return _KEY_SKIP
    if name.lower() == ".npmrc" and _NPM_TOKEN.search(content):
        return _TOKEN_SKIP
    return None


def judge_markers(*, has_environment_marker: bool, cache_tag: bytes) -> Skip | None:
    """Return why a folder is left out for what stands in it (never asked of the root)."""
    if has_environment_marker:
        return _ENVIRONMENT_SKIP
    return _CACHE_SKIP if cache_tag.startswith(CACHE_SIGNATURE) else None


class _Layer(NamedTuple):
    """The rules of one ignore file, and where the paths it speaks of begin."""

    base_length: int
    rules: IgnoreRules


def _decide(layers: tuple[_Layer, ...], name: bytes, path: bytes, *, is_folder: bool) -> bool:
    for layer in layers:
        verdict = layer.rules.decide(name, path[layer.base_length :], is_folder=is_folder)
        if verdict is not None:
            return verdict
    return False


class FolderRules:
    """What holds for the entries of one folder. Immutable; made by ``root`` and ``enter``.

    A folder is judged once, by its parent's rules, before it is entered: nothing below an excluded
    folder is ever asked about, so nothing below it can be let in again (gitignore(5)).
    """

    __slots__ = ("_git", "_mesh", "_prefix")

    def __init__(self, prefix: bytes, git: tuple[_Layer, ...], mesh: tuple[_Layer, ...]) -> None:
        self._prefix = prefix
        self._git = git
        self._mesh = mesh

    @classmethod
    def root(cls, gitignore: bytes = b"", meshignore: bytes = b"") -> FolderRules:
        """Return the rules of the root, from the ignore files that stand there."""
        return cls(b"", _with(gitignore, 0, ()), _with(meshignore, 0, ()))

    def enter(self, name: str, gitignore: bytes = b"", meshignore: bytes = b"") -> FolderRules:
        """Return the rules of the folder ``name`` in this one, from the ignore files in it."""
        prefix = self._prefix + name.encode() + b"/"
        return FolderRules(
            prefix,
            _with(gitignore, len(prefix), self._git),
            _with(meshignore, len(prefix), self._mesh),
        )

    def judge(self, name: str, *, is_folder: bool) -> Skip | None:
        """Return why the entry ``name`` of this folder is left out, or ``None``."""
        skip = judge_name(name, is_folder=is_folder)
        if skip is not None or not (self._git or self._mesh):
            return skip
        encoded = name.encode()
        path = self._prefix + encoded
        if self._git and _decide(self._git, encoded, path, is_folder=is_folder):
            return _GIT_SKIP
        if self._mesh and _decide(self._mesh, encoded, path, is_folder=is_folder):
            return _MESH_SKIP
        return None


def _with(content: bytes, base_length: int, above: tuple[_Layer, ...]) -> tuple[_Layer, ...]:
    """Put a folder's own rules before those from above: the nearest file has the last word."""
    rules = IgnoreRules(content) if content else None
    return (_Layer(base_length, rules), *above) if rules else above
