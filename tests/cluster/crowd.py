"""Clients that ask again and again, each noting of every request when it began and ended, and its answer."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Note(NamedTuple):
    """One request: `status` 0 where the connection was cut; `word`: the model's version, or the problem."""

    began: float
    ended: float
    status: int
    word: str


class Crowd:
    """So many clients, each with one connection and one request at a time."""

    def __init__(self, port: int, path: str, picture: bytes, count: int) -> None:
        self.port, self.path, self.picture = port, path, picture
        self.notes: list[Note] = []  # appending is atomic
        self.leaving = threading.Event()
        self.threads = [threading.Thread(target=self.keep_asking) for _ in range(count)]

    def keep_asking(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.leaving.is_set():
            began = time.monotonic()
            status, word = 0, "cut"
            try:
                connection.request("POST", self.path, self.picture, {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                status, text = answer.status, answer.read()
                word = read(text)
            except (OSError, http.client.HTTPException):
                connection.close()
            self.notes.append(Note(began, time.monotonic(), status, word))
            if status != 200:
                self.leaving.wait(0.05)
        connection.close()

    def failed(self) -> list[Note]:
        return [note for note in self.notes if note.status != 200]

    def words(self) -> set[str]:
        return {note.word for note in self.notes}

    def answered_since(self, moment: float) -> int:
        """Count what was asked after a moment and is answered already."""
        return sum(note.began > moment and note.status == 200 for note in list(self.notes))


def read(text: bytes) -> str:
    """Give the model's version, or the problem."""
    try:
        body = json.loads(text)
    except ValueError:
        return "no JSON"
    return str(body.get("version") or body.get("type", ""))


@contextmanager
def asking(port: int, picture: bytes, count: int, path: str = "/predict") -> Iterator[Crowd]:
    """Have a crowd ask until the block ends; then all of it has been answered."""
    crowd = Crowd(port, path, picture, count)
    for thread in crowd.threads:
        thread.start()
    try:
        yield crowd
    finally:
        crowd.leaving.set()
        for thread in crowd.threads:
            thread.join()
