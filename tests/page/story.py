"""A live demo, seen by somebody without JavaScript and without a mouse: a token is widened, found, understood, narrowed.

Knows what is told on the page of which state; asks reach.py of each.  Serves run.py.
"""

import re
from datetime import datetime, timezone

import reach
from bench import WIDE, Bench, acme, until

MODEL = {"repo": "acme/token-test-model"}
ASKED = [{"permission": "repo.create", "access": "denied"},
         {"permission": "repo.create", "resource_group": "token-test-group", "access": "denied"},
         {"permission": "repo.read", **MODEL, "access": "denied"}, {"permission": "repo.write", **MODEL, "access": "denied"}]
WORLD = acme(
    members={"bob": "no_access", "carol": "write"}, groups={"token-test-group": {"bob": "write"}},
    repos={"acme/token-test-model": {"type": "model", "private": True, "resource_group": "token-test-group"}},
    tokens={"limited": {"secret": "hf_page_limited", "user": "bob", "role": "fineGrained", "scopes": []},
            "ci": {"secret": "hf_page_ci", "user": "carol", "role": "fineGrained", "scopes": []},
            "deploy": {"secret": "hf_page_deploy", "user": "carol", "role": "write"}})
WATCHED = [
    {"name": "limited-test-token", "of": "limited", "owner": "ml-platform", "expect": ASKED},
    {"name": "ci-bot", "of": "ci", "owner": "infra", "expect": ASKED[2:]},
    {"name": "deploy-bot", "of": "deploy", "owner": "infra", "expect": [
        {"permission": "repo.create", "type": "dataset", "access": "allowed"},
        {"permission": "org.billing", "access": "denied"}]}]
CHECKS = 8


async def texts(page, selector):
    return [text.strip() for text in await page.locator(selector).all_inner_texts()]


async def calm(page):
    """What is wrong with a page on which all is well."""
    problems = []
    if await texts(page, "h1") != ["All as expected"]:
        problems.append(f"on top: {await texts(page, 'h1')}")
    if "Nothing lasts that is not as it should be" not in await page.locator("main").inner_text():
        problems.append("findings where there are none")
    if await page.locator(".matrix .chip.grant").count():
        problems.append("a grant in the matrix")
    return problems


async def alarmed(page):
    """What an engineer wants in five seconds and does not find: what, whose, since when, what to do."""
    problems = []
    box = await page.locator("h1").bounding_box()
    top, banner = await texts(page, "h1"), " ".join(await texts(page, ".banner"))
    if not re.fullmatch(r"\d+ unexpected grants?", top[0] if top else ""):
        problems.append(f"on top: {top}")
    if not box or box["y"] > 200:
        problems.append("the sentence is not in sight")
    if "limited-test-token" not in banner or not re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(\d+ s ago\)", banner):
        problems.append(f"which token, since when: {banner!r}")
    group = page.locator("article").first
    if not await group.count():
        return problems + ["no finding"]
    told = await group.inner_text()
    for part in ("limited-test-token", "ml-platform", "unexpected_grant", "repo.write on acme/token-test-model", "critical",
                 "narrow the token's scopes"):
        if part not in told:
            problems.append(f"not told with the finding: {part}")
    times = group.locator("time")
    since = datetime.fromisoformat(await times.first.get_attribute("datetime")) if await times.count() else None
    if not since or not -2 < (datetime.now(timezone.utc) - since).total_seconds() < 90:
        problems.append(f"since {since}")
    return problems


async def tab_to(page, selector, most=60):
    """Presses Tab until it is focused."""
    for _ in range(most):
        if await page.locator(f"{selector}:focus").count():
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {selector}")


async def ask(page, base, **wanted):
    """Fills the form in by keyboard alone and sends it."""
    await page.goto(base + "/")
    for field in ("token", "owner", "verdict"):
        if field in wanted:
            await tab_to(page, f"[name={field}]")
            await page.keyboard.type(wanted[field])
    await tab_to(page, "form button")
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    return await texts(page, ".matrix .name")


async def filters(page, sight, base):
    problems = []
    for wanted, rows, query in (
        ({"token": "ci-"}, ["ci-bot"], "token=ci-"),
        ({"owner": "ml-"}, ["limited-test-token"], "owner=ml-platform"),
        ({"owner": "inf"}, ["ci-bot", "deploy-bot"], "owner=infra"),
        ({"verdict": "unexpected g"}, ["limited-test-token"], "verdict=grant"),
        ({"token": "bot", "verdict": "as"}, ["ci-bot", "deploy-bot"], "verdict=ok"),
        ({"token": "bot", "verdict": "unexpected g"}, [], "verdict=grant"),
    ):
        found = await ask(page, base, **wanted)
        if found != rows or query not in page.url:
            problems.append(f"{wanted} shows {found} at {page.url}")
        if not rows and "No token fits" not in await page.locator("main").inner_text():
            problems.append("an empty answer is not told")
        async with sight.context(base, script=False) as fresh:
            other = await fresh.context.new_page()
            await other.goto(page.url)
            again = await texts(other, ".matrix .name")
            typed = await other.locator("[name=token]").input_value()
            chosen = await other.locator("[name=verdict]").input_value()
            if again != rows or typed != wanted.get("token", "") or (chosen == "") != ("verdict" not in wanted):
                problems.append(f"opened fresh, {page.url} shows {again}, with {typed!r} and {chosen!r}")
            problems += fresh.problems()
    return problems


async def finding(page, base):
    """From the front page, by its link and Enter, to the page of the grant."""
    await page.goto(base + "/")
    link = page.locator("article li", has_text="repo.write on acme/token-test-model").locator("a").first
    address = await link.get_attribute("href")
    await tab_to(page, f'article a[href="{address}"]')
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    text, problems = await page.locator("main").inner_text(), []
    if not re.fullmatch(r".*/findings/[0-9a-f]{16}", page.url):
        problems.append(f"a finding at {page.url}")
    for part in ("unexpected_grant", "limited-test-token", "narrow the token's scopes", "critical", "since", "auth-check/write",
                 "scopewatch explain --config CONFIG limited-test-token repo.write acme/token-test-model"):
        if part not in text:
            problems.append(f"not told: {part}")
    facts = dict(zip(await texts(page, "dt"), await texts(page, "dd")))
    if facts.get("expected") != "denied" or not facts.get("observed", "").startswith("allowed"):
        problems.append(f"facts: {facts}")
    row = await texts(page, "tbody tr > *")
    if len(row) < 3 or row[1] != "200" or not row[2]:
        problems.append(f"evidence: {row}")
    return problems, page.url


async def skips(page, base):
    """The first Tab finds the skip link, and Enter leads into what matters."""
    await page.goto(base + "/")
    await page.keyboard.press("Tab")
    problems = [] if await page.locator(".skip:focus").count() else ["the first Tab finds no skip link"]
    box = await page.locator(".skip").bounding_box()
    if not box or box["x"] < 0:
        problems.append("the skip link is not to be seen")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    if not await page.locator("main a:focus").count():
        problems.append("the skip link leads elsewhere")
    return problems


async def usable(sight, tally, base, states):
    """axe in every look, and what overflows, of these addresses."""
    for scheme, width in reach.LOOKS:
        async with sight.context(base, width=width, scheme=scheme) as seen:
            page = await seen.context.new_page()
            for what, address in states:
                await page.goto(address)
                tell = tally.tell if (scheme, width) == ("light", 1280) else None
                tally.check("axe", f"{what} {scheme} {width}", await reach.axe(page, tell))
                tally.check("overflow", f"{what} {scheme} {width}", await reach.overflow(page))


async def by_hand(sight, tally, base, states):
    """Keyboard and structure of these addresses; and that with JavaScript on none runs."""
    async with sight.context(base) as seen:
        page = await seen.page()
        for what, address, sentence in states:
            await page.goto(address)
            tally.check("keyboard", f"{what}: structure", await reach.structure(page))
            tally.check("keyboard", f"{what}: told first", await reach.told_first(page, sentence) if sentence else [])
            tally.check("keyboard", f"{what}: Tab", await reach.keyboard(page))
        tally.check("story", "no script, and nothing from elsewhere", seen.problems())


async def play(sight, tally):
    schedule = {"probe": "*/2 * * * * *", "declared": "*/10 * * * * *"}
    async with Bench(WORLD, WATCHED, schedule) as bench, sight.context(bench.url, script=False) as seen:
        base, page = bench.url, await seen.context.new_page()
        await bench.round(CHECKS)
        await page.goto(base + "/")
        tally.check("story", "calm", await calm(page))
        tally.plant("story", "no alarm where none is", await alarmed(page))
        await usable(sight, tally, base, [("calm", base + "/")])
        await by_hand(sight, tally, base, [("calm", base + "/", "All as expected")])
        async with sight.context(base) as spoilt:
            other = await spoilt.context.new_page()
            await other.goto(base + "/")
            await reach.axe_planted(other, tally)
            await reach.keyboard_planted(other, tally)
        await sight.shot("calm", base + "/")
        bench.steer("world", {"tokens": {"limited": {"scopes": WIDE}}})
        await until(lambda: [one for one in bench.lasting() if one["kind"] == "unexpected_grant"
                             and one["permission"] == "repo.write"], "the grant is found")
        await page.goto(base + "/")
        tally.tell("a token was widened, and the page says so")
        tally.check("story", "alarmed", await alarmed(page))
        tally.plant("story", "calm where there is an alarm", await calm(page))
        tally.check("story", "skip link", await skips(page, base))
        tally.check("story", "filters by keyboard", await filters(page, sight, base))
        problems, address = await finding(page, base)
        tally.check("story", "the finding's own page", problems)
        # What each state looks like to everybody else, side by side with nothing that changes.
        await page.goto(base + "/")
        sentence = (await texts(page, "h1"))[0]
        states = [("grant", base + "/"), ("filtered", base + "/?owner=infra&verdict=ok"), ("finding", address),
                  ("empty", base + "/?token=bot&verdict=grant")]
        await usable(sight, tally, base, states)
        await by_hand(sight, tally, base, [("grant", base + "/", sentence), ("finding", address, None)])
        for what, url in states:
            await sight.shot(what, url)
        bench.steer("world", {"tokens": {"limited": {"scopes": []}}})
        await until(lambda: not bench.lasting(), "all findings are resolved")
        await page.goto(base + "/")
        ended = await texts(page, ".changes .good")
        told = [] if any("unexpected_grant" in one and "repo.write" in one for one in ended) else [f"no end is told: {ended}"]
        tally.check("story", "resolved", await calm(page) + told)
        await page.goto(address)
        text = await page.locator("main").inner_text()
        tally.check("story", "the finding is over", [] if "over since" in text else [f"not told: {text}"])
        await sight.shot("resolved", base + "/")
        tally.check("story", "nothing from elsewhere, nothing said", seen.problems())
