"""How Rill behaves as everything grows: scripts/bench --scale builds what is needed and calls this."""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import COLUMNS, COMMANDS, PEERS, WORKERS, Failure, Process, note, number, run

SECONDS = 1.0
MOST_SECONDS = 90


class Growth(NamedTuple):
    """One kind of work, measured with more and more of something; what one operation costs should not grow with it."""

    title: str
    load: list[str]
    option: str
    sizes: list[int]


ECHO = ["echo", "--flight", "16"]
GROWING = [
    Growth("echo by 64 clients, others connected", ECHO, "--idle", [0, 1_000, 10_000]),
    Growth("echo by all clients, 1 in flight", ["echo"], "--clients", [100, 1_000, 10_000]),
    Growth("10 rooms of 10, other rooms there, per delivery", ["rooms", "--clients", "100", "--rooms", "10"], "--spare", [0, 1_000, 10_000, 100_000]),
    Growth("echo by 1,000 clients in namespaces", [*ECHO, "--clients", "1000"], "--namespaces", [1, 100, 1_000]),
]  # fmt: skip
SERVERS = ["rill", "rill+"]
# A broadcast to so many, one after the other without a pause, and a room of ten beside it.
STORM = ["rooms", "--rooms", "1", "--clients", "5000"]
BESIDE = ["rooms", "--rooms", "1", "--clients", "10"]
STORMED = ["node", "socketioxide", "rill", "rill+"]


def options(server: str, process: Process, seconds: float) -> list[str]:
    recovery = ["--recovery"] if server.endswith("+") else []
    return ["--port", str(process.port), "--pid", str(process.child.pid), "--warm", "0.5", "--time", str(seconds), *recovery]


def begin(load: list[str], server: str, process: Process, seconds: float = SECONDS) -> subprocess.Popen:
    command = [PEERS / "load", *load, *options(server, process, seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(running: subprocess.Popen) -> dict:
    try:
        out, error = running.communicate(timeout=MOST_SECONDS)
    finally:
        running.kill()
    if running.returncode:
        raise Failure(error.strip())
    return json.loads(out)


def alone(load: list[str], server: str, folder: Path) -> dict:
    """One load on a fresh server."""
    process = Process(COMMANDS[server], folder)
    try:
        return result(begin(load, server, process))
    finally:
        process.stop()


def stormed(server: str, folder: Path) -> dict:
    """The room of ten without and with the storm beside it."""
    process = Process(COMMANDS[server], folder)
    try:
        calm = result(begin(BESIDE, server, process))
        storm = begin(STORM, server, process, 6)
        time.sleep(3)
        beside = result(begin(BESIDE, server, process, 2))
        deliveries = result(storm)["operations"]
    finally:
        process.stop()
    return {"calm": calm["median"], "calm99": calm["p99"], "storm": beside["median"], "storm99": beside["p99"], "deliveries": deliveries / 6}


def median(rounds: list[dict], value: str) -> float:
    return statistics.median(found[value] for found in rounds)


def print_table(head: list[str], lines: list[list[str]]) -> None:
    for line in [head, ["---"] + ["---:"] * (len(head) - 1), *lines]:
        print("| " + " | ".join(line) + " |")
    print()


def growing(rounds: int, folder: Path, everything: dict) -> None:
    lines = []
    for growth in GROWING:
        for server in SERVERS:
            cells = []
            for size in growth.sizes:
                note(f"{growth.title}: {size} {server}")
                found = [alone([*growth.load, growth.option, str(size)], server, folder) for _ in range(rounds)]
                everything[f"{growth.title} {size} {server}"] = found
                cells.append(f"{size:,}: {number(median(found, 'cpu'))}")
            cells += ["–"] * (4 - len(cells))
            lines.append([f"{growth.title}{', rec.' if server.endswith('+') else ''}", *cells])
    print_table(["server CPU per operation, µs", "at", "at", "at", "at"], lines)


def peak(rounds: int, folder: Path, everything: dict) -> None:
    lines = []
    for server in SERVERS:
        note(f"peak {server}")
        found = everything[f"peak {server}"] = [alone(["peak", "--clients", "10000", "--rooms", "5"], server, folder) for _ in range(rounds)]
        lines.append([COLUMNS[server], *(number(median(found, value)) for value in ("before", "peak", "after", "later"))])
    print_table(["10,000 clients in 5 rooms each, resident MiB", "before", "with them", "1 s after", "11 s after"], lines)


def storm(rounds: int, folder: Path, everything: dict) -> None:
    found: dict[str, list[dict]] = {server: [] for server in STORMED}
    for _ in range(rounds):
        for server in STORMED:
            note(f"storm {server}")
            found[server].append(stormed(server, folder))
    everything["storm"] = found
    values = ["calm", "calm99", "storm", "storm99"]
    lines = [
        [COLUMNS[server], *(number(median(rounds, value) / 1_000) for value in values), number(median(rounds, "deliveries") / 1_000)]
        for server, rounds in found.items()
    ]
    print_table(["a room of 10 beside a storm to 5,000, ms", "calm: median", "p99", "storm: median", "p99", "storm, thousand deliveries/s"], lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench --scale", description="How Rill behaves as everything grows.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was measured")
    asked, everything, start = parser.parse_args(), {}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for part in growing, peak, storm:
            part(asked.rounds, Path(folder), everything)
            if asked.json:
                asked.json.write_text(json.dumps(everything, indent=1) + "\n")
    note("")
    print(f"Median of {asked.rounds} round(s), {WORKERS} processors, {(time.monotonic() - start) / 60:.1f} minutes.")
    return 0


if __name__ == "__main__":
    run(main)
