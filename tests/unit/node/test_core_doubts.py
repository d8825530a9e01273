"""Who asks twice about what it has is sent everything."""

from __future__ import annotations

from aiplatform.mesh_ide.model.messages import Vectors
from aiplatform.mesh_ide.node.core_doubts import FILES_MAX, Doubts
from tests.unit.documents.authors import PEER, Author, file
from tests.unit.identity.boards import node_of


def doubts(files: int = 2) -> tuple[Doubts, Author]:
    """Return doubts of a node with so many files."""
    author = Author("anna")
    for number in range(1, files + 1):
        author.say(author.genesis(file(number)))
    return Doubts(author.ledger), author


def asked(author: Author, *numbers: int, is_request: bool = True) -> Vectors:
    """Return the question of who has all that an author has of these files."""
    return Vectors(
        tuple((file(number), author.state(file(number)).vector) for number in numbers),
        is_request=is_request,
    )


def test_the_second_question_about_what_the_peer_has_is_answered_in_full() -> None:
    """The first one may be a race; after the full answer the count begins anew."""
    door, author = doubts()
    question = asked(author, 1, 2)
    assert door.widened(PEER, question) == question
    assert door.widened(PEER, asked(author, 1)) == Vectors(((file(1), ()),), is_request=True)
    assert door.widened(PEER, asked(author, 1)) == asked(author, 1)
    assert door.widened(PEER, asked(author, 2)) == Vectors(((file(2), ()),), is_request=True)


def test_questions_of_who_lacks_something_are_answered_as_they_are() -> None:
    """An older vector, an unknown file, an answer to our own question, another peer."""
    door, author = doubts()
    old = asked(author, 1)
    author.say(author.change(file(1), "two"))
    for _ in range(3):
        assert door.widened(PEER, old) == old
    unknown = Vectors(((file(9), ((author.session, 1),)), (file(2), ())), is_request=True)
    for _ in range(3):
        assert door.widened(PEER, unknown) == unknown
    shown = asked(author, 2, is_request=False)
    for _ in range(3):
        assert door.widened(PEER, shown) == shown
    assert door.widened(PEER, asked(author, 2)) == asked(author, 2)
    assert door.widened(node_of("b"), asked(author, 2)) == asked(author, 2)


def test_what_is_remembered_of_a_peer_is_bounded_and_goes_with_it() -> None:
    """The oldest go first; a peer that comes back begins anew."""
    door, author = doubts(FILES_MAX + 1)
    every = asked(author, *range(1, FILES_MAX + 2))
    door.widened(PEER, every)
    assert door.widened(PEER, asked(author, 1)) == asked(author, 1)
    assert door.widened(PEER, asked(author, 3)).vectors == ((file(3), ()),)
    door.peer_gone(PEER)
    assert door.widened(PEER, asked(author, 4)) == asked(author, 4)
