"""Hold refusals back for a moment: clients that ask again at once must not cost as much as those answered."""

import asyncio

PAUSE_S = 0.1
MOST_PER_SECOND = 250
LONGEST_S = 2.0


class Pacer:
    """The refusals of a full server that are held back, in a process.

    Ten times too many clients, refused at once and asking again at once, took half of the processor; each
    held for a tenth of a second, and longer the more of them there are, they take less than a tenth
    (docs/reliability.md).
    """

    def __init__(self) -> None:
        self.held = 0

    async def hold(self) -> None:
        """Wait before one refusal is sent."""
        self.held += 1
        try:
            await asyncio.sleep(min(LONGEST_S, PAUSE_S + self.held / MOST_PER_SECOND))
        finally:
            self.held -= 1
