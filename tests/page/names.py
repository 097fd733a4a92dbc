"""Hostile names in every place that a name can come to: all are shown as text, none does anything.

Knows what a hostile name looks like, where names come from (the config, the Hub) and how the page must write each; what a
name did is seen by sight.py.  A spoilt page of each kind must be seen as well.  Serves run.py.
"""

import asyncio
import json
import re
import subprocess
from collections import Counter

from bench import BIN, ONCE, Bench, acme
from sight import Trap, flat, strange
from spoilt import plant

SCRIPT = "window.__x{n}=1;alert({n})"
MARKUP = [
    "<script>{s}</script>", "<script src=//{t}/{n}></script>", "<img src=x onerror={s}>", "<img src=http://{t}/{n}>",
    "<svg onload={s}>", "<svg><script>{s}</script></svg>", "<svg><a xlink:href=http://{t}/{n}><text y=9>x</text></a></svg>",
    "<svg><use href=http://{t}/{n}#a></svg>", "<svg><animate onbegin={s} attributeName=x>", "<svg><image href=http://{t}/{n}>",
    "<math href=javascript:{s}>x</math>", "<math><mtext></form><form><mglyph><style></math><img src onerror={s}>",
    "<iframe src=http://{t}/{n}></iframe>", "<iframe srcdoc='<script>{s}</script>'>", "<object data=http://{t}/{n}>",
    "<embed src=http://{t}/{n}>", "<link rel=stylesheet href=http://{t}/{n}>", "<link rel=preconnect href=http://{t}>",
    "<link rel=prefetch href=http://{t}/{n}>", "<meta http-equiv=refresh content='0;url=http://{t}/{n}'>",
    "<base href=http://{t}/>", "<body onload={s}>", "<input autofocus onfocus={s}>", "<video src=http://{t}/{n} onerror={s}>",
    "<audio src=http://{t}/{n}>", "<details open ontoggle={s}>", "<form action=http://{t}/{n}><button>x", "<marquee onstart={s}>",
    "<a href=javascript:{s}>x</a>", "<a href=http://{t}/{n} ping=http://{t}/p{n}>x</a>", "<style>*{{background:url(//{t}/{n})}}</style>",
    "<style>@import'http://{t}/{n}';</style>", "<p style=background:url(http://{t}/{n})>", "<template><img src=x onerror={s}>",
    "<!--><img src=x onerror={s}>-->", "<![CDATA[<script>{s}</script>]]>", "<?xml-stylesheet href=http://{t}/{n}?>",
    "<noscript><img src=http://{t}/{n}></noscript>", "<portal src=http://{t}/{n}>", "<source srcset=http://{t}/{n}>",
]
PLAIN = [
    "javascript:{s}", "JaVaScRiPt:{s}//{n}", "data:text/html,<script>{s}</script>", "//{t}/{n}", "http://{t}/{n}", "\\\\{t}\\{n}",
    "&lt;script&gt;{s}&lt;/script&gt;", "&#60;img src=x onerror={s}&#62;", "&amp;lt;b{n}&amp;gt;", "&#x3c;svg onload={s}&#x3e;",
    "%3Cscript%3E{s}%3C/script%3E", "\\u003cscript\\u003e{n}", "{{{{ {n}*7 }}}}", "{{% raw %}}{n}", "${{{n}*7}}", "#{{{n}}}", "<%= {n} %>",
    "[[{n}]]", "{{{{constructor.constructor('{s}')()}}}}", "@import url(http://{t}/{n});", "}} body {{ display:none }} /*{n}",
    "expression({s})", "-->{n}<!--", "]]>{n}", "*/{n}/*", "'+{s}+'", "\"+{s}+\"", "`${{{s}}}`", "';{s};//", "\\'{n}\\\"",
    "rtl \u202e{n}txt.exe", "iso \u2066{n}\u2069", "\u200fmark{n}", "zero\u200bwidth{n}", "soft\u00adhyphen{n}", "\ufeffbom{n}",
    "עברית{n}אבג", "العربية {n}", "\u061carabic mark{n}", "za\u0338\u0337\u0336\u0335lgo{n}", "tag\U000e0041s{n}", "nb\u00a0sp{n}",
    "line\u2028sep{n}", "para\u2029{n}", "\u2800{n}blank", "\u3164{n}filler", "emoji 👩‍💻{n}", "fullwidth ＜script＞{n}", "ﷺ{n}",
    "x{n}" + "W" * 100, "x{n} " + "ab " * 30, "many  blanks   {n}", "null\u0000{n}", "esc\u001b[31m{n}", "line\n{n}", "bell\u0007{n}",
    "c1 \u0085{n}", "tab\t{n}", "constructor{n}", "__proto__ {n}", "../../{n}", "..%2f{n}", "?token={n}&x=<b>", "#matrix{n}",
]
BREAKS = ["{p}", '">{p}', "'>{p}", "\" autofocus onfocus={s} x=\"{p}", "</title>{p}", "</option></select>{p}", "</style></textarea>{p}",
          "--></bdi></a></td>{p}", "`{p}"]


def payloads(trap):
    """Every hostile name, each once and with a number of its own."""
    made = []
    for form in BREAKS:
        for pattern in MARKUP + (PLAIN if form in BREAKS[:3] else []):
            number = len(made)
            script = SCRIPT.format(n=number)
            inner = pattern.format(s=script, t=trap, n=number)
            made.append(form.format(p=inner, s=script) if form != "{p}" else inner)
    assert len(made) == len(set(made)) and len(made) >= 500
    return made


# ── How each must be shown ───────────────────────────────────────────────────────────────────────────────────────

UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
                    "\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]")
STEERING = re.compile("[\0-\x1f\x7f-\x9f\xad\u061c\ufeff\u200b-\u200f\u2028-\u202e\u2060-\u206f]")


def seen(name):
    """As the page writes a name: what cannot be seen, as its number."""
    return flat(UNSEEN.sub(lambda found: f"[U+{ord(found.group()):04X}]", name))


def told(word):
    """As findings tell a word of the Hub: without what steers, and cut; then as the page writes it."""
    kept = STEERING.sub("", word)
    return seen(kept if len(kept) <= 64 else kept[:63] + "…")


def plain(text, most=100):
    """What a header can carry of it."""
    return re.sub(r"[^\x20-\x7e]", "?", text)[:most].strip()


# ── What the config refuses ──────────────────────────────────────────────────────────────────────────────────────

def refused(bench_dir, names):
    """{use: names that the config refuses there}, by its own word, one name a line."""
    secret = {"file": str(bench_dir / "none")}
    forms = {
        "token": lambda name: {"name": name, "organization": "acme", "secret": secret},
        "owner": lambda name: {"name": f"n{names.index(name)}", "organization": "acme", "secret": secret, "owner": name},
        "group": lambda name: {"name": f"n{names.index(name)}", "organization": "acme", "secret": secret,
                               "expect": [{"permission": "repo.create", "resource_group": name, "access": "denied"}]},
        "repo": lambda name: {"name": f"n{names.index(name)}", "organization": "acme", "secret": secret,
                              "expect": [{"permission": "repo.read", "repo": f"acme/{name}", "access": "denied"}]},
        "organization": None,
    }
    found = {}
    for use, form in forms.items():
        if use == "organization":
            lines = ["organizations:", *(f"- {{name: {json.dumps(name)}}}" for name in names),
                     f"tokens: [{{name: a, organization: acme, secret: {{file: {json.dumps(secret['file'])}}}}}]"]
            first = 2
        else:
            lines = ["organizations: [{name: acme}]", "tokens:", *(f"- {json.dumps(form(name))}" for name in names)]
            first = 3
        path = bench_dir / f"{use}.yaml"
        path.write_text("\n".join(lines))
        done = subprocess.run([BIN, "check", "--config", str(path)], capture_output=True, text=True, timeout=60, check=False)
        marks = re.findall(rf"{re.escape(str(path))}:(\d+):", done.stdout + done.stderr)
        found[use] = {names[int(line) - first] for line in marks if first <= int(line) < first + len(names)}
    return found


# ── Who is named how ─────────────────────────────────────────────────────────────────────────────────────────────

class Cast:
    """A world and a config in which every name that may be hostile is."""

    def __init__(self, names, no):
        fit = {use: [name for name in names if name not in no[use]] for use in ("token", "owner", "group")}
        users = [name for name in names if 0 < len(name) <= 96 and not re.search(r"[\0-\x1f\x7f-\x9f]", name) and name.strip() == name]
        self.tokens, self.watched, self.faults, self.who = {}, [], [], {}
        members, groups = {}, {group: {} for group in fit["group"]}
        for number, name in enumerate(fit["token"]):
            def of(some, step):
                return some[(number * 7 + step) % len(some)]
            user, group, owner, words = users[number % len(users)], of(fit["group"], 1), of(fit["owner"][::5], 2), of(names, 3)
            world = f"t{number}"
            request = plain(of(names, 4)) or "x"
            self.tokens[world] = {"secret": f"hf_page_names_{number:04}", "user": user, "role": "fineGrained",
                                  "scopes": [{"entity": f"bucket:{words}", "permissions": [words]}]}
            members[user] = "no_access"
            self.watched.append({"name": name, "of": world, "owner": owner, "declared": {"user": "somebody"},
                                 "expect": [{"permission": "repo.create", "resource_group": group, "access": "allowed" if number % 4 == 0 else "denied",
                                             "method": "sentinel", "sentinel": "acme/token-test-model"}]})
            self.faults.append({"route": "create", "kind": "delay", "token": world, "headers": {"X-Request-Id": request}})
            self.who[name] = {"user": user, "group": group, "owner": owner, "words": words, "request": request}
        # Tokens that the config does not know; their names may be anything at all.
        self.strangers = [name for name in names if name in no["token"]] + names[::10]
        for number, name in enumerate(dict.fromkeys(self.strangers)):
            self.tokens[name] = {"secret": f"hf_page_stranger_{number:04}", "user": "dora", "role": "read"}
        members["dora"] = "read"
        self.world = acme(members=members, groups=groups, tokens=self.tokens)

    def expected_rows(self):
        return Counter((seen(name), seen(one["owner"]), "model@" + seen(one["group"])) for name, one in self.who.items())


ROWS = """() => [...document.querySelectorAll('.matrix tbody tr')].map(row => [
  row.querySelector('.name').innerText, row.querySelector('.owner')?.innerText ?? '', row.querySelector('.target')?.innerText ?? '',
  row.querySelector('a.chip')?.getAttribute('href') ?? ''])"""
OPTIONS = "() => [...document.querySelectorAll('[name=owner] option')].slice(1).map(o => [o.value, o.text])"
ONE = """() => ({ title: document.title, what: document.querySelector('h1 bdi').innerText, said: document.querySelector('.banner p').innerText,
  ids: [...document.querySelectorAll('tbody tr')].map(row => row.lastElementChild.innerText),
  why: document.querySelector('[aria-labelledby=why] pre')?.innerText ?? '' })"""


async def matrix(page, base, cast, tally):
    """All pages of the matrix; {name as shown: address of its check}."""
    rows, links, number = Counter(), {}, 0
    while True:
        number += 1
        await page.goto(f"{base}/?page={number}")
        tally.check("names", f"page {number}", await strange(page))
        for name, owner, target, address in await page.evaluate(ROWS):
            rows[(flat(name), flat(owner), flat(target))] += 1
            links[flat(name)] = address
        if not await page.locator(".pages a[rel=next]").count():
            break
    wanted = cast.expected_rows()
    wrong = [f"text: not shown as it is: {row}" for row in wanted - rows] + [f"text: shown, and is no name: {row}" for row in rows - wanted]
    tally.plan("names", len(wanted))
    tally.ran("names", wrong, "the matrix", len(wanted))
    owners = {one["owner"] for one in cast.who.values()}
    options = {(value, flat(text)) for value, text in await page.evaluate(OPTIONS)}
    tally.check("names", "owners to choose from", [f"text: {odd}" for odd in options ^ {(owner, seen(owner)) for owner in owners}])
    return links


async def one_by_one(seer, jobs, tally, tabs=3):
    """Looks at a page for each job: (what, address, judge of what it shows)."""
    queue = iter(jobs)
    tally.plan("names", len(jobs))

    async def work():
        page = await seer.page()
        for what, address, judge in queue:
            await page.goto(address)
            problems = await strange(page)
            tally.ran("names", problems + judge(await page.evaluate(ONE)), what)
    await asyncio.gather(*(work() for _ in range(tabs)))


def check_page(name, one, ids, drift):
    """The page of a check names it, and tells the ids of its requests; where it is drift, also why it is."""
    def judge(shown):
        want = f"acme · {seen(name)} · repo.create · model@{seen(one['group'])}"
        problems = [] if flat(shown["what"]) == want else [f"text: {shown['what']!r}, and not {want!r}"]
        if [flat(some) for some in shown["ids"]] != ids:
            problems.append(f"text: the request ids {shown['ids']}, and not {ids}")
        asked = f"May '{seen(name)}' create a model in resource group '{seen(one['group'])}' of 'acme'?"
        if drift and (asked not in flat(shown["why"]) or "UNEXPECTED DENIAL" not in shown["why"]):
            problems.append(f"text: why it is drift is told as {shown['why'][:200]!r}")
        return problems
    return judge


def finding_page(words, part=""):
    """The page of a finding tells each of these words as it must be told."""
    def judge(shown):
        said = flat(shown["said"])
        return [f"text: {word!r} is not told in {said!r}" for word in words if flat(word) not in said] + (
            [] if flat(part) in flat(shown["what"]) else [f"text: {shown['what']!r} does not name {part!r}"])
    return judge


def finding_jobs(bench, cast, tally, every):
    """Pages of findings that tell what the Hub said: of each kind one in so many."""
    jobs, base, kinds = [], bench.url, Counter()
    strangers = {told(name) for name in cast.strangers}
    for one in bench.get("findings")["findings"]:
        address, kind, name = f"{base}/findings/{one['id']}", one["kind"], one.get("token")
        kinds[kind] += 1
        who = cast.who.get(name)
        if kind == "unmanaged_token":
            label = re.match(r".*not in the config: '(.*)' of user", one["detail"], re.S)
            odd = [] if label and seen(label.group(1)) in strangers else [f"text: {one['detail']!r} names no stranger"]
            jobs.append((f"unmanaged {one['id']}", address, lambda shown, odd=odd, one=one: odd + finding_page([seen(one["detail"])])(shown)))
        elif who and kind == "declared_changed" and kinds[kind] % every == 0:
            jobs.append((f"{kind} of {name!r}", address, finding_page([told(who["user"])], seen(name))))
        elif who and kind == "unknown_permission" and kinds[kind] % every == every // 2:
            jobs.append((f"{kind} of {name!r}", address, finding_page([told(who["words"])], seen(name))))
    tally.tell("findings: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))
    missing = {"declared_changed", "unknown_permission", "unmanaged_token"} - set(kinds)
    tally.check("names", "the Hub's words come to the page", [f"no finding {kind}" for kind in missing])
    return jobs


async def play(sight, tally):
    async with Trap() as trap:
        names = payloads(f"127.0.0.1:{trap.port}")
        first = Bench(acme(), [], {})
        no = await asyncio.to_thread(refused, first.dir, names)
        first.close()
        tally.tell(f"{len(names)} hostile names; the config refuses as " + ", ".join(f"{use} {len(some)}" for use, some in no.items()))
        tally.check("names", "what is refused", [
            *(f"accepted as {use}: {name!r}" for use in ("organization", "repo") for name in names
              if name not in no[use] and not re.fullmatch(r"[\w.-]+", name, re.A)),
            *(f"refused as {use}, and is fine: {name!r}" for use in ("token", "owner", "group") for name in no[use]
              if len(name.encode()) <= 128 and name.strip() == name and not re.search(r"[\0-\x1f\x7f-\x9f]", name))])
        cast = Cast(names, no)
        async with Bench(cast.world, cast.watched, ONCE, faults=cast.faults, organization={"inventory": "janitor"},
                         config={"alerts": {"confirm_denials": 1}}) as bench, \
                sight.context(bench.url) as seer:
            report = await bench.round(len(cast.watched))
            ids = {one["token"]: [flat(sent["request_id"] or "") for sent in one["evidence"]] for one in report["results"]}
            arrived = sum(flat(one["request"]) in ids[name] for name, one in cast.who.items())
            drifted = {one["token"] for one in report["results"] if one["verdict"] == "unexpected_denial"}
            tally.check("names", "hostile names are explained", [f"only {drifted}"] if len(drifted) < 100 else [])
            tally.check("names", "hostile request ids come to the page", [f"only {arrived}"] if arrived < 400 else [])
            page = await seer.page()
            links = await matrix(page, bench.url, cast, tally)
            every = 1 if sight.long else 4
            jobs = finding_jobs(bench, cast, tally, every * 2)
            jobs += [(f"the check of {name!r}", bench.url + links.get(seen(name), "/findings/none"), check_page(name, one, ids[name], name in drifted))
                     for name, one in list(cast.who.items())[::every]]
            await one_by_one(seer, jobs, tally)
            for name in list(cast.who)[::50]:
                await ask(page, bench.url, name, tally)
            tally.check("names", "nothing ran, nothing left, nothing was said", [*seer.problems(), *(f"trap: {one}" for one in trap.came)])
            tally.tell(f"{len(jobs)} pages of findings and checks; {len(seer.requests)} requests, all to the daemon")
            await page.goto(f"{bench.url}/")
            await sight.shot("names", bench.url + "/")
            await plant(sight, tally, trap, bench.url)


async def ask(page, base, name, tally):
    """The form takes a hostile name, says it again as it is, and finds its token."""
    await page.goto(base + "/")
    await page.locator("[name=token]").fill(name)
    async with page.expect_navigation():
        await page.locator("form button").click()
    again, rows = await page.locator("[name=token]").input_value(), await page.evaluate(ROWS)
    problems = await strange(page)
    shown = [flat(row[0]) for row in rows]
    if again != name or seen(name) not in shown or [one for one in shown if seen(name) not in one]:
        problems.append(f"text: asked for {name!r}, the form says {again!r} and shows {shown[:3]}")
    tally.check("names", f"asking for {name!r}", problems)
