"""The clock of one session with a journal: the Unix time, which may jump."""

from time import monotonic, time


class Clock:
    """Tells the Unix time, and how late it is at least.

    What is stored has to mean something to the next process, so it bears the Unix time,
    right or wrong. How old it is must not depend on jumps: measured up to `earliest`,
    nothing that this session has stamped is older than it is, and it seems younger only
    by as much as the clock has been set back.
    """

    def __init__(self) -> None:
        self._lowest = time() - monotonic()

    def now(self) -> float:
        """Return the Unix time in seconds."""
        wall = time()
        self._lowest = min(self._lowest, wall - monotonic())
        return wall

    def earliest(self) -> float:
        """Return the Unix time as if the clock had only ever been set back, in seconds."""
        self.now()
        return self._lowest + monotonic()
