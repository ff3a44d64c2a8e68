"""Whether the files of a block go past the kernel's cache.

That takes less of the processor, and waits for the disk: so it is done where a block is not compressed,
because training leaves nothing for that, and only while the disk is far quicker than blocks come.
"""

from typing import Final

from embevo.run.format.effort import Effort

# Of the time in which a block is captured, that the disk may take for one.
_SHARE: Final = 0.6
# After a block that took longer, so many go through the cache, which does not wait.
_REST: Final = 100


class PastCache:
    """Decides block by block."""

    def __init__(self) -> None:
        """Trust the disk until it is found slow."""
        self._rest = 0

    def wanted(self, effort: Effort) -> bool:
        """Whether a block that is made with this effort goes past the cache."""
        if effort != "none":
            return False
        self._rest = max(self._rest - 1, 0)
        return self._rest == 0

    def took(self, seconds: float, since: float) -> None:
        """Learn how long a block took to be written past the cache, and in which time it was captured."""
        if seconds > _SHARE * since:
            self._rest = _REST
