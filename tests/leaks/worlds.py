"""Who is there: two organizations on the Hub, more than two hundred tokens in every kind of place, and the config.

One organization's answers are right and repeat the credential wherever that decides nothing; in the other every token
meets a lie of its own.  Serves drives.py.
"""

import json

from bench import NEVER
from liar import Ear
from lies import LIES

RIGHT = 120  # tokens that get right answers
SHAPES = ("hf_", "hf_", "odd", "hf_jwt_", "api_org_", "hf_oauth_")
READS = (
    "repo.read",
    "repo.write",
    "job.read",
    "endpoint.read",
    "org.members",
    "org.repositories",
    "org.audit_log",
    "org.billing",
    "org.service_accounts",
    "org.network_security",
    "org.resource_groups",
    "user.webhooks",
    "user.billing",
)
# What stands in the place of a secret, and is none.
FILES = {
    "empty": b"",
    "mark": b"\xef\xbb\xbf%s",
    "dos": b"%s\r\n",
    "twice": b"%s\n%s\n",
    "blank": b" %s",
    "tail": b"%s \n",
    "binary": b"\x00\x01%s\xff\xfe",
    "control": b"%s\x07",
    "tab": b"a\t%s",
    "wide": b"%s\xc3\xa4",
    "long": b"%s" + b"x" * 70000,
}


class People:
    """Marks, where they lie, and what the config says of them."""

    def __init__(self, bench, hub, mint, right=RIGHT):
        self.bench, self.hub, self.mint = bench, hub, mint
        self.secrets, self.environment, self.entries, self.live = bench.folder("secrets"), {}, [], []
        for name in ("acme", "evil"):
            self._organization(name)
        self.right = [self._member(f"right-{n:03d}", "acme", SHAPES[n % len(SHAPES)], n) for n in range(right)]
        self.lied = {}
        for n, (name, lie) in enumerate(LIES.items()):
            token = self._member(f"lie-{n:03d}", "evil", SHAPES[n % 3], n)
            hub.lies[token], self.lied[token] = lie, name
        self.odd = [self._misplaced(n, kind, content) for n, (kind, content) in enumerate(FILES.items())]
        self.canary_key = mint.make("canary key", "plain")
        self.receivers = {kind: Ear() for kind in ("alertmanager", "slack", "url", "pagerduty")}
        self.sinks = {kind: mint.make(f"sink {kind}", "plain") for kind in ("slack", "url", "hmac", "pagerduty")}
        self.keys = bench.folder("keys")
        bench.file(self.keys / "canary", self.canary_key.text * 2)
        for kind in ("slack", "hmac", "pagerduty"):
            bench.file(
                self.keys / kind,
                f"{self.receivers['slack'].url}/{self.sinks[kind].text}" if kind == "slack" else self.sinks[kind].text,
            )
        self.environment["SINK_URL"] = f"{self.receivers['url'].url}/{self.sinks['url'].text}"

    def told(self):
        """What each sink heard, without the secret that is its own address or key."""
        for kind, ear in self.receivers.items():
            own = self.sinks[kind].text.encode() if kind in self.sinks else b"\0"
            yield kind, ear.everything().replace(own, b"(its own)")

    def _organization(self, name):
        world = self.hub.world
        world.org(name)
        world.member(name, f"admin-{name}", "admin")
        world.group(name, "token-test-group")
        world.repo(f"{name}/known-private")
        world.repo(f"{name}/token-test-model", group="token-test-group")
        mark = self.mint.make(f"janitor-{name}")
        world.token(
            f"janitor-{name}",
            mark.text,
            f"admin-{name}",
            scopes=[("org", name, ["repo.write", "org.read", "org.serviceAccounts.read"])],
        )
        self._place(f"janitor-{name}", name, mark, [])
        # In the Hub's list, and not in the config.
        world.token(f"unknown-{name}", self.mint.make(f"unknown-{name}").text, f"admin-{name}")
        self.live.append(mark)

    def _place(self, name, organization, mark, expect, env=False):
        if env:
            variable = f"SECRET_OF_{name.upper().replace('-', '_')}"
            self.environment[variable] = mark.text
            secret = {"env": variable}
        else:
            secret = {"file": str(self.bench.file(self.secrets / name, mark.text + "\n", 0o400))}
        entry = {"name": name, "organization": organization, "secret": secret, "owner": f"owner-{name}"}
        self.entries.append({**entry, "expect": expect} if expect else entry)

    def _member(self, name, organization, shape, number):
        world = self.hub.world
        mark = self.mint.make(name, shape)
        user = f"user-{name}"
        world.member(organization, user, ("write", "read", "contributor", "admin")[number % 4])
        scopes = [("org", organization, ["repo.write", "org.read"][: number % 3])]
        world.token(name, mark.text, user, scopes=scopes)
        expect = [
            {
                "permission": p,
                "access": "denied",
                **({"repo": f"{organization}/token-test-model"} if p[:4] == "repo" else {}),
            }
            for p in (READS[number % len(READS)], READS[(number + 5) % len(READS)])
        ]
        # What is made by a liar takes long to be settled, and one organization bears only a few of those at a time.
        if number % 6 == 0 if organization == "acme" else number in (3, 24, 66):
            expect.append(
                {"permission": "repo.create", "type": ("model", "dataset")[number % 4 == 0], "access": "denied"}
            )
        if number % 15 == 1 and organization == "acme":
            expect.append({"permission": "repo.create", "resource_group": "token-test-group", "access": "denied"})
        self._place(name, organization, mark, expect, env=number % 9 == 4)
        self.live.append(mark)
        return name

    def _misplaced(self, number, kind, content):
        name = f"odd-{kind}"
        mark = self.mint.make(name)
        self._place(name, "acme", mark, [{"permission": "job.read", "access": "denied"}])
        self.bench.file(self.secrets / name, content.replace(b"%s", mark.text.encode()), 0o400)
        return name

    def config(self, home, only=None, probe=NEVER, endpoint=None, **hub):
        """Everything, or the tokens for which `only` says so."""
        data = home / "data"
        if not data.exists():
            for path in (data, home / "cwd"):
                path.mkdir()
                path.chmod(0o700)
                self.bench.own(path)
        tokens = [e for e in self.entries if only is None or e["name"].startswith("janitor-") or only(e["name"])]
        return {
            "hub": {
                "endpoint": endpoint or self.hub.url,
                "request_timeout": "2s",
                "quota_share": 1,
                "max_in_flight": 64,
                "in_flight_horizon": "1s",
                **hub,
            },
            "schedule": {"probe": probe, "canary": probe, "declared": NEVER},
            "organizations": [
                {"name": n, "janitor": f"janitor-{n}", "inventory": f"janitor-{n}", "max_creations_per_day": 100000}
                for n in ("acme", "evil")
            ],
            "tokens": tokens,
            "alerts": {
                "sinks": [
                    {"name": "am", "type": "alertmanager", "url": self.receivers["alertmanager"].url},
                    {"name": "sec", "type": "slack", "url": {"file": str(self.keys / "slack")}},
                    {
                        "name": "siem",
                        "type": "webhook",
                        "url": {"env": "SINK_URL"},
                        "secret": {"file": str(self.keys / "hmac")},
                    },
                    {
                        "name": "pager",
                        "type": "pagerduty",
                        "url": f"{self.receivers['pagerduty'].url}/v2/enqueue",
                        "secret": {"file": str(self.keys / "pagerduty")},
                    },
                ]
            },
            "server": {"listen": "127.0.0.1:0", "lifecycle": True},
            "store": {"url": f"sqlite://{data}/state.db"},
            "canary_key": {"file": str(self.keys / "canary")},
        }

    def written(self, home, config, name="scopewatch.yaml"):
        return self.bench.file(home / name, json.dumps(config))
