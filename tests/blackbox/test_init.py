"""`init`: from a few answers to a config that `check` takes, by flags, by a pipe and on a terminal.

Knows the command, its exit codes and what it promises: no secret is asked for, nothing is overwritten.
Serves whoever changes the first minute.
"""

import os
import pty
import select
import signal
import subprocess
import time
import unittest
from pathlib import Path

import scenario
from scenario import Case


class Init(Case):
    def build(self):
        pass

    def init(self, *argv, expect=0, **kw):
        return self.run_binary("init", *argv, expect=expect, **kw)

    def valid(self, name="scopewatch.yaml"):
        done = self.run_binary("check", "--config", name, expect=0)
        self.assertEqual(done.err, "", str(done))
        return done.out

    def test_an_organization_is_enough(self):
        done = self.init("--org", "acme")
        self.assertIn("2 tokens, 2 checks", self.valid())
        for command in ("check", "doctor", "audit"):
            self.assertIn(f"scopewatch {command} --config scopewatch.yaml", done.out)
        self.assertIn("cat > /run/secrets/ci-bot", done.out)
        self.assertIn("orgPermissions=repo.write", done.out)
        self.assertEqual((self.dir / "scopewatch.yaml").stat().st_mode & 0o777, 0o644, "the daemon must be able to read it")
        self.run_binary("plan", "--config", "scopewatch.yaml", expect=0)

    def test_what_is_missing_is_said_in_one_sentence(self):
        for argv in ((), ("--yes",)):
            done = self.init(*argv, expect=2)
            self.assertRegex(done.err, r"^error: .*--org.*\n$")
        self.assertEqual(done.out, "")
        self.assertFalse((self.dir / "scopewatch.yaml").exists())

    def test_nothing_is_overwritten(self):
        path = self.dir / "scopewatch.yaml"
        path.write_text("mine\n")
        done = self.init("--org", "acme", expect=2)
        self.assertRegex(done.err, r"^error: .*--force.*\n$")
        self.assertEqual(path.read_text(), "mine\n")
        self.init("--org", "acme", "--force")
        self.valid()
        for bad in ("no/such/x.yaml", "."):
            self.init("--org", "acme", "--output", bad, expect=2)
        link = self.dir / "link.yaml"
        link.symlink_to("nowhere.yaml")
        self.init("--org", "acme", "--output", "link.yaml", expect=2)
        self.assertFalse((self.dir / "nowhere.yaml").exists())
        self.assertEqual([p.name for p in self.dir.glob("*.new")], [])

    def test_to_stdout_it_is_the_config_alone(self):
        done = self.init("--org", "acme", "--output", "-")
        (self.dir / "piped.yaml").write_text(done.out)
        self.valid("piped.yaml")
        self.assertIn("doctor", done.err)

    def test_flags_say_everything(self):
        self.init("--org", "acme", "--token", "ci", "--token", "it's: #1", "--secret", "ci=env:CI_TOKEN", "--secrets", "/s",
                  "--may-create", "ci", "--may-write", "ci=dataset:acme/d", "--must-not-write", "acme/private",
                  "--resource-group", "a \"group\": {x}", "--janitor", "keeper", "--store", str(self.dir / "state.db"),
                  "--endpoint", "http://127.0.0.1:9", "--canaries", "yes")
        self.assertIn("3 tokens, 9 checks", self.valid())
        text = (self.dir / "scopewatch.yaml").read_text()
        for part in ('env: CI_TOKEN', 'file: /s/it-s---1', 'type: dataset, repo: acme/d, access: allowed',
                     'repo: acme/private, access: denied', 'permission: repo.create, access: allowed', 'janitor: keeper'):
            self.assertIn(part, text)
        self.init("--org", "acme", "--canaries", "no", "--sentinel", "dataset:acme/taken", "--output", "b.yaml")
        self.assertIn("method: sentinel, sentinel: acme/taken", (self.dir / "b.yaml").read_text())
        self.valid("b.yaml")

    def test_hostile_flags_are_usage(self):
        secret = scenario.fresh_secret()
        for flag, value in (("--org", "a b"), ("--org", "acme\n  janitor: x"), ("--token", "a\tb"), ("--token", ""),
                            ("--secret", "ci-bot=env:A B"), ("--secret", "nobody=/x"), ("--may-write", "acme"),
                            ("--store", "postgres://u:p@h/d"), ("--resource-group", "\x1b[2J"), ("--endpoint", "http://hub.example"),
                            ("--sentinel", "other/x"), ("--canaries", "maybe"), ("--token", secret)):
            argv = ("--org", "acme", flag, value) if flag != "--org" else (flag, value)
            done = self.init(*argv, expect=2)
            self.assertEqual(len(done.err.splitlines()), 1, str(done))
            self.assertNotIn("\x1b", done.err)
            self.assertNotIn(secret, done.err)
            self.assertFalse((self.dir / "scopewatch.yaml").exists(), str(done))

    def piped(self, text, *argv):
        done = subprocess.run([scenario.BIN, "init", *argv], input=text.encode(), capture_output=True, timeout=30,
                              cwd=self.dir, env=self.environment())
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_piped_answers(self):
        code, out, err = self.piped("acme\n\n\n\nbot\n/s/bot\nn\nacme/m\n\n-\n\n")
        self.assertEqual(code, 0, err)
        self.assertIn("repo: acme/m, access: allowed", (self.dir / "scopewatch.yaml").read_text())
        self.valid()
        for answers in ("acme\nhf_" + "x" * 34 + "\n", "acme: #\n", "acme\n\nenv:%\n", "\xff\n"):
            code, out, err = self.piped(answers, "--force")
            self.assertEqual((code, out, len(err.splitlines())), (2, "", 1), err)
            self.assertNotIn("xxxxxxxx", err)

    def test_a_pipe_in_which_nothing_comes_does_not_hold_it(self):
        mine, theirs = os.pipe()
        try:
            done = subprocess.run([scenario.BIN, "init", "--org", "acme"], stdin=mine, capture_output=True, timeout=15,
                                  cwd=self.dir, env=self.environment())
        finally:
            os.close(mine)
            os.close(theirs)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.valid()


class Terminal(Case):
    """The same in front of a person."""

    def build(self):
        pass

    def start(self, *argv):
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(self.dir)
            os.execvpe(scenario.BIN, [scenario.BIN, *argv], self.environment())
        self.pid, self.seen = pid, ""
        self.addCleanup(os.close, self.terminal)

    def until(self, word, seconds=15):
        end = time.monotonic() + seconds
        at = len(self.seen)
        while word not in self.seen[at:]:
            ready, _, _ = select.select([self.terminal], [], [], max(0, end - time.monotonic()))
            if not ready:
                self.fail(f"'{word}' did not come within {seconds} s:\n{self.seen}")
            try:
                more = os.read(self.terminal, 65536)
            except OSError:
                more = b""
            if not more:
                break
            self.seen += more.decode("utf-8", "replace")
        self.assertIn(word, self.seen[at:])

    def type(self, text):
        os.write(self.terminal, text.encode())

    def ended(self):
        _, status = os.waitpid(self.pid, 0)
        return status

    def test_a_person_answers(self):
        self.start("init")
        for question, answer in (
                ("exact name", "ac me"), ("exact name", "acme"), ("janitor", ""), ("secret of 'janitor'", ""),
                ("(yes/no)", "perhaps"), ("(yes/no)", ""), ("token to watch", "ci"), ("secret of 'ci'", str(self.dir / "ci")),
                ("(yes/no)", "no"), ("able to write to", "acme/model"), ("must not write", "acme/model"),
                ("must not write", "acme/private"), ("Another token", ""), ("resource group", "-"), ("journal", "")):
            self.until(question)
            self.type(answer + "\n")
        self.until("scopewatch audit --config scopewatch.yaml")
        self.assertEqual(self.ended(), 0, self.seen)
        text = (self.dir / "scopewatch.yaml").read_text()
        self.assertIn("repo: acme/private, access: denied", text)
        self.assertIn("answer yes or no", self.seen)
        self.assertIn("cannot both", self.seen)
        self.assertIn("4 checks", self.run_binary("check", "--config", "scopewatch.yaml", expect=0).out)

    def test_ctrl_c_and_ctrl_d_leave_nothing(self):
        for key, ends in (("\x03", None), ("\x04", 130)):
            self.start("init")
            self.until("exact name")
            self.type("acme\n")
            self.until("janitor")
            self.type(key)
            status = self.ended()
            if ends is None:
                self.assertEqual(os.WTERMSIG(status), signal.SIGINT)
            else:
                self.assertEqual(os.waitstatus_to_exitcode(status), ends)
            self.assertEqual(sorted(Path(self.dir).glob("*.yaml*")), [])


if __name__ == "__main__":
    unittest.main()
