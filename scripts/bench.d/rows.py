"""What scripts/bench measures: one row of its table each, with the goal that the row must hold."""

from typing import NamedTuple

WITHOUT = ["node", "socketioxide", "floor", "rill"]
WITH_RECOVERY = ["node", "node+", "socketioxide", "floor", "rill", "rill+"]
NO_FLOOR = ["node", "socketioxide", "rill"]
CLUSTER = ["node", "socketioxide", "rill", "rill+"]


class Goal(NamedTuple):
    """`ours` is at most `most` times `theirs`, or at most `most` where there is none to compare with."""

    most: float
    theirs: str | None = "socketioxide"
    ours: str = "rill"


class Row(NamedTuple):
    """`value` names the figure in what the load generator prints, `also` another one that deserves a line, with its title."""

    name: str
    title: str
    unit: str
    load: list[str]
    servers: list[str]
    goals: list[Goal]
    value: str = "cpu"
    also: tuple[str, str] | None = None


def load(*words: str | int) -> list[str]:
    return [str(word) for word in words]


# The same work with recovery costs little more.
RECOVERY = Goal(1.25, "rill", "rill+")

ROWS = [
    Row("echo-1", "echo, 1 in flight", "µs", load("echo"), WITH_RECOVERY, [Goal(0.85), RECOVERY]),
    Row("echo-paced", "echo, 100/s from each: latency, 99th percentile", "µs", load("echo", "--pace", 0.01), WITH_RECOVERY, [], "p99"),
    Row("echo-16", "echo, 16 in flight", "µs", load("echo", "--flight", 16), WITH_RECOVERY, [Goal(0.25), RECOVERY]),
    Row("ack-16", "acknowledgement, 16 in flight", "µs", load("ack", "--flight", 16), WITH_RECOVERY, [Goal(0.25), RECOVERY]),
    Row("object-16", "echo of an object, 16 in flight", "µs", load("object", "--flight", 16), WITH_RECOVERY, [Goal(0.2), RECOVERY]),
    Row("echo-16k", "echo of 16 KiB, 2 in flight", "µs", load("echo", "--flight", 2, "--clients", 16, "--bytes", 16_384), WITHOUT, [Goal(0.35)]),
    Row("binary-16", "echo of a 64-byte attachment, 16 in flight", "µs", load("binary", "--flight", 16), WITHOUT, []),
    Row("broadcast-1", "broadcast to 1,000, 1 in flight, per delivery", "µs", load("broadcast", "--clients", 1_000), WITH_RECOVERY, [Goal(0.75)]),
    Row("broadcast-16", "broadcast to 1,000, 16 in flight, per delivery", "µs", load("broadcast", "--clients", 1_000, "--flight", 16), WITH_RECOVERY, [Goal(0.65)]),
    Row("broadcast-100", "broadcast to 100, latency to the last", "µs", load("broadcast", "--clients", 100), WITHOUT, [], "median"),
    Row("rooms", "100 rooms of 10, 1 in flight in each, per delivery", "µs", load("rooms", "--clients", 1_000, "--rooms", 100), [*NO_FLOOR, "rill+"], []),
    Row("polling", "long-polling echo (POST and GET)", "µs", load("polling"), WITHOUT, [Goal(0.5)]),
    Row("idle", "idle WebSocket client, memory", "KiB", load("idle", "--clients", 5_000), [*WITHOUT, "rill+"], [Goal(4, None), Goal(4, None, "rill+")], "memory"),
    Row("connect", "connect (WebSocket and namespace)", "µs", load("connect", "--clients", 2_000), [*WITHOUT, "rill+"], [Goal(0.6)]),
    Row("cluster-1", "cluster: 1 receiver elsewhere, 32 in flight, both servers", "µs", load("cluster", "--clients", 1, "--flight", 32), CLUSTER, [Goal(0.2, "node", "rill+")], also=("redis", "what Redis spends on it, µs")),
    Row("cluster-100", "cluster: 100 receivers elsewhere, latency to the last", "µs", load("cluster", "--clients", 100), CLUSTER, [Goal(0.5, "node", "rill+")], "median"),
]  # fmt: skip
