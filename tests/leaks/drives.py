"""Drives the daemon and every command through whatever might make them talk, and keeps what they said, by channel.

Knows the command line, the config and the routes as the public contract has them.  Knows nothing of what is searched
for.  Serves run.py; controls.py shows that each channel would have told.
"""

import json
import re
import signal
import socket
from pathlib import Path

from bench import NEVER, PROXIES, Daemon, keep_log, wait_until
from liar import Ear
from machine import closed
from worlds import FILES

ROUTES = (
    "/",
    "/metrics",
    "/-/healthy",
    "/-/ready",
    "/livez",
    "/readyz",
    "/style.css",
    "/api/v1/report",
    "/api/v1/findings",
    "/api/v1/canaries",
)
# What a daemon must not have: each shows memory, environment or config elsewhere.
DEBUG = (
    "/debug/pprof/",
    "/debug/pprof/heap",
    "/debug/vars",
    "/debug/requests",
    "/-/config",
    "/config",
    "/api/v1/config",
    "/api/v1/status/config",
    "/-/env",
    "/env",
    "/heapdump",
    "/actuator/env",
    "/_sim/world",
    "/api/v1/tokens",
    "/-/secrets",
    "/-/quit",
    "/trace",
    "/console",
    "/.env",
    "/state.db",
    "/api/v1/../../serve.yaml",
    "/%2e%2e/%2e%2e/etc/passwd",
)


# -- the daemon ----------------------------------------------------------------------------------------------------
def crawl(daemon, captures, people):
    captures.add("L12", "scrape", daemon.ask("GET", "/metrics"))
    token = people.live[5].text
    for path in ROUTES:
        captures.add("L13", "every route", daemon.ask("GET", path))
    for path in DEBUG:
        answer = daemon.ask("GET", path)
        captures.add("L21", "debug routes", answer)
        captures.expect("L21", "debug routes answer 404", answer.split(b" ", 2)[1:2] in ([b"404"], [b"400"]))
    # Whoever sends a secret here by mistake, or asks for one, must not find it in the log; nor in the answer.
    asked = [
        daemon.ask("GET", f"/api/v1/{token}"),
        daemon.ask("GET", f"/?token={token}"),
        daemon.ask("POST", f"/{token}"),
        daemon.ask("POST", f"/-/probe?token={token}"),
        daemon.ask("POST", f"/-/probe?{token}=x"),
        daemon.ask(
            "GET", "/api/v1/report", [f"Authorization: Bearer {token}", f"Cookie: {token}", f"X-{token}: {token}"]
        ),
        daemon.ask(f"GET{token}", "/"),
        daemon.ask("GET", "/", [f"Host: {token}.example", f"Origin: http://{token}"]),
        daemon.ask("POST", "/-/reload", [f"Origin: https://{token}.example"]),
        daemon.raw(f"{token}\r\n\r\n".encode()),
        daemon.raw(f"GET / HTTP/1.1\r\n{token}\r\n\r\n".encode()),
        daemon.raw(f"GET / HTTP/9.{token}\r\n\r\n".encode()),
        daemon.ask("POST", "/-/probe?token=right-000", body=token.encode() * 200),
        daemon.ask("OPTIONS", f"*{token}"),
    ]
    captures.add("L13", "secrets sent to it", b"\n".join(asked))


def serve(bench, people, shape, end):
    """Rounds, reloads, bad secrets, bad configs, and a violent end."""
    captures, home = bench.captures, bench.folder(f"serve-{shape}")
    config = people.config(home, probe="*/15 * * * * *")
    config["schedule"]["canary"] = NEVER
    proxy = Ear()
    traps = {name: proxy.url for name in PROXIES} | {
        "NO_PROXY": "",
        "no_proxy": "",
        "SSLKEYLOGFILE": str(home / "cwd" / "keys.log"),
        "TMPDIR": str(home / "cwd"),
        "SQLITE_TMPDIR": str(home / "cwd"),
    }
    daemon = Daemon(
        bench, home, config, "--log-format", shape, "--log-level", "trace", env={**people.environment, **traps}
    ).ready()
    closed(daemon, captures, bench)
    first = daemon.round_after()
    crawl(daemon, captures, people)
    # Secrets go bad while it runs, and come back.
    kinds = list(FILES.items())
    spoilt = {
        e["name"]: e["secret"]["file"]
        for e in people.entries
        if "file" in e["secret"] and e["name"].startswith("right-")
    }
    private = bench.folder("spoilt")
    for number, entry in enumerate(config["tokens"]):
        if entry["name"] in spoilt and number % 5 == 0:
            old = Path(spoilt[entry["name"]]).read_bytes().strip()
            content = kinds[number // 5 % len(kinds)][1]
            entry["secret"] = {"file": str(bench.file(private / entry["name"], content.replace(b"%s", old)))}
    gone = next(entry for entry in config["tokens"] if entry["name"] == "right-006")
    gone["secret"] = {"file": str(private)}  # a directory
    for number, bad in enumerate(bad_reloads(people, config)):
        bench.file(daemon.path, bad)
        captures.add("L3", "bad reloads", daemon.ask("POST", "/-/reload"))
        if number % 4 == 0:
            daemon.process.send_signal(signal.SIGHUP)
    bench.file(daemon.path, json.dumps(config))
    captures.add("L3", "good reload", daemon.ask("POST", "/-/reload"))
    for entry in config["tokens"][:30]:
        captures.add("L13", "probes by name", daemon.ask("POST", f"/-/probe?token={entry['name']}"))
    daemon.round_after(first["finished_at"])
    crawl(daemon, captures, people)
    captures.add("L14", "database, log and lock of a running daemon", bench.swallow(home / "data"))
    daemon.end(end)
    captures.add("L14", "database after a violent end", bench.swallow(home / "data"))
    left = [path for path in (home / "cwd").rglob("*")]
    captures.add(
        "L16", f"what signal {end} left behind", bench.swallow(home / "cwd") + "\n".join(map(str, left)).encode()
    )
    captures.expect("L16", "no core file", not left)
    captures.expect("L11", "SSLKEYLOGFILE is not written", not (home / "cwd" / "keys.log").exists())
    keep_log(captures, f"serve at trace, {shape}", daemon.output())
    again = Daemon(
        bench, home, config, "--log-format", shape, "--log-level", "trace", env={**people.environment, **traps}
    ).ready()
    captures.expect("L14", "recovers and ends by itself", again.end() == 0)
    keep_log(captures, "recovery", again.output())
    captures.add("L14", "database at rest", bench.swallow(home / "data"))
    captures.add("L10", "heard by the proxy of the environment", proxy.everything())
    captures.expect("L10", "no connection to the proxy of the environment", proxy.connections == 0)
    proxy.close()


def bad_reloads(people, config):
    token = people.live[7].text
    text = json.dumps(config)
    return [
        text[:-1],
        text + token,
        text.replace('"acme"', f'"{token}"', 1),
        f"{token}: 1\n",
        f"hub: {token}\n",
        f'"{token}',
        f"tokens: [{token}]",
        f"a: &{token} b\nc: *{token}x\n",
        f"!{token} x",
        f"hub: {{endpoint: 'https://{token}@huggingface.co'}}",
        f"\t{token}",
    ]


# -- the commands --------------------------------------------------------------------------------------------------
def commands(bench, people):
    """Every other command, with the tokens of both organizations."""
    captures, home = bench.captures, bench.folder("commands")
    few = re.compile(r"right-0[0-3]|odd-|lie-0(1|4|7|8)")
    config = people.config(home, few.match, max_in_flight=64)
    path, cwd = people.written(home, config), home / "cwd"
    proxy = Ear()
    env = {**people.environment, **{name: proxy.url for name in PROXIES}}

    def run(*argv, channel="L13", drive=None):
        code, out, err = bench.run([bench.bin, *argv], cwd, env)
        captures.add(channel, drive or argv[0], out + b"\n" + err)
        if b"TRACE" in err or b'"level"' in err:
            keep_log(captures, f"{argv[0]} at trace", err)
        return code, out, err

    given = ("--config", path)
    for number, shape in enumerate(("table", "json", "sarif", "junit", "markdown")):
        log = ("--log-format", ("text", "json")[number % 2], *(["-vv"] if number < 2 else []))
        run("audit", *given, "--format", shape, *log, drive="audit in every format")
    report = cwd / "report"
    run("audit", *given, "--format", "json", "--output", report, "--read-only", drive="audit --output")
    captures.add("L13", "audit --output", report.read_bytes())
    captures.expect(
        "L14",
        "files are for their user alone",
        all(p.stat().st_mode & 0o077 == 0 for p in [report, *(home / "data").iterdir()]),
    )
    for token, permission in (
        ("right-000", "repo.create"),
        ("right-001", "repo.write"),
        ("lie-010", first_check(config, "lie-010")),
        ("odd-mark", "job.read"),
        ("right-004", "job.write"),
    ):
        run(
            "explain",
            *given,
            token,
            permission,
            *(["acme/token-test-model"] if permission == "repo.write" else []),
            drive="explain",
        )
    run("plan", *given)
    run("plan", *given, "--format", "json")
    run("baseline", *given, "--token", "right-002", "--token", "right-008", "--token", "odd-tab", "--read-only", "-vv")
    run("doctor", *given, "-vv")
    run("doctor", *given, "--no-alerts", "--format", "json", "--log-format", "json", "-vv", drive="doctor as JSON")
    for argv in (("list",), ("list", "--json"), ("sweep",), ("close", "1"), ("close", "99999"), ("unlatch",)):
        run("canaries", *given, *argv)
    run("check", *given, channel="L3")
    for argv in (
        ("schema",),
        ("schema", "report"),
        ("schema", "api"),
        ("init", "--org", "acme", "--output", "-"),
        ("man",),
        ("--help",),
        ("--version",),
        ("audit", "--help"),
        *(("completions", shell) for shell in ("bash", "elvish", "fish", "powershell", "zsh")),
    ):
        run(*argv)
    if bench.run([bench.bin, "evidence", "--help"], cwd)[0] == 0:
        for argv in (("verify",), ("export",)):
            run("evidence", *given, *argv)
    captures.add("L14", "database of the commands", bench.swallow(home / "data"))
    captures.add("L10", "heard by the proxy of the environment", proxy.everything())
    captures.expect("L10", "no connection to the proxy of the environment", proxy.connections == 0)
    simulated(bench, people, home)


def first_check(config, name):
    return next(entry for entry in config["tokens"] if entry["name"] == name)["expect"][0]["permission"]


def simulated(bench, people, home):
    """The simulated Hub holds secrets too: it shows none in its log, whatever is asked."""
    captures = bench.captures
    marks = [people.mint.make(f"simulated {n}") for n in range(3)]
    world = {
        "organizations": {"acme": {"plan": "enterprise", "members": {"alice": "admin"}}},
        "tokens": {f"t{n}": {"secret": m.text, "user": "alice", "role": "write"} for n, m in enumerate(marks)},
    }
    path = bench.file(home / "world.yaml", json.dumps(world))
    for bad in (
        f"tokens: [{marks[0].text}]",
        f"{marks[0].text}: x",
        json.dumps(world)[:-1],
        f"tokens: {{ x: {{ secret: {marks[0].text}, user: 1, x: 2 }} }}",
    ):
        bench.file(home / "bad.yaml", bad)
        _, out, err = bench.run(
            [bench.bin, "hub", "--listen", "127.0.0.1:0", "--world", home / "bad.yaml"], home / "cwd"
        )
        captures.add("L3", "bad world of the simulated Hub", out + err)
    with open(home / "hub.log", "wb") as log:
        process = bench.start(
            [bench.bin, "hub", "--listen", "127.0.0.1:0", "--world", path, "--log-level", "trace"],
            home / "cwd",
            out=log,
            err=log,
        )
        port = wait_until(
            lambda: re.search(rb"127\.0\.0\.1:(\d+)", (home / "hub.log").read_bytes()), "the simulated Hub listens"
        )[1]
        for mark in marks:
            with socket.create_connection(("127.0.0.1", int(port)), 5) as stream:
                stream.sendall(
                    f"GET /api/whoami-v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {mark.text}\r\n\r\n".encode()
                )
                answer = b""
                while piece := stream.recv(65536):
                    answer += piece
            captures.add("L13", "answers of the simulated Hub", answer)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    captures.add("L1", "log of the simulated Hub", (home / "hub.log").read_bytes())


def demo(bench, people):
    """The demo's own secrets, which are no secrets, stay out of what it prints all the same."""
    home = bench.folder("demo")
    code, out, err = bench.run([bench.bin, "demo", "--once", "--listen", "127.0.0.1:0"], home, timeout=300)
    bench.captures.add("L13", "demo", out + err)
    bench.captures.expect("L13", "the demo names no secret", code == 0 and b"hf_demo_" not in out + err)
