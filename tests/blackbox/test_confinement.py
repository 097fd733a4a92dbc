"""`serve` confines itself: system calls and places to write to are given up in every thread, and it works all the same.

Knows /proc, strace (skipped without it) and the contract.  Serves whoever changes the list of system calls, or what
the daemon does with files.
"""

import http.server
import os
import re
import shutil
import signal
import stat
import threading
from pathlib import Path
from unittest import mock

import scenario
from scenario import CI, NEVER, Case, wait_until


def threads(pid):
    """The kernel's status of each thread, by its name."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found.append(dict(re.findall(r"^(\w+):\s*(.*)$", (task / "status").read_text(), re.M)))
    return found


class Receiver:
    """A webhook on loopback that keeps what it was sent."""

    def __init__(self, case):
        self.bodies = bodies = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        case.addCleanup(server.server_close)
        case.addCleanup(server.shutdown)
        self.port = server.server_port


class Confined(Case):
    def gauges(self, daemon):
        return {labels["check"]: value for labels, value in daemon.metrics().all("scopewatch_hardening")}

    def quiet(self):
        self.config["schedule"] = {"probe": NEVER, "canary": NEVER, "declared": NEVER, "on_start": False}

    def traced(self, *options):
        """`serve` under strace, which follows every thread and writes to a file; the daemon is the process itself."""
        if not shutil.which("strace"):
            if CI:
                self.fail("strace is missing")
            self.skipTest("strace is missing")
        trace, wrapper = self.dir / "trace", self.dir / "traced"
        wrapper.write_text(f'#!/bin/sh\nexec strace -D -f -qq -o {trace} {" ".join(options)} {scenario.BIN} "$@"\n')
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
        with mock.patch.object(scenario, "BIN", str(wrapper)):
            return self.serve(), trace

    def test_every_thread_is_confined_and_rounds_reloads_alerts_and_the_end_go_on(self):
        hook = Receiver(self)
        self.widened("wide")
        daemon = self.serve(alerts={"sinks": [
            # A name, so that it is looked up by the C library, under the filter.
            {"name": "hook", "type": "webhook", "url": f"http://localhost:{hook.port}/"}]})
        for of_thread in threads(daemon.process.pid):
            self.assertEqual((of_thread["Seccomp"], of_thread["NoNewPrivs"]), ("2", "1"), of_thread)
        gauges = self.gauges(daemon)
        self.assertEqual((gauges["seccomp"], gauges["new_privileges"], gauges["dumpable"]), (1, 1, 1), gauges)
        wait_until(lambda: any("ScopewatchUnexpectedGrant" in body for body in hook.bodies), "the alert is sent")

        # A token of a directory that did not exist when the daemon started.
        self.add_member("later")
        entry = self.config["tokens"][-1]
        place = self.dir / "elsewhere" / "tokens"
        place.mkdir(parents=True)
        shutil.move(entry["secret"]["file"], place / "later")
        entry["secret"]["file"] = str(place / "later")
        self.write_config({**daemon.settings, "tokens": self.config["tokens"]}, "serve.yaml")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.metrics().one("scopewatch_check_allowed", token="later") == 0,
                   "the new token is probed")
        # Threads that were started since are confined, too.
        for of_thread in threads(daemon.process.pid):
            self.assertEqual(of_thread["Seccomp"], "2", of_thread)
        self.assertEqual(daemon.get("/")[0], 200)
        daemon.stop()
        self.assertNotRegex(daemon.output(), "confine|Landlock|system calls")

    def test_writing_is_given_up_before_there_is_a_second_thread(self):
        self.quiet()
        self.add_member("limited")
        daemon, trace = self.traced("-e", "trace=landlock_restrict_self,clone,clone3,seccomp,execve")
        gauges = self.gauges(daemon)
        daemon.stop()
        calls = [(m[1], m[2]) for m in re.finditer(r"^\d+ +(\w+)\(.* = (-?\w+)", trace.read_text(), re.M)]
        names = [name for name, _ in calls]
        self.assertEqual(names[0], "execve")
        if ("landlock_restrict_self", "0") not in calls:
            self.assertEqual(gauges["landlock"], 0, "a kernel without Landlock")
            self.skipTest("this kernel has no Landlock")
        self.assertEqual(names[1], "landlock_restrict_self", "before the first thread")
        self.assertEqual(gauges["landlock"], 1)
        self.assertEqual(calls.count(("seccomp", "0")), 2, calls)
        first = names.index("seccomp")
        self.assertNotIn("execve", names[first:])

    def test_where_the_kernel_refuses_it_goes_on_and_says_so(self):
        self.quiet()
        self.add_member("limited")
        daemon, _ = self.traced("-e", "inject=seccomp:error=EINVAL", "-e", "inject=landlock_create_ruleset:error=EOPNOTSUPP")
        gauges = self.gauges(daemon)
        self.assertEqual((gauges["seccomp"], gauges["landlock"]), (0, 0), gauges)
        said = daemon.output()
        self.assertEqual(len(re.findall("does not let this process confine its system calls", said)), 1, said)
        self.assertNotRegex(said, "(?i)(warn|error).*store's directory")
        daemon.stop()

    def test_an_operator_can_keep_everything(self):
        self.quiet()
        self.add_member("limited")
        ours = dict(re.findall(r"^(\w+):\s*(.*)$", Path("/proc/self/status").read_text(), re.M))["Seccomp"]
        daemon = self.serve("--no-confinement")
        for of_thread in threads(daemon.process.pid):
            self.assertEqual(of_thread["Seccomp"], ours, of_thread)
        gauges = self.gauges(daemon)
        self.assertEqual((gauges["seccomp"], gauges["landlock"]), (float(ours != "0"), 0), gauges)
        daemon.stop()

    def test_a_store_that_cannot_be_made_is_told_as_ever(self):
        self.quiet()
        self.add_member("limited")
        path = self.write_config({**self.config, "store": {"url": f"sqlite://{self.dir}/nowhere/state.db"},
                                  "server": {"listen": "127.0.0.1:0"}})
        confined = self.run_binary("serve", "--config", path, expect=2)
        free = self.run_binary("serve", "--config", path, "--no-confinement", expect=2)
        self.assertEqual(confined.err.splitlines()[-1], free.err.splitlines()[-1])
        self.assertFalse(os.path.exists(self.dir / "nowhere"))
