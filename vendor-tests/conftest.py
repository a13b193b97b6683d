"""Servers for the tests: each a process of its own on a free port; only what was started is ended."""

import os
import random
import re
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest

RELEASE = Path(__file__).parent.parent / "target" / "release"


class Server:
    def __init__(self, variable, name, *args, **env):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        binary = os.environ.get(variable, str(RELEASE / name))
        self.command = [binary, *args, *(["--port", str(self.port)] if args else [])]
        self.environment = {"PATH": os.environ["PATH"], "PORT": str(self.port), **env}
        self.output = ""
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._read, args=[self.process.stdout], daemon=True).start()
        self.listens()

    def kill_and_start(self):
        """SIGKILL, and a new process in its place: a log in memory is gone with the old one."""
        self.process.kill()
        self.process.wait()
        self.start()

    def _read(self, pipe):
        while chunk := os.read(pipe.fileno(), 65_536):
            self.output += chunk.decode(errors="replace")

    def listens(self):
        until(f"something listens on port {self.port}", lambda: answers(self.port))

    def is_back(self):
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as response:
                return response.status == 200
        except OSError:
            return False

    def type(self, line):
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def end(self):
        alive = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        assert alive, self.output
        assert not re.search(r"panicked|Unhandled|uncaught", self.output), self.output


def free_port():
    """A port that nothing uses, below those that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(10_000, 20_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(what, condition, seconds=10):
    """Asks until the answer is true, and gives it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def server(variable, name, *args, **env):
    started = Server(variable, name, *args, **env)
    yield started
    started.end()


@pytest.fixture(scope="session")
def echo():
    """The test server of the official protocol suite: `message`, `message-with-ack`, namespaces / and /custom."""
    yield from server("CONFORMANCE_BIN", "examples/conformance", "socket")


@pytest.fixture(scope="session")
def suite():
    """The test server of the official client suite."""
    yield from server("CONFORMANCE_BIN", "examples/conformance", "client")


# A client that polls may leave without a word (its writer may end before its goodbye); it then hangs until the next ping.
ROOMS = {"PING_INTERVAL_MS": "500", "PING_TIMEOUT_MS": "5000", "HOST": "127.0.0.1", "ADAPTER": "memory", "AUTOSTART": "1", "SERVER_ID": "py"}


@pytest.fixture(scope="session")
def rooms():
    """The room application."""
    yield from server("RILL_BIN", "rill", **ROOMS)


@pytest.fixture
def own_rooms():
    """The room application for a test that stops it."""
    yield from server("RILL_BIN", "rill", **ROOMS)
