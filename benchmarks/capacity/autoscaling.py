"""When replicas are added and taken away: Kubernetes' HorizontalPodAutoscaler, and Ray Serve's rule.

Both see one sample a second and say how many replicas there should be. The formulas are the ones of their
documentation: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ and
https://docs.ray.io/en/latest/serve/advanced-guides/advanced-autoscaling.html
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Sample:
    """One second: how many replicas serve and start, how busy those that serve are, what is in flight."""

    at: float
    ready: int
    starting: int
    utilisation: float  # of the cores of those that serve, 0 to 1
    in_flight: int


class Autoscaler(Protocol):
    """Says how many replicas there should be; called once a second, with all samples so far."""

    def desired(self, samples: Sequence[Sample]) -> int: ...


def by_ratio(current: int, metric: float, target: float, tolerance: float = 0.1) -> int:
    """Give Kubernetes' ceil(current × metric / target); `current` where the ratio is within the tolerance."""
    ratio = metric / target
    return current if abs(ratio - 1) <= tolerance else math.ceil(current * ratio - 1e-9)


@dataclass
class KubernetesAutoscaler:
    """A HorizontalPodAutoscaler (autoscaling/v2) on the processor, or on requests in flight a replica.

    `lag_s`: how old the metric is when it is read (kubelet and metrics-server take 15 s each at worst);
    `averaged_s`: over how long it is a mean. The pace is the one of deploy/kubernetes: up by 2 pods or 100 %
    in 15 s, whichever is more; down by `down_pods` or `down_share` in a minute, whichever is more.
    """

    target: float
    least: int
    most: int
    metric: str = "utilisation"  # or "in_flight"
    sync_s: float = 15.0
    lag_s: float = 15.0
    averaged_s: float = 15.0
    up_window_s: float = 0.0
    down_window_s: float = 300.0
    down_pods: int = 1
    down_share: float = 0.0
    tolerance: float = 0.1
    advice: deque[tuple[float, int]] = field(default_factory=deque)
    sizes: deque[tuple[float, int]] = field(default_factory=deque)
    next_s: float = 0.0
    last: int = 0

    def desired(self, samples: Sequence[Sample]) -> int:
        now = samples[-1]
        current = now.ready + now.starting
        if now.at < self.next_s:
            return self.last or current
        self.next_s = now.at + self.sync_s
        advised = self.advise(samples, current)
        self.advice.append((now.at, advised))
        self.sizes.append((now.at, current))
        longest = max(self.up_window_s, self.down_window_s, 60.0)
        for kept in (self.advice, self.sizes):
            while kept[0][0] < now.at - longest - 1e-9:
                kept.popleft()
        self.last = self.limit(now.at, current)
        return self.last

    def advise(self, samples: Sequence[Sample], current: int) -> int:
        """Apply the formula; pods that only start count as idle where more are wanted."""
        now = samples[-1]
        seen = [
            one for one in samples if now.at - self.lag_s - self.averaged_s < one.at <= now.at - self.lag_s
        ]
        if not seen or not now.ready:
            return current
        if self.metric == "in_flight":
            metric = sum(one.in_flight for one in seen) / sum(max(1, one.ready) for one in seen)
        else:
            metric = sum(one.utilisation for one in seen) / len(seen)
        advised = by_ratio(now.ready, metric, self.target, self.tolerance)
        if advised > now.ready and now.starting:
            return max(by_ratio(current, metric * now.ready / current, self.target, self.tolerance), current)
        return max(advised, current) if advised == now.ready and now.starting else advised

    def limit(self, at: float, current: int) -> int:
        """Apply the windows, the pace and the bounds."""
        up = min(size for when, size in self.advice if when >= at - self.up_window_s - 1e-9)
        down = max(size for when, size in self.advice if when >= at - self.down_window_s - 1e-9)
        wanted = up if up > current else min(down, current)
        before = min(size for when, size in self.sizes if when >= at - 15.0 + 1e-9)
        wanted = min(wanted, max(before + 2, 2 * before))
        minute_ago = max(size for when, size in self.sizes if when >= at - 60.0 + 1e-9)
        fewest = minute_ago - max(self.down_pods, math.ceil(self.down_share * minute_ago))
        return max(self.least, min(self.most, max(wanted, min(fewest, current))))


@dataclass
class RayAutoscaler:
    """Ray Serve's rule: requests in flight a replica, a mean of `look_back_s`, a target; delays each way."""

    target_ongoing: float
    least: int
    most: int
    up_delay_s: float = 5.0
    down_delay_s: float = 120.0
    look_back_s: float = 15.0
    up_since: float | None = None
    down_since: float | None = None

    def desired(self, samples: Sequence[Sample]) -> int:
        now = samples[-1]
        current = now.ready + now.starting
        seen = [one.in_flight for one in samples[-max(1, int(self.look_back_s)) :]]
        wanted = math.ceil(sum(seen) / len(seen) / self.target_ongoing - 1e-9)
        wanted = max(self.least, min(self.most, wanted))
        self.up_since = (self.up_since if self.up_since is not None else now.at) if wanted > current else None
        self.down_since = (
            (self.down_since if self.down_since is not None else now.at) if wanted < current else None
        )
        if self.up_since is not None and now.at - self.up_since >= self.up_delay_s:
            self.up_since = None
            return wanted
        if self.down_since is not None and now.at - self.down_since >= self.down_delay_s:
            self.down_since = None
            return wanted
        return current
