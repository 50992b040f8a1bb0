"""One simulated process of the service on one core: its real queues, batches, deadlines and refusals.

Three threads share the core equally, as the kernel has it: the event loop, a worker that decodes, the
model's. Everything is that arithmetic; what is measured comes in with `Costs`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from benchmarks.capacity.clock import Clock
from benchmarks.capacity.costs import Costs

NOTHING = 1e-12  # seconds of work: what floating point leaves of none
PAUSE_S, MOST_PER_SECOND, LONGEST_S = 0.1, 250, 2.0  # service.pacing: how long a refusal is held back


@dataclass(frozen=True)
class Policy:
    """The settings that matter here, as STRIDE_ has them."""

    batch_size: int = 32
    queue_length: int = 256
    queue_timeout_s: float = 5.0


class Request:
    """A request on its way: when its client first asked and how often; where it waits and since when."""

    __slots__ = ("born", "entered", "pause_s", "tries")

    def __init__(self, born: float) -> None:
        self.born = born
        self.entered = born
        self.pause_s = 0.0  # a refusal's Retry-After
        self.tries = 1


# What a replica tells: (when, request, "answered" | "refused" | "late" | "lost").
End = Callable[[float, Request, str], None]


class Replica:
    """A process: `take` a request, and `end` is called once for it."""

    __slots__ = (
        *(
            "alive",
            "at",
            "batch",
            "batch_began",
            "busy_s",
            "clock",
            "costs",
            "decode_left",
            "decoding",
            "draw",
        ),
        *(
            "end",
            "held",
            "in_flight",
            "loop_began",
            "loop_job",
            "loop_left",
            "model_left",
            "pace_s",
            "policy",
        ),
        *("running", "speed", "to_decode", "to_loop", "version", "waiting"),
    )

    def __init__(
        self,
        clock: Clock,
        costs: Costs,
        policy: Policy,
        end: End,
        draw: Callable[[], float],
        speed: float = 1.0,
    ) -> None:
        self.clock, self.costs, self.policy, self.end, self.draw = clock, costs, policy, end, draw
        self.speed = speed  # of its core, 1 is the measured one
        self.to_loop: deque[Request | list[Request]] = deque()
        self.to_decode: deque[Request] = deque()
        self.waiting: deque[Request] = deque()
        self.loop_job: Request | list[Request] | None = None
        self.decoding: Request | None = None
        self.batch: list[Request] = []
        self.loop_left = self.decode_left = self.model_left = inf
        self.loop_began = self.batch_began = 0.0
        self.running = 0  # threads that have work
        self.at = clock.now
        self.busy_s = 0.0
        self.in_flight = 0
        self.held = 0
        self.pace_s = 0.0
        self.version = 0
        self.alive = True

    def take(self, now: float, request: Request) -> None:
        """Let a request in; it comes to the event loop first."""
        self.in_flight += 1
        self.to_loop.append(request)
        if self.loop_job is None:
            self.step(now)

    def step(self, now: float, version: Any = None) -> None:
        """Do what is due by now, and say when to look again."""
        if version is not None and version != self.version:
            return  # something happened meanwhile, and another look is due
        self.advance(now)
        if self.loop_left <= NOTHING:
            self.loop_done(now)
        if self.decode_left <= NOTHING:
            self.decode_done(now)
        if self.model_left <= NOTHING:
            self.model_done(now)
        if self.loop_job is None and self.to_loop:
            self.begin_loop(now)
        if self.decoding is None and self.to_decode:
            self.begin_decoding(now)
        if not self.batch and self.waiting:
            self.begin_batch(now)
        self.version += 1
        if self.running:
            least = min(self.loop_left, self.decode_left, self.model_left)
            self.clock.at(now + least * self.running / self.speed, self.step, self.version)

    def advance(self, now: float) -> None:
        """Share the core's time since the last look among the threads that had work."""
        if self.running:
            spent = now - self.at
            self.busy_s += spent
            done = spent * self.speed / self.running
            self.loop_left -= done
            self.decode_left -= done
            self.model_left -= done
        self.at = now

    def begin_loop(self, now: float) -> None:
        job = self.loop_job = self.to_loop.popleft()
        costs = self.costs
        # A batch's answers are written in one go.
        work = costs.turn_s + len(job) * costs.loop_s / 2 if isinstance(job, list) else costs.loop_s / 2
        self.loop_left = work * self.draw()
        self.loop_began = now
        self.running += 1

    def loop_done(self, now: float) -> None:
        job, self.loop_job = self.loop_job, None
        self.loop_left = inf
        self.running -= 1
        if isinstance(job, list):
            # One after the other: each is out when the loop comes to it.
            began, each = self.loop_began, (now - self.loop_began) / len(job)
            transit_s = self.costs.transit_s
            for place, request in enumerate(job, 1):
                self.finish(began + place * each + transit_s, request, "answered")
        elif job is not None:
            self.admit(now, job)

    def admit(self, now: float, request: Request) -> None:
        """Queue a request whose head and body are read, or refuse it."""
        most = self.policy.queue_length
        if len(self.waiting) >= most or (
            self.costs.decode_s and len(self.to_decode) + (self.decoding is not None) > most
        ):
            self.refuse(now, request)
            return
        request.entered = now
        (self.to_decode if self.costs.decode_s else self.waiting).append(request)

    def refuse(self, now: float, request: Request) -> None:
        """Hold a refusal back for a moment, the longer the more there are; say when to come again."""
        queued = len(self.waiting) + len(self.to_decode)
        request.pause_s = min(60.0, max(1.0, -(-queued * self.pace_s // 1)))
        self.held += 1
        hold_s = min(LONGEST_S, PAUSE_S + self.held / MOST_PER_SECOND)
        self.clock.at(now + hold_s, self.release, request)

    def release(self, now: float, request: Request) -> None:
        self.held -= 1
        if self.alive:
            self.finish(now, request, "refused")
        else:
            self.end(now, request, "lost")

    def begin_decoding(self, now: float) -> None:
        oldest = now - self.policy.queue_timeout_s
        while self.to_decode:
            request = self.to_decode.popleft()
            if request.entered < oldest:
                self.give_up(now, request)
                continue
            self.decoding = request
            self.decode_left = self.costs.decode_s * self.draw()
            self.running += 1
            return

    def decode_done(self, now: float) -> None:
        request, self.decoding = self.decoding, None
        self.decode_left = inf
        self.running -= 1
        assert request is not None
        if len(self.waiting) >= self.policy.queue_length:
            self.refuse(now, request)
            return
        request.entered = now
        self.waiting.append(request)

    def begin_batch(self, now: float) -> None:
        """Take what waits, as many as a batch may have, without those whose time is over."""
        oldest, most = now - self.policy.queue_timeout_s, self.policy.batch_size
        waiting, batch = self.waiting, self.batch
        while waiting and len(batch) < most:
            request = waiting.popleft()
            if request.entered < oldest:
                self.give_up(now, request)
            else:
                batch.append(request)
        if batch:
            self.model_left = self.costs.batch(len(batch)) * self.draw()
            self.batch_began = now
            self.running += 1

    def model_done(self, now: float) -> None:
        batch, self.batch = self.batch, []
        self.model_left = inf
        self.running -= 1
        self.pace_s += 0.2 * ((now - self.batch_began) / len(batch) - self.pace_s)
        self.to_loop.append(batch)

    def give_up(self, now: float, request: Request) -> None:
        queued = len(self.waiting) + len(self.to_decode)
        request.pause_s = min(60.0, max(1.0, -(-queued * self.pace_s // 1)))
        self.finish(now, request, "late")

    def finish(self, now: float, request: Request, how: str) -> None:
        self.in_flight -= 1
        self.end(now, request, how)

    def die(self, now: float) -> None:
        """End at once: all that is here is lost. Its connections count on, until somebody looks."""
        self.advance(now)
        self.alive = False
        self.version += 1
        self.running = 0
        for request in self.requests():
            self.end(now, request, "lost")

    def requests(self) -> list[Request]:
        """List what is in here; refusals that are held back end as lost when their time comes."""
        found: list[Request] = []
        for job in (self.loop_job, *self.to_loop):
            found += job if isinstance(job, list) else [] if job is None else [job]
        found += [] if self.decoding is None else [self.decoding]
        return [*found, *self.to_decode, *self.waiting, *self.batch]
