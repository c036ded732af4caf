"""A dictionary of bounded size."""

from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Recent(dict[_K, _V]):
    """Keeps the entries that were written last; reading an entry does not make it newer.

    Only item assignment is bounded.

    Args:
        most: Largest number of entries.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: _K, value: _V) -> None:
        """Write an entry as the newest; the oldest goes if there are more than `most`."""
        self.pop(key, None)
        super().__setitem__(key, value)
        if len(self) > self._most:
            del self[next(iter(self))]
