"""What an imported update really does, operation by operation.

Loro checks bytes, not sense: an update whose operations overlap each other, or that touches other
containers than ours, imports without complaint and makes a later export panic (found by mutating
payloads). Its JSON form shows every operation, so each is looked at before it is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loro import CounterSpan, IdSpan, LoroDoc
from msgspec import Struct, ValidationError
from msgspec.json import Decoder

from aiplatform.mesh_ide.documents.engine.payload import OperationSpan

TEXT_CONTAINER: Final = "text"
"""Name of a text's one root container; the browser's editor binds to the same name."""

TREE_CONTAINER: Final = "tree"

_TEXT_ID: Final = f"cid:root-{TEXT_CONTAINER}:Text"
_TREE_ID: Final = f"cid:root-{TREE_CONTAINER}:Tree"
_NODE_MAP: Final = ":Map"

_STEP_ATOMS: Final = 8192
"""Operations are unfolded in steps, so that what a hostile update unfolds to stays small."""

_OPERATION_MARK: Final = '"counter":'
"""Stands once in each operation of Loro's JSON; inside a string its quotes are escaped."""


class _Content(Struct):
    type: str
    text: str = ""
    len: int = 0


class _Operation(Struct):
    container: str
    content: _Content
    counter: int


class _Change(Struct):
    ops: list[_Operation]


_decoder: Final = Decoder(list[_Change])


def text_problem(doc: LoroDoc, span: OperationSpan, operations_max: int) -> str | int:
    """Return what is wrong with the text operations of a span, or how many there are."""
    counter, count = span.start, 0
    try:
        for piece in _pieces(doc, span):
            count += piece.count(_OPERATION_MARK)
            if count > operations_max:
                return f"holds over {operations_max} operations"
            for change in _decoder.decode(piece):
                for operation in change.ops:
                    content = operation.content
                    is_insert = content.type == "insert"
                    if operation.container != _TEXT_ID or operation.counter != counter:
                        return "holds operations that are not of a text"
                    if not is_insert and content.type != "delete":
                        return "holds operations that neither insert nor delete"
                    counter += len(content.text) if is_insert else abs(content.len)
    except ValidationError:
        return "holds operations of an unknown form"
    return count if counter == span.end else "holds other operations than it says"


def tree_problem(doc: LoroDoc, span: OperationSpan) -> str | None:
    """Return what is wrong with the tree operations of a span, or ``None``.

    Nodes may be created and moved and their values set; deletions are what nobody does.
    """
    counter = span.start
    try:
        for piece in _pieces(doc, span):
            for change in _decoder.decode(piece):
                for operation in change.ops:
                    kind = operation.content.type
                    if kind == "delete":
                        return "deletes nodes of the tree, which nobody does"
                    is_node = operation.container == _TREE_ID and kind in {"create", "move"}
                    is_value = operation.container.endswith(_NODE_MAP) and kind == "insert"
                    if operation.counter != counter or not (is_node or is_value):
                        return "holds operations that are not of the tree"
                    counter += 1
    except ValidationError:
        return "holds operations of an unknown form"
    return None if counter == span.end else "holds other operations than it says"


def _pieces(doc: LoroDoc, span: OperationSpan) -> Iterator[str]:
    for start in range(span.start, span.end, _STEP_ATOMS):
        end = min(start + _STEP_ATOMS, span.end)
        yield doc.export_json_in_id_span(IdSpan(span.peer, CounterSpan(start, end)))
