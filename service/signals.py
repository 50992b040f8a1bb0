"""What to do when a signal comes, beside what is done already."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def on_signal(name: str, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` when the signal comes, then whoever handled it before, such as the server's own drain."""
    number = getattr(signal, name, None)  # not every system has every signal
    if number is None or threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread; a server on another is told otherwise
        return
    before = signal.getsignal(number)

    def handle(number: int, frame: Any) -> None:
        act()
        if callable(before):
            before(number, frame)

    signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)
