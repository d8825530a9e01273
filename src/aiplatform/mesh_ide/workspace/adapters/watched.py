"""What inotify events mean for a folder: which paths to look at, and when."""

from __future__ import annotations

import os
from typing import Final

from aiplatform.mesh_ide.workspace.adapters import inotify
from aiplatform.mesh_ide.workspace.adapters.inotify import (
    Inotify,
    InotifyEvent,
    WatchLimitError,
)
from aiplatform.mesh_ide.workspace.adapters.local_folder import (
    FOLDER_FLAGS,
    Freshness,
    LocalFolder,
)
from aiplatform.mesh_ide.workspace.adapters.opened import Kind, NotThereError, UnreadableError
from aiplatform.mesh_ide.workspace.gitignore import IGNORE_FILE_BYTES_MAX
from aiplatform.mesh_ide.workspace.ignore import (
    CACHE_MARKER,
    CACHE_SIGNATURE,
    ENVIRONMENT_MARKER,
    GITIGNORE,
    IGNORE_FILES,
    MESHIGNORE,
    TEMP_FOLDER,
    FolderRules,
    judge_markers,
)

OPEN_WRITE_S: Final = 0.1
"""A file that is being written is looked at when it is closed; one that stays open (a log) or was
never opened (a hard link, a FIFO) when it was quiet for this long."""

_NO_WATCH: Final = -2
"""Never a watch's number; -1 is what the kernel puts into an overflow event."""

GIT_FOLDER: Final = ".git"
_GIT_FILES: Final = frozenset({"HEAD", "index", "HEAD.lock", "index.lock", "ORIG_HEAD"})
_AT_ONCE: Final = (
    inotify.CLOSE_WRITE | inotify.MOVED_FROM | inotify.MOVED_TO | inotify.DELETE | inotify.ATTRIB
)


class WatchedFolder:
    """The watches of one root, and what their events add up to.

    Invariants:
        1. every folder that is not left out has a watch, or an event is under way that adds it.
        2. ``_watch_of`` and ``_path_of`` are each other's inverse.

    Attributes:
        ready: paths to look at now; a folder stands for all below it.
        later: paths to look at, unless something else happens, at this loop time.
        rescan: why everything has to be looked at, or ``None``.
        is_root_lost: the root was moved, removed or unmounted.
        has_git_moved: git wrote HEAD or the index.
    """

    def __init__(self, root: str, source: Inotify) -> None:
        self._root = os.fsencode(root)
        self._source = source
        self._watch_of: dict[str, int] = {}
        self._path_of: dict[int, str] = {}
        self._rules: dict[str, FolderRules] = {}
        self._git_watch = -1
        self._temp_watch = _NO_WATCH
        self.ready: dict[str, None] = {}
        self.later: dict[str, float] = {}
        self.rescan: str | None = None
        self.is_root_lost = False
        self.has_git_moved = False

    # --- watches -----------------------------------------------------------------------------

    def watch_all(self) -> bool:
        """Watch the root and all below it anew; returns False if it is not there.

        Raises:
            WatchLimitError: not everything can be watched.
        """
        for watch in list(self._path_of):
            self._source.remove(watch)
        self._path_of.clear()
        self._watch_of.clear()
        self._rules.clear()
        self.is_root_lost = False
        try:
            root_fd = os.open(self._root, FOLDER_FLAGS & ~os.O_NOFOLLOW)
        except OSError:
            return False
        root = LocalFolder(root_fd, Freshness(0))
        try:
            self._add(root, "", FolderRules.root(*_ignore_files(root)))
        finally:
            root.close()
        self._watch_git()
        self._watch_temp()
        return bool(self._watch_of)

    def _watch_git(self) -> None:
        """Watch what git writes at its top; nothing below it is looked at."""
        watch = self._source.add(self._absolute(GIT_FOLDER))
        self._git_watch = -1 if watch is None else watch

    def _watch_temp(self) -> None:
        """Watch our own temporary folder, to know our own renames by their cookies.

        It only saves work: at the limit of watches it is done without.
        """
        try:
            watch = self._source.add(self._absolute(TEMP_FOLDER))
        except WatchLimitError:
            watch = None
        self._temp_watch = _NO_WATCH if watch is None else watch

    def _add(self, folder: LocalFolder, path: str, rules: FolderRules) -> None:
        """Watch first and list after: what is created in between comes as an event."""
        watch = self._source.add(self._absolute(path))
        if watch is None:
            return
        old = self._path_of.get(watch)
        if old is not None:
            self._watch_of.pop(old, None)
        self._path_of[watch] = path
        self._watch_of[path] = watch
        self._rules[path] = rules
        try:
            entries = folder.entries()
        except UnreadableError:
            return
        for entry in entries:
            if entry.kind is Kind.FOLDER:
                self._enter(folder, rules, f"{path}/{entry.name}" if path else entry.name)

    def _enter(self, folder: LocalFolder, rules: FolderRules, path: str) -> None:
        name = path.rpartition("/")[2]
        if rules.judge(name, is_folder=True) is not None:
            return
        try:
            inner = folder.enter(name)
        except (NotThereError, UnreadableError):
            return
        try:
            tag = inner.head(CACHE_MARKER, len(CACHE_SIGNATURE))
            is_environment = inner.look(ENVIRONMENT_MARKER) is not None
            if judge_markers(has_environment_marker=is_environment, cache_tag=tag) is None:
                self._add(inner, path, rules.enter(name, *_ignore_files(inner)))
        finally:
            inner.close()

    def _add_new(self, above: str, path: str) -> None:
        try:
            fd = os.open(self._absolute(above), FOLDER_FLAGS)
        except OSError:
            return
        folder = LocalFolder(fd, Freshness(0))
        try:
            self._enter(folder, self._rules[above], path)
        finally:
            folder.close()

    def _absolute(self, path: str) -> bytes:
        return self._root + b"/" + os.fsencode(path) if path else self._root

    def _drop(self, path: str) -> None:
        below = path + "/"
        for known in [p for p in self._watch_of if p == path or p.startswith(below)]:
            watch = self._watch_of.pop(known)
            self._rules.pop(known, None)
            del self._path_of[watch]
            self._source.remove(watch)

    # --- events ------------------------------------------------------------------------------

    def take(self, events: list[InotifyEvent], now_s: float) -> None:
        """Add up what happened.

        A rename to or from our temporary folder is our own doing and told to nobody: looking at
        each of ten thousand files that we had just written cost a fifth of a first
        synchronisation. Whatever another program does to the file is an event of its own.

        Raises:
            WatchLimitError: a new folder cannot be watched.
        """
        ours = {event.cookie for event in events if event.watch == self._temp_watch} - {0}
        for event in events:
            if event.cookie in ours or event.watch == self._temp_watch:
                continue
            if event.mask & inotify.OVERFLOW:
                self.rescan = "the kernel's event queue overflowed"
            elif event.watch == self._git_watch:
                self.has_git_moved = self.has_git_moved or event.name in _GIT_FILES
            else:
                folder = self._path_of.get(event.watch)
                if folder is not None:
                    self._take(event, folder, now_s)

    def _take(self, event: InotifyEvent, folder: str, now_s: float) -> None:
        if not event.name:
            self._take_own(event, folder)
            return
        path = f"{folder}/{event.name}" if folder else event.name
        is_folder = bool(event.mask & inotify.IS_FOLDER)
        if path == GIT_FOLDER:
            self._watch_git()
        elif path == TEMP_FOLDER:
            self._watch_temp()
        if self._is_left_out(folder, event.name, is_folder=is_folder):
            return
        if is_folder:
            if event.mask & (inotify.MOVED_FROM | inotify.DELETE):
                self._drop(path)
            elif event.mask & (inotify.CREATE | inotify.MOVED_TO):
                self._drop(path)
                self._add_new(folder, path)
            self.ready[path] = None
        elif event.mask & _AT_ONCE:
            self.later.pop(path, None)
            self.ready[path] = None
        else:
            self.later[path] = now_s + OPEN_WRITE_S
        if event.name in IGNORE_FILES and event.mask & _AT_ONCE:
            self._rules_changed(folder)

    def _take_own(self, event: InotifyEvent, folder: str) -> None:
        """Something happened to a watched folder itself; its parent tells of all but the root."""
        gone = inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.UNMOUNT | inotify.IGNORED
        if folder == "" and event.mask & gone:
            self.is_root_lost = True
        elif event.mask & inotify.IGNORED:
            self._watch_of.pop(folder, None)
            self._path_of.pop(event.watch, None)

    def _is_left_out(self, folder: str, name: str, *, is_folder: bool) -> bool:
        rules = self._rules.get(folder)
        try:
            return rules is not None and rules.judge(name, is_folder=is_folder) is not None
        except UnicodeEncodeError:
            return False  # to be listed as skipped

    def _rules_changed(self, folder: str) -> None:
        """Other rules: what was left out may count now, and has no watches yet."""
        if folder == "":
            self.rescan = "the ignore rules changed"
        elif not self.rescan:
            above = folder.rpartition("/")[0]
            self._drop(folder)
            self._add_new(above, folder)
            self.ready[folder] = None

    def take_due(self, now_s: float) -> None:
        """Move what was quiet long enough from ``later`` to ``ready``."""
        for path in [p for p, due_s in self.later.items() if due_s <= now_s]:
            del self.later[path]
            self.ready[path] = None


def _ignore_files(folder: LocalFolder) -> tuple[bytes, bytes]:
    return (
        folder.head(GITIGNORE, IGNORE_FILE_BYTES_MAX),
        folder.head(MESHIGNORE, IGNORE_FILE_BYTES_MAX),
    )
