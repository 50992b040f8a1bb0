"""Who may call: API keys, known by their hashes alone, and how often, by the `limits` library."""

import hashlib
import hmac
import logging
import math
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import RateLimited, ServiceError, StartError, Unauthorized
from service.problems import answer_error, own_path

log = logging.getLogger("service")
ENTRY = re.compile(r"([A-Za-z0-9._-]{1,64}):([0-9a-f]{64})")
RATE = re.compile(r"[1-9]\d{0,8} ?/ ?([1-9]\d{0,4} ?)?(second|minute|hour|day)s?")
HOW = "send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
# Whoever asks for these asks for nothing that costs or tells anything: probes, and the page itself.
OPEN = re.compile(r"/|/docs|/openapi\.json|/web/.*|(/v2)?/health/(live|ready)")


class KeysError(StartError):
    """Keys that cannot be read. The sentence shows nobody's key."""


class Keys:
    """The keys that may call, by SHA-256: each is 256 random bits, which no slow hash would make safer."""

    def __init__(self, entries: Iterable[str], file: Path | None) -> None:
        self.fixed = read_entries(entries, "STRIDE_API_KEYS")
        self.file = file
        self.read_at: tuple[int, int] | None = None
        self.names: Mapping[bytes, str] = self.fixed
        if file is not None:
            self.read_file(file)

    @property
    def are_needed(self) -> bool:
        return bool(self.fixed) or self.file is not None

    def owner(self, given: bytes) -> str | None:
        """Name whose key this is. It takes as long whether none, the first or the last one fits."""
        digest = hashlib.sha256(given).digest()
        found = None
        for known, name in self.names.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def refresh(self) -> None:
        """Read the file again where it has changed; keys that cannot be read leave the old ones in place."""
        if self.file is None:
            return
        try:
            if signature(self.file) != self.read_at:
                self.read_file(self.file)
                log.info("%d API keys are known now", len(self.names))
        except (KeysError, OSError) as error:
            reason = str(error) if isinstance(error, KeysError) else type(error).__name__
            log.error("the API keys stay as they were: %s", reason)
            self.read_at = signature(self.file)

    def read_file(self, file: Path) -> None:
        if file.exists() and not file.is_file():  # a pipe would be waited for without end
            raise KeysError("STRIDE_API_KEYS_FILE is no regular file")
        try:
            read_at, lines = signature(file), file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise KeysError(f"STRIDE_API_KEYS_FILE cannot be read: {type(error).__name__}") from None
        entries = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        self.names = {**self.fixed, **read_entries(entries, "STRIDE_API_KEYS_FILE")}
        self.read_at = read_at


def signature(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def read_entries(entries: Iterable[str], source: str) -> dict[bytes, str]:
    """Read `name:sha256` entries. Raises KeysError that says which, and not what is in it."""
    found = {}
    for number, entry in enumerate(entries, 1):
        match = ENTRY.fullmatch(entry)
        if match is None:
            raise KeysError(
                f"{source}: entry {number} is not name:sha256 (64 hexadecimal digits);"
                " make one with `python -m service --new-key NAME`"
            )
        found[bytes.fromhex(match[2])] = match[1]
    return found


def new_key(name: str) -> tuple[str, str]:
    """Make a key, and the entry that lets it in."""
    key = secrets.token_urlsafe(32)
    return key, f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


class Quota:
    """How many requests each caller may make; a window that slides, in this process's memory."""

    def __init__(self, rate: str) -> None:
        """Raises StartError where `rate` is none."""
        if not RATE.fullmatch(rate):  # `parse` reads more, and some of it as what nobody means
            raise StartError(f"STRIDE_RATE_LIMIT={rate!r} is no rate; write it as 100/minute")
        self.item = parse(rate)
        self.limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def spend(self, caller: str) -> None:
        """Count one request. Raises RateLimited, which says when the next one may come."""
        if self.limiter.hit(self.item, caller):
            return
        again_s = max(1, math.ceil(self.limiter.get_window_stats(self.item, caller).reset_time - time.time()))
        raise RateLimited(
            f"more than {self.item} were asked for, the limit; try again in {again_s} s",
            retry_after_s=again_s,
        )


class Guard:
    """Let in who may call. Stands only where keys or a rate are set."""

    def __init__(self, app: ASGIApp, keys: Keys, quota: Quota | None) -> None:
        self.app = app
        self.keys = keys
        self.quota = quota

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not OPEN.fullmatch(own_path(scope)):
            try:
                self.admit(scope)
            except ServiceError as error:
                response = answer_error(error, scope)
                if isinstance(error, Unauthorized):
                    response.headers["WWW-Authenticate"] = "Bearer"
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def admit(self, scope: Scope) -> None:
        """Check the key, then the quota of its owner, or of the address where there are no keys."""
        caller = (scope.get("client") or ("",))[0]
        if self.keys.are_needed:
            given = given_key(scope)
            if given is None:
                raise Unauthorized(f"an API key is needed; {HOW}")
            owner = self.keys.owner(given)
            if owner is None:
                raise Unauthorized(f"this API key is not known; {HOW}")
            caller = scope["state"]["caller"] = owner
        if self.quota is not None:
            self.quota.spend(caller)


def given_key(scope: Scope) -> bytes | None:
    """Take the key out of a request's headers."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return bytes(value)
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return bytes(value[7:].strip())
    return None
