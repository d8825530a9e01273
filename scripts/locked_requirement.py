"""Print what uv.lock says of one package, so that pip can install it by its hash.

The first tool of a fresh machine comes from pip; the lock file stays the only place that names
its version and its hashes.

Usage: locked_requirement.py [--version] NAME
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

LOCK_FILE = Path(__file__).parent.parent / "uv.lock"


def main(arguments: list[str]) -> int:
    """Print a requirement with all its hashes, or only the version."""
    name = arguments[-1]
    packages = tomllib.loads(LOCK_FILE.read_text(encoding="utf-8"))["package"]
    for package in packages:
        if package["name"] == name:
            break
    else:
        sys.stderr.write(f"{LOCK_FILE} has no package {name}: add it to pyproject.toml, uv lock.\n")
        return 1
    if "--version" in arguments:
        print(package["version"])
        return 0
    hashes = [f"--hash={wheel['hash']}" for wheel in package["wheels"]]
    print(f"{name}=={package['version']}", *hashes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
