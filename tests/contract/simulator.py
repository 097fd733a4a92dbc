"""The simulated Hub as a process of its own, for one test: started on a free port, asked, ended.

Knows the command line and the steering routes.  Serves the tests beside it.  SCOPEWATCH_BIN names the binary; without
it these tests are skipped, and with CI=true they fail instead.
"""

import json
import os
import re
import socket
import subprocess
import unittest
import urllib.error
import urllib.request
from pathlib import Path

BIN = os.environ.get("SCOPEWATCH_BIN")
WORLD = Path(__file__).resolve().with_name("world.yaml")
CI = os.environ.get("CI") == "true"


def secret(token):
    """As world.yaml writes it."""
    return f"contract-secret-{token}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Answer:
    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, headers, text

    def json(self):
        return json.loads(self.text)


class Hub:
    """A running simulated Hub that believes world.yaml."""

    def __init__(self, port=0):
        self.process = subprocess.Popen([BIN, "hub", "--listen", f"127.0.0.1:{port}", "--world", str(WORLD)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+", line)
        if not match:
            self.stop()
            raise AssertionError(f"expected the simulated Hub to say where it listens, it said: {line!r}")
        self.url = match[0]

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()

    def ask(self, method, path, token=None, body=None):
        """What it says to a token by its name in the world; None is nobody."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, method=method, data=data)
        if token:
            request.add_header("Authorization", f"Bearer {secret(token)}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                return Answer(answer.status, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read().decode())

    def steer(self, method, page, body=None):
        answer = self.ask(method, f"/_sim/{page}", body=body)
        if answer.status != 200:
            raise AssertionError(f"steering {page}: {answer.text}")
        return answer.json()


class Case(unittest.TestCase):
    """A test with a simulated Hub of its own."""

    port = 0

    def setUp(self):
        if not BIN:
            if CI:
                self.fail("SCOPEWATCH_BIN is not set; in CI the contract must be tested")
            self.skipTest("SCOPEWATCH_BIN is not set: no simulated Hub to test")
        self.hub = Hub(self.port)
        self.addCleanup(self.hub.stop)
