"""Names of files as people can be shown them."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""Return a name of the system's in UTF-8; bytes that are not are shown as ``\xNN``."""
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte: no system's name
        return text.encode(errors="backslashreplace").decode()
