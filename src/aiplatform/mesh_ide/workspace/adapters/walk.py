"""One look at a folder: what is new, changed, gone, as it was, or left out and why.

The same for every tree; only ``OpenFolder`` differs. A known path is reported as gone only if its
folder could be listed, the path is not ignored, and the root is still the root: everything else
leaves what is known as it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from aiplatform.mesh_ide.model.names import visible
from aiplatform.mesh_ide.ports.filetree import (
    FileStat,
    Observation,
    ScanBatch,
    Skipped,
    SkipReason,
)
from aiplatform.mesh_ide.workspace.adapters.judging import judge_found, judge_unread
from aiplatform.mesh_ide.workspace.adapters.opened import (
    KEEP_BYTES_MAX,
    Entry,
    Keep,
    Kind,
    NotThereError,
    OpenFolder,
    UnreadableError,
)
from aiplatform.mesh_ide.workspace.adapters.paths import (
    FOLDER_DEPTH_MAX,
    BadPathError,
    problem_of_length,
    split_path,
)
from aiplatform.mesh_ide.workspace.gitignore import IGNORE_FILE_BYTES_MAX
from aiplatform.mesh_ide.workspace.ignore import (
    CACHE_MARKER,
    CACHE_SIGNATURE,
    ENVIRONMENT_MARKER,
    GITIGNORE,
    MESHIGNORE,
    TEMP_FOLDER,
    FolderRules,
    Skip,
    judge_markers,
)

BATCH_ITEMS_MAX: Final = 256
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""A batch is handed on when this much was read, so that the next step begins early."""

FOLDERS_OPEN_MAX: Final = 64
"""Folders kept open while many paths are observed: neighbours come one after the other."""

_MARKERS: Final = frozenset({GITIGNORE, MESHIGNORE, ENVIRONMENT_MARKER, CACHE_MARKER})
_SPECIAL: Final = Skip(SkipReason.SPECIAL, "a FIFO, a socket or a device; never opened")
_NAME: Final = Skip(SkipReason.NAME_NOT_UTF8, "rename it: other machines could not write it")


class Walk:
    """One call of ``scan`` or ``observe``; made for it and closed after it.

    Invariants:
        1. every path in ``known`` within the look ends as exactly one of: observed, unchanged,
           skipped, gone, or (below a folder that could not be read) not mentioned.
        2. ``_met`` holds every path that was reported.
    """

    def __init__(
        self,
        root: OpenFolder,
        known: dict[str, FileStat],
        keep: Keep,
        verify_root: Callable[[], None],
        *,
        keeps_new: bool = False,
    ) -> None:
        self._root = root
        self._known = known
        self._keep = keep
        self._verify_root = verify_root
        self._keeps_new = keeps_new
        self._observations: list[Observation] = []
        self._unchanged: list[str] = []
        self._skipped: list[Skipped] = []
        self._bytes = 0
        self._met: set[str] = set()
        self._shut: dict[str, Skip | None] = {}
        self._rules: dict[str, FolderRules] = {}
        self._walked: set[str] = set()
        self._open: OrderedDict[str, OpenFolder] = OrderedDict()
        self._names: list[str] | None = None

    # --- the whole folder --------------------------------------------------------------------

    def scan(self) -> Iterator[ScanBatch]:
        """Look at everything; what is gone comes last."""
        self._verify_root()
        for _ in self._below(self._root, "", FolderRules.root(*self._ignore_files(self._root))):
            yield self._take()
        self._verify_root()
        for _ in self._account(self._known):
            yield self._take()
        if self._observations or self._unchanged or self._skipped:
            yield self._take()

    def _below(self, top: OpenFolder, path: str, rules: FolderRules) -> Iterator[None]:
        """Walk a folder, depth first; yields whenever a batch is full."""
        stack = [(top, path, rules, self._list(top, path, rules))]
        try:
            while stack:
                folder, path, rules, entries = stack[-1]
                entry = next(entries, None)
                if entry is None:
                    stack.pop()
                    if stack:
                        folder.close()
                    continue
                below = f"{path}/{entry.name}" if path else entry.name
                if entry.kind is not Kind.FOLDER:
                    self._file(folder, rules, below, entry)
                elif (inner := self._enter(folder, rules, below, entry.name)) is not None:
                    inner_rules = self._rules[below]
                    stack.append((inner, below, inner_rules, self._list(inner, below, inner_rules)))
                if self._is_full():
                    yield
        finally:
            for folder, *_ in stack[1:]:
                folder.close()

    def _list(self, folder: OpenFolder, path: str, rules: FolderRules) -> Iterator[Entry]:
        self._rules[path] = rules
        self._walked.add(path)
        try:
            return iter(folder.entries())
        except UnreadableError as error:
            self._shut_unreadable(path or ".", error)
            return iter(())

    def _enter(
        self, folder: OpenFolder, rules: FolderRules, path: str, name: str
    ) -> OpenFolder | None:
        """Open a folder unless it is left out; its rules are then in ``_rules``."""
        if path == TEMP_FOLDER:
            return None  # ours: nothing to tell a person
        skip = rules.judge(name, is_folder=True)
        if skip is None and path.count("/") >= FOLDER_DEPTH_MAX - 1:
            skip = Skip(SkipReason.NAME_NOT_PORTABLE, "nested too deep")
        if skip is not None:
            self._shut_out(path, skip)
            return None
        try:
            inner = folder.enter(name)
        except NotThereError:
            return None
        except UnreadableError as error:
            self._shut_unreadable(path, error)
            return None
        skip = judge_markers(
            has_environment_marker=inner.look(ENVIRONMENT_MARKER) is not None,
            cache_tag=inner.head(CACHE_MARKER, len(CACHE_SIGNATURE)),
        )
        if skip is not None:
            inner.close()
            self._shut_out(path, skip)
            return None
        self._rules[path] = rules.enter(name, *self._ignore_files(inner))
        return inner

    @staticmethod
    def _ignore_files(folder: OpenFolder) -> tuple[bytes, bytes]:
        return (
            folder.head(GITIGNORE, IGNORE_FILE_BYTES_MAX),
            folder.head(MESHIGNORE, IGNORE_FILE_BYTES_MAX),
        )

    # --- single paths ------------------------------------------------------------------------

    def observe(self, paths: Sequence[str]) -> ScanBatch:
        """Look at these paths; folders with all below. ``.`` and the empty path are the root."""
        self._verify_root()
        asked: list[str] = []
        try:
            for path in sorted(set(paths)):
                self._observe(path, asked)
            self._verify_root()
            for _ in self._account(asked):
                pass
        finally:
            for folder in self._open.values():
                folder.close()
            self._open.clear()
        return self._take()

    def _observe(self, path: str, asked: list[str]) -> None:
        if path in {"", "."}:
            rules = FolderRules.root(*self._ignore_files(self._root))
            for _ in self._below(self._root, "", rules):
                pass
            asked.extend(self._known)
            return
        try:
            parts = split_path(path)
        except BadPathError as error:
            is_utf8 = path.isascii() or "UTF-8" not in str(error)
            if not is_utf8 and self._is_gone(path):
                return
            reason = SkipReason.NAME_NOT_PORTABLE if is_utf8 else SkipReason.NAME_NOT_UTF8
            self._skip(visible(path).replace("\0", "\\0"), Skip(reason, str(error)))
            return
        if any("/".join(parts[:i]) in self._walked for i in range(len(parts))):
            return
        asked.extend(self._known_at(path))
        above = "/".join(parts[:-1])
        folder = self._reach(parts[:-1])
        entry = folder.look(parts[-1]) if folder is not None else None
        if folder is None or entry is None:
            return
        if entry.kind is not Kind.FOLDER:
            self._file(folder, self._rules[above], path, entry, is_asked=True)
        elif (inner := self._enter(folder, self._rules[above], path, parts[-1])) is not None:
            try:
                for _ in self._below(inner, path, self._rules[path]):
                    pass
            finally:
                inner.close()

    def _is_gone(self, path: str) -> bool:
        """Return whether nothing stands at a path whose name other machines could not write."""
        above, _, name = path.rpartition("/")
        try:
            folder = self._reach(split_path(above) if above else [])
            return folder is None or folder.look(name) is None
        except (BadPathError, ValueError):  # the latter: a NUL in it
            return False

    def _reach(self, parts: list[str]) -> OpenFolder | None:
        """Open the folder at this path step by step, or report what stands in the way."""
        folder, path = self._root, ""
        if "" not in self._rules:
            self._rules[""] = FolderRules.root(*self._ignore_files(folder))
        for name in parts:
            rules, below = self._rules[path], f"{path}/{name}" if path else name
            opened = self._open.get(below)
            if opened is not None:
                self._open.move_to_end(below)
            elif below in self._shut:
                return None
            else:
                entry = folder.look(name)
                if entry is not None and entry.kind is not Kind.FOLDER:
                    self._file(folder, rules, below, entry)
                if entry is None or entry.kind is not Kind.FOLDER:
                    return None
                opened = self._enter(folder, rules, below, name)
                if opened is None:
                    return None
                self._open[below] = opened
                # The chain in hand is at the end; its oldest member is closed last.
                while len(self._open) > FOLDERS_OPEN_MAX + len(parts):
                    self._open.popitem(last=False)[1].close()
            folder, path = opened, below
        return folder

    def _known_at(self, path: str) -> list[str]:
        """Return the known paths at and below a path."""
        if path in self._known:
            return [path]
        names = self._sorted_known()
        first = bisect_left(names, path + "/")
        return names[first : bisect_left(names, path + "0", first)]  # "0" follows "/" in ASCII

    def _sorted_known(self) -> list[str]:
        if self._names is None:
            self._names = sorted(self._known)
        return self._names

    # --- one entry ---------------------------------------------------------------------------

    def _file(
        self,
        folder: OpenFolder,
        rules: FolderRules,
        path: str,
        entry: Entry,
        *,
        is_asked: bool = False,
    ) -> None:
        """Look at what is no folder; ``is_asked``: it was named, not found in a folder that was."""
        if path in self._met:
            return
        skip: Skip | None = None
        if entry.kind is Kind.UNNAMEABLE:
            skip = _NAME
        elif (problem := problem_of_length(path, entry.name)) is not None:
            skip = Skip(SkipReason.NAME_NOT_PORTABLE, problem)
        else:
            skip = rules.judge(entry.name, is_folder=False)
        if skip is None and entry.kind is Kind.SPECIAL:
            skip = _SPECIAL
        skip = skip or judge_unread(entry)
        if skip is not None:
            self._skip(path, skip)
        elif entry.stat is not None and self._known.get(path) == entry.stat:
            self._met.add(path)
            self._unchanged.append(path)
        else:
            self._read(folder, path, entry, keeps_new=self._keeps_new and is_asked)

    def _read(self, folder: OpenFolder, path: str, entry: Entry, *, keeps_new: bool) -> None:
        try:
            found = folder.read(entry)
        except NotThereError:
            return
        except UnreadableError as error:
            self._met.add(path)
            self._observations.append(Observation(path, None, problem=str(error)))
            self._skipped.append(Skipped(path, SkipReason.UNREADABLE, str(error)))
            return
        self._bytes += found.stat.size
        skip = judge_found(path, entry, found)
        if skip is not None:
            self._skip(path, skip)
            return
        self._met.add(path)
        self._observations.append(
            Observation(path, found.stat, found.blob, found.is_text, found.problem)
        )
        if found.blob is None or found.content is None or len(found.content) > KEEP_BYTES_MAX:
            return
        if keeps_new or (found.is_text and path in self._known):
            self._keep.keep(found.blob, found.content)

    def _skip(self, path: str, skip: Skip) -> None:
        if path not in self._met:
            self._met.add(path)
            self._skipped.append(Skipped(path, skip.reason, skip.detail))

    def _shut_out(self, folder: str, skip: Skip) -> None:
        self._shut[folder] = skip
        self._skip(folder, skip)

    def _shut_unreadable(self, folder: str, error: UnreadableError) -> None:
        self._shut["" if folder == "." else folder] = None
        self._skip(folder, Skip(SkipReason.UNREADABLE, str(error)))

    # --- what was not met --------------------------------------------------------------------

    def _account(self, paths: Iterable[str]) -> Iterator[None]:
        """Report known paths that were not met; yields whenever a batch is full."""
        for path in paths:
            if path in self._met:
                continue
            is_silent, skip = self._fate(path)
            if skip is not None:
                self._skip(path, skip)
            elif not is_silent:
                self._met.add(path)
                self._observations.append(Observation(path, None))
            if self._is_full():
                yield

    def _fate(self, path: str) -> tuple[bool, Skip | None]:
        """Return whether nothing can be said of a path that was not met, or why it is left out."""
        parts = path.split("/")
        rules = self._rules.get("", None) or FolderRules.root()
        above = ""
        if "" in self._shut:
            return True, self._shut[""]
        for index, name in enumerate(parts):
            is_last = index == len(parts) - 1
            with suppress(UnicodeEncodeError):
                skip = rules.judge(name, is_folder=not is_last)
                if skip is not None:
                    return False, skip
            if is_last:
                break
            above = f"{above}/{name}" if above else name
            if above in self._shut:
                return True, self._shut[above]
            rules = self._rules.get(above) or rules.enter(name)
        return False, None

    # --- batches -----------------------------------------------------------------------------

    def _is_full(self) -> bool:
        items = len(self._observations) + len(self._unchanged) + len(self._skipped)
        return items >= BATCH_ITEMS_MAX or self._bytes >= BATCH_BYTES_MAX

    def _take(self) -> ScanBatch:
        batch = ScanBatch(tuple(self._observations), tuple(self._unchanged), tuple(self._skipped))
        self._observations, self._unchanged, self._skipped = [], [], []
        self._bytes = 0
        return batch
