"""What was renamed while nobody served is a rename."""

from __future__ import annotations

from pathlib import Path

from tests.integration.kit import Node, converged, run, until


def test_a_folder_renamed_while_the_node_was_down_keeps_every_history(tmp_path: Path) -> None:
    """The scan at the start pairs what is new with what is gone, whichever it meets first.

    ``a-new`` sorts before ``docs`` and ``z-new`` after it. An edit that another member made
    meanwhile is in the renamed file, not in a second one under the old name.
    """

    async def work() -> None:
        files = {f"docs/{n}.txt": f"text {n}\nof the file\n" for n in range(4)}
        files |= {f"more/{n}.txt": f"more {n}\nof the file\n" for n in range(4)}
        # More than one batch of the walk (256 items), so that new and gone come apart.
        others = {f"others/{n}.txt": f"other {n}\n" for n in range(600)}
        alpha, beta = Node(tmp_path, "alpha"), Node(tmp_path, "beta")
        alpha.found()
        for path, text in {**files, **others}.items():
            alpha.write(path, text)
        async with alpha.up():
            await beta.join(await alpha.ticket())
            async with beta.up():
                await converged(alpha, beta)
                ids = {path: alpha.file(path) for path in files}
            (beta.folder / "docs").rename(beta.folder / "a-new")
            (beta.folder / "more").rename(beta.folder / "z-new")
            alpha.write("docs/1.txt", "text 1\nof the file, edited\n")
            await until(lambda: alpha.has_agreed("docs/1.txt"), "alpha saw its own edit")
            async with beta.up():
                await converged(alpha, beta)
                moved = {
                    path: path.replace("docs", "a-new").replace("more", "z-new") for path in ids
                }
                assert ids == {path: beta.file(new) for path, new in moved.items()}
                assert set(alpha.tree()) == {*others, *moved.values()}
                assert alpha.read("a-new/1.txt") == b"text 1\nof the file, edited\n"

    run(work())
