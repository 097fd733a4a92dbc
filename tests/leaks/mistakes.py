"""People's mistakes: a secret in the place of every word of a config, and among the arguments.

Knows the command line and where YAML can go wrong.  Keeps what was said, by channel.  Serves run.py.
"""

import re
import threading

from bench import ROOT


def bad_configs(bench, people):
    """A secret in the place of every word of a config, and wherever YAML can go wrong."""
    captures, home = bench.captures, bench.folder("configs")
    lines = (ROOT / "tests/config/whole.yaml").read_text().splitlines()
    marks = [
        people.mint.make(f"config {n}", shape)
        for n, shape in enumerate(("hf_", "api_org_", "hf_oauth_", "hf_jwt_", "plain"))
    ]
    texts = []
    for at, line in enumerate(lines):
        mark = marks[at % len(marks)].text
        indent, (key, colon, value) = re.match(r"[ -]*", line)[0], line.partition(":")
        for new in (f"{key}{colon} {mark}", f"{indent}{mark}:{value}", f"{line} {mark}", f'{key}: "{mark}'):
            texts.append("\n".join([*lines[:at], new, *lines[at + 1 :]]))
        for word in set(re.findall(r"[\w./:-]{3,}", value)):
            texts.append("\n".join([*lines[:at], line.replace(word, mark, 1), *lines[at + 1 :]]))
    for mark in (mark.text for mark in marks):
        texts += [
            f"{mark}",
            f"{mark}: x",
            f"hub: {mark}",
            f"hub:\n\tendpoint: {mark}",
            f"hub: {{}}\nhub: {mark}",
            f"a: &{mark} 1\nb: *{mark}2",
            f"!<{mark}> x",
            f"%TAG ! {mark}\n---\nx",
            f"x: 1\n---\n{mark}",
            f"tokens:\n- name: x\n  secret: {mark}\n- {mark}",
            f"x: '{mark}",
            f"include: [{mark}*]",
            f"include: ['{home}/part.yaml']\ntokens: []",
            f"store: {{ url: 'postgres://u:{mark}@db/x' }}",
            f"hub: {{ endpoint: 'https://u:{mark}@hub.example' }}",
            f"hub: {{ proxy: 'http://{mark}:x@p:1' }}",
            f"# {mark}\nhub: [",
            f"canary_key: {mark}",
            f"canary_key: {{ file: {mark}/x }}",
            f"canary_key: {{ env: {mark} }}",
            f"? [{mark}]\n: x",
            f"x: !!binary {mark}",
            f"x: >\n {mark}\n\ty",
            f"\ufeff{mark}: [",
            f"x: {mark}\n" * 3,
            f"[[[[{mark}",
            f"{{{mark}",
            f"- {mark}\nx: y",
        ]
    part = bench.file(home / "part.yaml", f"tokens:\n- name: {marks[0].text}\n  x: [{marks[1].text}\n")
    shapes = [text.encode("utf-8") for text in texts] + [
        f"x: {marks[0].text}\n".encode("utf-16"),
        b"x: \xff" + marks[1].text.encode(),
        marks[2].text.encode() + b"\0",
    ]
    share = -(-len(shapes) // 3)

    def check(numbered):
        for number, text in numbered:
            path = bench.file(home / f"bad-{number}.yaml", text)
            _, out, err = bench.run([bench.bin, "check", "--config", path], home, people.environment)
            captures.add("L3", "check of a wrong config", out + err)
            path.unlink()

    numbered = list(enumerate(shapes))
    workers = [
        threading.Thread(target=check, args=(numbered[at : at + share],)) for at in range(0, len(numbered), share)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    captures.expect("L3", "the included file was there", part.exists())
    for number, text in enumerate(texts[::97]):  # the same sentences by other ways
        path = bench.file(home / f"other-{number}.yaml", text)
        for argv in (("audit",), ("plan",), ("doctor",), ("canaries", "list"), ("serve", "--log-format", "json")):
            _, out, err = bench.run([bench.bin, argv[0], "--config", path, *argv[1:]], home, people.environment)
            captures.add("L3", "other commands of a wrong config", out + err)


def arguments(bench, people):
    """A token among the arguments: exit 2, one sentence, nothing repeated, nothing done."""
    captures, home = bench.captures, bench.folder("arguments")
    for shape in ("hf_", "api_org_", "hf_oauth_", "hf_jwt_"):
        token = people.mint.make(f"argument {shape}", shape).text
        for argv in (
            (token,),
            ("audit", token),
            ("audit", "--config", token),
            ("audit", f"--config={token}"),
            ("audit", f"--token={token}", "--config", "x"),
            ("audit", "--config", f"/run/{token}/x.yaml"),
            ("explain", "--config", "x", token, "repo.create"),
            (f"--{token}",),
            ("-v", f"-{token}"),
            ("serve", "--config", "x", "--", token),
            ("completions", token),
            ("schema", f"x{token}y"),
            ("hub", "--world", f"secret={token}"),
            ("init", "--org", token),
            ("doctor", "--config", "x", "--token", token),
            ("--version", token),
            ("help", token),
            ("audit", "--config", "x", "--output", f"Bearer {token}"),
        ):
            code, out, err = bench.run([bench.bin, *argv], home)
            captures.add("L18", "a token as an argument", out + err)
            captures.expect(
                "L18",
                "exit 2 and one sentence",
                code == 2 and not out and err.count(b"\n") == 1 and err.startswith(b"error: "),
            )
    for name in ("hf_reader", "/run/secrets/hf_ci-token", "hf_demo_limited"):
        code, out, err = bench.run([bench.bin, "check", "--config", name], home)
        captures.expect("L18", "a name is no token", code == 2 and name.encode() in err)
