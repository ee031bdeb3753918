"""What came lately, in memory that does not grow."""


class Recent:
    """Knows at least the last `size` keys, and at most twice as many."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._newer: set[str] = set()
        self._older: set[str] = set()

    def is_new(self, key: str) -> bool:
        """Return whether a key did not come before, and remember it."""
        if key in self._newer or key in self._older:
            return False
        if len(self._newer) >= self._size:
            self._newer, self._older = set(), self._newer
        self._newer.add(key)
        return True
