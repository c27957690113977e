"""How many exchanges a provider is asked for at the same time: a decision, no I/O.

Additive increase, multiplicative decrease, as TCP does it. As long as the provider takes
all that comes, there is one bound, the user's. When it says that it is too much (429, 529),
the limit falls to half of what is running; each answer that comes while the limit is in
use lets it grow again, by one for as many answers as the limit is large. What was begun
before the last fall says nothing new about the limit when it fails, too: else a burst of
refusals would take the limit to one.
"""

import attrs


@attrs.define(kw_only=True)
class Pressure:
    """The limit, and how it moves.

    Attributes:
        ceiling: What the user allows; the limit begins there.
        limit: How many exchanges may be underway, at least 1.
    """

    ceiling: int
    limit: float = attrs.field(init=False)
    _falls: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin at the ceiling."""
        self.limit = float(self.ceiling)

    @property
    def slots(self) -> int:
        """The limit as a whole number."""
        return int(self.limit)

    def begin(self) -> int:
        """Return what the exchange that begins now has to show when it ends."""
        return self._falls

    def refused(self, begun: int, running: int) -> None:
        """Take notice that the provider said it is too much.

        Args:
            begun: What ``begin`` said.
            running: How many exchanges were underway, this one included.
        """
        if begun == self._falls:
            self._falls += 1
            self.limit = max(1.0, min(self.limit, running) / 2)

    def answered(self) -> None:
        """Take notice that the provider answered."""
        self.limit = min(float(self.ceiling), self.limit + 1 / self.limit)
