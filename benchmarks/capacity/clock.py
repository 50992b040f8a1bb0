"""Simulated time: what happens next, in order. A heap and nothing else, for the sake of speed."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

Event = tuple[float, int, Callable[[float, Any], None], Any]


class Clock:
    """Events to come; each is a function called with its time and an argument."""

    def __init__(self) -> None:
        self.now = 0.0
        self.heap: list[Event] = []
        self.number = count()  # events of one moment happen in the order in which they were made

    def at(self, when: float, function: Callable[[float, Any], None], argument: Any = None) -> None:
        """Have a function called at a time, seconds."""
        heapq.heappush(self.heap, (when, next(self.number), function, argument))

    def run(self, until: float) -> None:
        """Let time pass."""
        heap, pop = self.heap, heapq.heappop
        while heap and heap[0][0] <= until:
            when, _, function, argument = pop(heap)
            self.now = when
            function(when, argument)
        self.now = until
