"""Starts the servers, drives them with the load generator in turns, and prints one table. scripts/bench builds all of it and calls this."""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Iterator

from chart import chart
from rows import ROWS, Goal, Row

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ["CARGO_TARGET_DIR"])
PEERS = TARGET / "bench/release"
# With recovery: the same server, started differently.
COMMANDS = {
    "node": ["node", HERE / "node.js"],
    "node+": ["node", HERE / "node.js", "--recovery"],
    "socketioxide": [PEERS / "socketioxide"],
    "floor": [PEERS / "floor"],
    "rill": [TARGET / "release/examples/conformance", "bench"],
    "rill+": [TARGET / "release/examples/conformance", "bench", "--recovery"],
}
COLUMNS = {"node": "Node", "node+": "Node, rec.", "socketioxide": "socketioxide", "floor": "floor", "rill": "Rill", "rill+": "Rill, rec."}
# For the servers that are written in Rust, as many as Rill starts; Node runs JavaScript on one.
WORKERS = len(os.sched_getaffinity(0))
MOST_SECONDS = 60


class Failure(Exception):
    pass


class Process:
    """A server of the benchmark, on a free port, until it is stopped."""

    def __init__(self, command: list[str | Path], folder: Path):
        self.port = free_port()
        self.log = folder / f"{self.port}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [*command, "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"TOKIO_WORKER_THREADS": str(WORKERS), "NODE_ENV": "production"},
            )
        end = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", self.port)):
            if self.child.poll() is not None or time.monotonic() > end:
                self.stop()
                raise Failure(f"{Path(command[0]).name} does not listen:\n{self.log.read_text()}")
            time.sleep(0.02)

    def ready(self) -> None:
        """A server of a cluster turns clients away until it has reached Redis."""
        end = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/socket.io/?EIO=4&transport=polling", timeout=5):
                    return
            except OSError as error:
                if time.monotonic() > end:
                    raise Failure(f"not ready: {error}\n{self.log.read_text()}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        self.child.kill()
        self.child.wait()


def free_port() -> int:
    """Below the ports that the kernel gives to outgoing connections, as in lib.sh."""
    for port in range(20_000 + os.getpid() % 5_000, 30_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port not in used and probe.connect_ex(("127.0.0.1", port)):
                used.add(port)
                return port
    raise Failure("no free port between 20000 and 30000")


used: set[int] = set()


class Driven:
    """One server of a row, or two of a cluster with their Redis, and what they spent in each round."""

    def __init__(self, row: Row, server: str, folder: Path):
        self.row, self.server, self.folder = row, server, folder
        self.running: list[Process] = []
        self.options: list[str] = []
        self.results: list[dict] = []

    def start(self) -> None:
        if self.row.load[0] == "cluster":
            redis = ["redis-server", "--save", "", "--bind", "127.0.0.1", "--dir", self.folder]
            self.running.append(Process(redis, self.folder))
            self.options = ["--redis", str(self.running[0].child.pid)]
            place = ["--redis", f"127.0.0.1:{self.running[0].port}"]
            servers = []
            for _ in range(2):
                servers.append(Process([*COMMANDS[self.server], *place], self.folder))
                self.running.append(servers[-1])
            for server in servers:
                server.ready()
        else:
            servers = [Process(COMMANDS[self.server], self.folder)]
            self.running += servers
            if self.server.endswith("+"):
                self.options = ["--recovery"]
        for name, numbers in ("--port", [s.port for s in servers]), ("--pid", [s.child.pid for s in servers]):
            self.options += [name, ",".join(str(number) for number in numbers)]

    def round(self, seconds: float) -> None:
        fresh = not self.running
        if fresh:
            self.start()
        # A just-in-time compiler wants to have seen the code for a while; after that, only the new connections warm up.
        warm = min(0.3, seconds) if not fresh else 3 * seconds if self.server.startswith("node") else 0.5 * seconds
        options = [*self.options, "--warm", str(warm), "--time", str(seconds)]
        try:
            done = subprocess.run(
                [PEERS / "load", *self.row.load, *options], capture_output=True, text=True, timeout=MOST_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"not done after {MOST_SECONDS} s") from None
        if done.returncode:
            raise Failure(done.stderr.strip() + "".join(process.log.read_text()[-500:] for process in self.running))
        self.results.append(json.loads(done.stdout))
        # What a peak has left in the allocator would hide what the next round takes.
        if self.row.value == "memory":
            self.stop()

    def stop(self) -> None:
        while self.running:
            self.running.pop().stop()


def measure(row: Row, rounds: int, seconds: float, folder: Path) -> dict[str, list[dict]]:
    """What each server spent, in every round. The servers take turns, so that all have the machine's good and bad moments."""
    driven = [Driven(row, server, folder) for server in row.servers]
    try:
        for number in range(rounds):
            for one in driven:
                note(f"{row.name} {number + 1}/{rounds} {one.server}")
                try:
                    one.round(seconds)
                except Failure as failure:
                    note(f"{row.name}, {one.server}: {failure}\n")
                    one.stop()
    finally:
        for one in driven:
            one.stop()
    note("")
    return {one.server: one.results for one in driven}


def note(text: str) -> None:
    """Where the run is, for somebody who watches; what is a line, for everybody."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text.endswith("\n"):
        print(text, end="", file=sys.stderr, flush=True)


def figures(results: dict[str, list[dict]], value: str) -> dict[str, float]:
    """The median of each server that was measured."""
    return {server: statistics.median(result[value] for result in rounds) for server, rounds in results.items() if rounds}


def ratio(found: dict[str, float], ours: str, theirs: str) -> float | None:
    return found[ours] / found[theirs] if ours in found and theirs in found else None


def judge(goal: Goal, found: dict[str, float]) -> str:
    value = ratio(found, goal.ours, goal.theirs) if goal.theirs else found.get(goal.ours)
    if value is None:
        return "?"
    subject = "rec. " if goal.ours == "rill+" else ""
    other = {"socketioxide": "socketioxide", "node": "Node", "rill": "Rill", None: ""}[goal.theirs]
    return f"{subject}≤ {goal.most:g}{' × ' + other if other else ''}: {value:.2f} {'held' if value <= goal.most else 'MISSED'}"


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(everything: dict[str, dict[str, list[dict]]]) -> Iterator[str]:
    head = ["server CPU per operation, unless it says memory or latency", *COLUMNS.values(), "Rill/Node", "Rill/socketioxide", "goal"]
    lines = [head]
    for row in ROWS:
        for value, title in [(row.value, f"{row.title}, {row.unit}"), *([row.also] if row.also else [])]:
            if row.name in everything:
                found = figures(everything[row.name], value)
                cells = [number(found.get(server)) for server in COLUMNS]
                ratios = [number(ratio(found, "rill", peer)) for peer in ("node", "socketioxide")]
                goals = [judge(goal, found) for goal in row.goals if value == row.value]
                lines.append([title, *cells, *ratios, "; ".join(goals)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for at, line in enumerate(lines):
        cells = [cell.ljust(width) if column in (0, len(head) - 1) else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths))]
        yield "| " + " | ".join(cells) + " |"
        if at == 0:
            last = len(head) - 1
            yield "|" + "|".join("-" * (w + 2) if c in (0, last) else "-" * (w + 1) + ":" for c, w in enumerate(widths)) + "|"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="What Rill costs beside its peers.")
    names = [row.name for row in ROWS]
    parser.add_argument("--quick", action="store_true", help="one short round: is anything off?")
    parser.add_argument("--only", action="append", choices=names, metavar="ROW", help="one of: " + " ".join(names))
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was measured")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="the table as a chart")
    return parser.parse_args()


def main() -> int:
    asked, start = arguments(), time.monotonic()
    rounds = asked.rounds or (1 if asked.quick else 3)
    everything = {}
    with tempfile.TemporaryDirectory() as folder:
        for row in ROWS:
            if not asked.only or row.name in asked.only:
                everything[row.name] = measure(row, rounds, 0.5 if asked.quick else 1.0, Path(folder))
                # What is known stays known if the run is broken off.
                if asked.json:
                    asked.json.write_text(json.dumps(everything, indent=1) + "\n")
    print(*table(everything), sep="\n")
    minutes = (time.monotonic() - start) / 60
    print(f"\nMedian of {rounds} round(s) in turns, {WORKERS} processors, as many threads in each server that is written in Rust, {minutes:.1f} minutes.")
    if asked.plot:
        measured = {row.name: figures(everything[row.name], row.value) for row in ROWS if row.name in everything}
        asked.plot.write_text(chart(ROWS, COLUMNS, measured))
    complete = all(len(results) == rounds for row in everything.values() for results in row.values())
    return 0 if complete else 1


def run(program) -> None:
    """Ends with the program's result; whoever ends it ends its servers too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(program())
    except Failure as failure:
        sys.exit(f"{failure}")


if __name__ == "__main__":
    run(main)
