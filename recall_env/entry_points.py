"""What installed packages offer by entry points, from their metadata. One with a broken file is in nobody's way.

importlib.metadata's own listing fails for all packages when one of them has a line it cannot read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions


@dataclass(frozen=True)
class Point:
    """One line of a package's entry points. fault: why they cannot be read; name and value are then empty."""

    name: str
    value: str
    package: str
    version: str
    fault: str | None = None


def points_of(group: str) -> Iterator[Point]:
    """In the order of sys.path; of a package that is there twice, the first."""
    seen = set()
    for distribution in distributions():
        try:
            if f"[{group}]" not in (distribution.read_text("entry_points.txt") or ""):
                continue
            package, version = distribution.metadata["Name"], distribution.version
        except Exception:  # no name, no encoding: nothing that could be named in an error
            continue
        if package in seen:
            continue
        seen.add(package)
        try:
            points = [point for point in distribution.entry_points if point.group == group]
        except Exception:
            yield Point("", "", package, version, "its entry points cannot be read")
            continue
        for point in points:
            yield Point(point.name, point.value, package, version)
