"""Checks that need something running: the tools of Prometheus and Alertmanager, the queries, the commands.

Knows how each is called and what its exit means; gives sentences about what is wrong.  Serves run.py and planted.py.
"""

import re
import shlex
import subprocess

import shipped
from bench import BIN, http

# What each command of a runbook may exit with beside a running daemon; 2 where it says that one runs.
EXITS = {"explain": {0, 1, 3}, "plan": {0}, "check": {0}, "canaries list": {0, 1}, "canaries sweep": {2},
         "canaries close": {2}, "canaries unlatch": {2}, "evidence verify": {0, 1}, "evidence export": {0}}
# Not ours to run here.
FOREIGN = re.compile(r"(df|ls|amtool|curl .*huggingface\.co)\b")
TROUBLE = re.compile(r".*\b(warn\w*|fail\w*|error\w*|duplicate\w*|unknown)\b.*", re.I)


def tool(argv, text=None, cwd=None, most=2000):
    """What is wrong, by the tool's exit and by what it says."""
    done = subprocess.run(argv, input=text, stdin=None if text is not None else subprocess.DEVNULL, text=True, cwd=cwd,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False)
    said = TROUBLE.search(done.stdout)
    if done.returncode or said:
        words = said[0] if said and not done.returncode else done.stdout
        yield f"{' '.join(argv[:3])}: exit {done.returncode}: {words.strip()[:most]}"


def check_rules(folder):
    yield from tool(["promtool", "check", "rules", "scopewatch.rules.yml"], cwd=folder / "prometheus")


def tools(folder, page):
    """Every tool over what is shipped, or over a copy."""
    yield from check_rules(folder)
    yield from tool(["promtool", "check", "config", "prometheus.yml"], cwd=folder / "prometheus")
    yield from tool(["amtool", "check-config", "alertmanager.yml"], cwd=folder / "alertmanager")
    yield from tool(["promtool", "check", "metrics"], text=page)


def cases(folder, most=2000):
    yield from tool(["promtool", "test", "rules", "scopewatch.rules_test.yml"], cwd=folder / "prometheus", most=most)


def empty_panels(bench, dashboard, known):
    """Queries without an answer; only where later work fills every metric of it may there be none."""
    for title, query, legend in shipped.queries(dashboard):
        try:
            found = bench.query(query)
        except ValueError as error:
            yield f"panel {title}: {error}"
            continue
        metrics = [name for name, _ in shipped.read_query(query)[0]]
        if not found and not all(known.filled_later(name) for name in metrics):
            yield f"panel {title}: no data for {query}"
        for label in re.findall(r"\{\{(\w+)\}\}", legend):
            if found and not any(label in one["metric"] for one in found):
                yield f"panel {title}: its legend has {label}, its data has not"


def wrong_commands(bench, runbooks):
    done = {}
    for name, command in shipped.commands(runbooks):
        if command not in done:
            done[command] = list(run_command(bench, command))
        yield from (f"runbooks/{name}.md: {wrong}" for wrong in done[command])


def run_command(bench, command):
    first = command.split(" | ")[0]
    if FOREIGN.match(first):
        return
    if first.startswith("curl "):
        yield from ask(bench, first)
    elif first.startswith("scopewatch "):
        yield from call(bench, first)
    else:
        yield f"{command}: nobody knows this command"


def ask(bench, command):
    method, at = ("POST" if "-X POST" in command else "GET"), command.split()[-1]
    for written, real in (("http://127.0.0.1:10847", bench.page), ("http://127.0.0.1:9090", bench.api)):
        if at.startswith(written):
            status, _ = http(real + at[len(written):], method)
            if status != (403 if method == "POST" else 200):  # reloading by HTTP is off
                yield f"{command}: answers {status}"
            return
    yield f"{command}: leads nowhere"


def call(bench, command):
    words = {"/etc/scopewatch/scopewatch.yaml": str(bench.config), "TOKEN": "limited", "PERMISSION": "repo.read",
             "TARGET": "acme/model", "ID": "1", "HASH": "0" * 64}
    argv = [words.get(word, word) for word in shlex.split(command)[1:]]
    done = subprocess.run([BIN, *argv], stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          cwd=bench.dir, timeout=60, check=False)
    what = next((key for key in EXITS if set(key.split()) <= set(argv)), None)
    if "--help" in done.stderr or done.returncode not in EXITS.get(what, ()):
        yield f"{command}: exit {done.returncode}: {done.stderr.strip()[:400]}"
