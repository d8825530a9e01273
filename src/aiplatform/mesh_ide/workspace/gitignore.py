"""Gitignore patterns, compiled: what one ``.gitignore`` says of one path.

The semantics are git's own, quirks included (``dir.c`` and ``wildmatch.c`` of git 2.39), because a
person who knows what git ignores must be able to rely on it here. ``pathspec.GitIgnoreSpec`` was
tried first: it reads ``[[:digit:]]`` as a set of letters (with a FutureWarning), matches characters
where git matches bytes, and walks all patterns for every path. The tests compare with
``git check-ignore`` on generated trees.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

IGNORE_FILE_BYTES_MAX: Final = 1024 * 1024
"""An ignore file is read up to here; the largest collected templates have 20 KB."""

PATTERNS_MAX: Final = 10_000
"""Bounds what one ignore file costs; the rest of it is not looked at."""

_DOUBLE_STARS_MAX: Final = 4
"""Each ``**`` multiplies the steps of a failing match by the path's depth (64 or less in practice);
a pattern with more of them matches nothing rather than stop the node."""

_GLOB_SPECIAL: Final = b"*?[\\"
_SPACE, _SLASH, _COLON, _BACKSLASH = b" /:\\"
_NEVER: Final = b"(?!)"

_CLASSES: Final[dict[bytes, bytes]] = {
    b"alnum": rb"[0-9A-Za-z]",
    b"alpha": rb"[A-Za-z]",
    b"blank": rb"[ \t]",
    b"cntrl": rb"[\x00-\x1f\x7f]",
    b"digit": rb"[0-9]",
    b"graph": rb"[\x21-\x7e]",
    b"lower": rb"[a-z]",
    b"print": rb"[\x20-\x7e]",
    b"punct": rb"[!-/:-@\[-`{-~]",
    b"space": rb"[ \t\n\v\f\r]",
    b"upper": rb"[A-Z]",
    b"xdigit": rb"[0-9A-Fa-f]",
}
"""POSIX classes over ASCII, which is what git's ``sane_ctype`` knows."""


class _MalformedError(ValueError):
    """The pattern can match nothing (an open bracket, an unknown class, a final backslash)."""


class _Pattern(NamedTuple):
    """One line: what it matches and what that means."""

    exclude: bool
    folders_only: bool
    by_name: bool
    """Matched against the last component (no slash in the pattern) instead of the whole path."""
    literal: bytes | None
    regex: bytes


class _Matcher(NamedTuple):
    """A run of patterns of one sign, for one kind of thing (file or folder)."""

    names: frozenset[bytes]
    name: re.Pattern[bytes] | None
    path: re.Pattern[bytes] | None

    def matches(self, name: bytes, path: bytes) -> bool:
        """Return whether any pattern of the run matches."""
        return (
            name in self.names
            or (self.name is not None and self.name.fullmatch(name) is not None)
            or (self.path is not None and self.path.fullmatch(path) is not None)
        )


class IgnoreRules:
    """The rules of one ignore file, relative to the folder it stands in.

    Consecutive patterns of one sign are one regular expression, so that a file without negations
    costs one match however many lines it has.
    """

    __slots__ = ("_runs",)

    def __init__(self, content: bytes) -> None:
        """Compile ``content``; lines that cannot match anything are left out, as git does."""
        self._runs: list[tuple[bool, _Matcher, _Matcher]] = []
        run: list[_Pattern] = []
        for pattern in _parse(content):
            if run and run[-1].exclude != pattern.exclude:
                self._close(run)
                run = []
            run.append(pattern)
        if run:
            self._close(run)
        self._runs.reverse()

    def __bool__(self) -> bool:
        """Return whether there is any rule."""
        return bool(self._runs)

    def decide(self, name: bytes, path: bytes, *, is_folder: bool) -> bool | None:
        """Return True (excluded), False (included again) or None (no rule); the last rule wins.

        Args:
            name: the last component of ``path``.
            path: relative to the ignore file's folder, without a trailing slash.
            is_folder: the path is a folder (a symlink to one is not).
        """
        for exclude, files, folders in self._runs:
            if (folders if is_folder else files).matches(name, path):
                return exclude
        return None

    def _close(self, run: list[_Pattern]) -> None:
        files = [pattern for pattern in run if not pattern.folders_only]
        self._runs.append((run[0].exclude, _matcher(files), _matcher(run)))


def _matcher(patterns: list[_Pattern]) -> _Matcher:
    named = [pattern for pattern in patterns if pattern.by_name]
    return _Matcher(
        frozenset(p.literal for p in named if p.literal is not None),
        _union([p.regex for p in named if p.literal is None]),
        _union([p.regex for p in patterns if not p.by_name]),
    )


def _union(regexes: list[bytes]) -> re.Pattern[bytes] | None:
    if not regexes:
        return None
    return re.compile(b"|".join(b"(?:" + regex + b")" for regex in regexes), re.DOTALL)


def _parse(content: bytes) -> list[_Pattern]:
    """Return the patterns of an ignore file in order (``add_patterns_from_buffer``)."""
    patterns: list[_Pattern] = []
    for raw in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        line = raw.removesuffix(b"\r")
        if not line or line.startswith(b"#"):
            continue
        pattern = _pattern(_trim_trailing_spaces(line.split(b"\0", 1)[0]))
        if pattern is not None:
            patterns.append(pattern)
        if len(patterns) >= PATTERNS_MAX:
            break
    return patterns


def _trim_trailing_spaces(line: bytes) -> bytes:
    """Cut trailing spaces that no backslash protects."""
    end = position = 0
    while position < len(line):
        if line[position] == _BACKSLASH:
            position += 1
            end = min(position + 1, len(line))
        elif line[position] != _SPACE:
            end = position + 1
        position += 1
    return line[:end]


def _pattern(line: bytes) -> _Pattern | None:
    """Compile one line, or return ``None`` if it can match nothing."""
    exclude = not line.startswith(b"!")
    body = line if exclude else line[1:]
    folders_only = body.endswith(b"/")
    if folders_only:
        body = body[:-1]
    by_name = b"/" not in body
    prefix_length = next((i for i, c in enumerate(body) if c in _GLOB_SPECIAL), len(body))
    if by_name:
        literal = body if prefix_length == len(body) else None
        prefix, rest = b"", body
    else:
        literal = None
        start = 1 if body.startswith(b"/") else 0
        # Git compares the part before the first special character by itself and hands only the
        # rest to wildmatch: "foo**/x" therefore has its "**" at a beginning.
        prefix, rest = body[start : max(prefix_length, start)], body[max(prefix_length, start) :]
    if not prefix and not rest:
        return None
    try:
        regex = re.escape(prefix) + _translate(rest, stars_cross=by_name)
    except _MalformedError:
        return None
    return _Pattern(exclude, folders_only, by_name, literal, regex)


def _translate(glob: bytes, *, stars_cross: bool) -> bytes:
    """Return a regular expression for a wildmatch pattern with ``WM_PATHNAME``."""
    out = _Translation(glob, stars_cross=stars_cross)
    position = 0
    while position < len(glob):
        char = glob[position : position + 1]
        if char == b"*":
            position = out.add_stars(position)
        elif char == b"[":
            regex, position = _bracket(glob, position + 1)
            out.add(regex)
        elif char == b"?":
            out.add(b"[^/]")
            position += 1
        else:
            if char == b"\\":
                position += 1
            out.add_literal(_member(glob, position))
            position += 1
    return out.regex()


class _Translation:
    """A regular expression in the making.

    A star that another star follows within the same component becomes an atomic group around the
    earliest match: enough for globs, and without it ``*a*a*a*b`` takes exponential time.
    """

    def __init__(self, glob: bytes, *, stars_cross: bool) -> None:
        self._glob = glob
        self._stars_cross = stars_cross
        self._parts: list[bytes] = []
        self._open_star: int | None = None
        self._double_stars = 0

    def add(self, regex: bytes) -> None:
        self._parts.append(regex)

    def add_literal(self, byte: int) -> None:
        if byte == _SLASH:
            self._open_star = None
        self._parts.append(re.escape(bytes((byte,))))

    def add_stars(self, position: int) -> int:
        """Translate the run of stars at ``position`` and return where it ends."""
        glob, end = self._glob, position
        while glob[end : end + 1] == b"*":
            end += 1
        if self._is_double(position, end):
            self._double_stars += 1
            self._open_star = None
            if glob[end : end + 1] == b"/":
                self._parts.append(b"(?:[^/]*/)*")
                return end + 1
            self._parts.append(b".*")
            return end
        if self._open_star is not None:
            chunk = b"".join(self._parts[self._open_star + 1 :])
            self._parts[self._open_star :] = [b"(?>[^/]*?" + chunk + b")"]
        self._open_star = len(self._parts)
        self._parts.append(b"[^/]*")
        return end

    def _is_double(self, start: int, end: int) -> bool:
        """Return whether these stars cross components: alone between slashes or at an end."""
        glob = self._glob
        return (
            not self._stars_cross
            and end - start > 1
            and (start == 0 or glob[start - 1] == _SLASH)
            and (end == len(glob) or glob[end] == _SLASH or glob[end : end + 2] == b"\\/")
        )

    def regex(self) -> bytes:
        if self._double_stars > _DOUBLE_STARS_MAX:
            raise _MalformedError
        return b"".join(self._parts)


def _bracket(glob: bytes, position: int) -> tuple[bytes, int]:
    """Return the regular expression of a set, and where it ends (``case '['`` of wildmatch)."""
    negated = glob[position : position + 1] in {b"!", b"^"}
    position += negated
    members: set[int] = set()
    previous = -1
    is_first = True
    while is_first or glob[position : position + 1] != b"]":
        is_first = False
        char = glob[position : position + 1]
        if not char:
            raise _MalformedError
        following = glob[position + 1 : position + 2]
        if char == b"\\":
            position += 1
            previous = _member(glob, position)
            members.add(previous)
        elif char == b"-" and previous >= 0 and following not in {b"", b"]"}:
            position += 2 if following == b"\\" else 1
            members.update(range(previous, _member(glob, position) + 1))
            previous = -1
        elif char == b"[" and following == b":":
            close = glob.find(b"]", position + 2)
            if close < 0:
                raise _MalformedError
            if glob[close - 1] != _COLON or close == position + 2:
                members.add(ord("["))
                previous = ord("[")
            else:
                members |= _class_members(glob[position + 2 : close - 1])
                previous = -1
                position = close
        else:
            previous = char[0]
            members.add(previous)
        position += 1
    allowed = (set(range(256)) - members if negated else members) - {_SLASH}
    if not allowed:
        return _NEVER, position + 1
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(allowed)) + b"]", position + 1


def _member(glob: bytes, position: int) -> int:
    if position >= len(glob):
        raise _MalformedError
    return glob[position]


def _class_members(name: bytes) -> set[int]:
    regex = _CLASSES.get(name)
    if regex is None:
        raise _MalformedError
    return {byte for byte in range(256) if re.fullmatch(regex, bytes([byte]))}
