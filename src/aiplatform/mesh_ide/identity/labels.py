"""What members are called on a screen: names where they are unique, otherwise name and key."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from aiplatform.mesh_ide.model.ids import short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiplatform.mesh_ide.model.ids import NodeId

_SEPARATOR: Final = "~"


def labels_of(names: Mapping[NodeId, str]) -> dict[NodeId, str]:
    """Return one unique label for each member, the same on every node.

    Of members whose names look alike *all* get the beginning of their key, so that nobody can
    take over the bare name of somebody else. Names that contain the separator get it too: a
    label could else be chosen as a name.
    """
    alike: defaultdict[str, list[NodeId]] = defaultdict(list)
    for node, name in names.items():
        alike[_skeleton(name)].append(node)
    labels: dict[NodeId, str] = {}
    for nodes in alike.values():
        # Forty bits can be searched for on purpose: where they are equal, the whole key stands.
        is_short_unique = len({short(node) for node in nodes}) == len(nodes)
        for node in nodes:
            name = names[node]
            if len(nodes) == 1 and _SEPARATOR not in name:
                labels[node] = name
            else:
                labels[node] = name + _SEPARATOR + (short(node) if is_short_unique else node.hex())
    return labels


def _skeleton(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
