"""A thousand tokens: the page answers fast, is paged, can be filtered, and fits the window.  Serves run.py."""

import statistics
import time

import reach
from bench import ONCE, WIDE, Bench, acme, http

TOKENS, OWNERS, ROWS = 1000, 12, 50
WIDENED = range(3, TOKENS, 97)
FAST = 0.5  # seconds of a debug build for one page, on a machine that does other things as well
LONG = "a-name-as-long-as-names-may-be-" * 4 + "0"


def world():
    tokens, members = {}, {"u0": "no_access"}
    for number in range(TOKENS):
        wide = number in WIDENED
        tokens[f"t{number}"] = {"secret": f"hf_page_many_{number:04}", "user": f"u{number}", "role": "fineGrained",
                                "scopes": WIDE if wide else []}
        members[f"u{number}"] = "write" if wide else "no_access"
    return acme(tokens=tokens, members=members)


def watched():
    names = [f"service-{number:04}" for number in range(TOKENS)]
    names[WIDENED[0]] = LONG  # among those that are shown first
    return [{"name": name, "of": f"t{number}", "owner": f"team-{number % OWNERS}", "expect": ["read-only"]}
            for number, name in enumerate(names)]


LISTS = {"expectations": {"read-only": [
    {"permission": "repo.read", "repo": "acme/token-test-model", "access": "denied"},
    {"permission": "repo.write", "repo": "acme/token-test-model", "access": "denied"},
    {"permission": "org.billing", "access": "denied"}]}}


async def follow(page, link):
    """To the next page, whole: a click alone returns while its rows are still arriving."""
    async with page.expect_navigation():
        await link.click()


async def names(page):
    return await page.locator(".matrix .name").all_inner_texts()


def whole(found):
    """Every token stands on exactly one page, the worst first."""
    wanted, first = {token["name"] for token in watched()}, {watched()[number]["name"] for number in WIDENED}
    if len(found) != TOKENS or set(found) != wanted:
        yield f"{len(found)} rows, {len(wanted - set(found))} tokens missing"
    if first != set(found[:len(WIDENED)]):
        yield "those with a grant are not the first"


async def pages(page, base):
    """(what is wrong with the pages, all rows of all pages)"""
    problems, found, count = [], [], 0
    await page.goto(base + "/")
    while True:
        rows = await names(page)
        count, found = count + 1, found + rows
        if len(rows) > ROWS:
            problems.append(f"{len(rows)} rows on one page")
        if f"page {count} of {TOKENS // ROWS}" not in await page.locator("section[aria-labelledby=matrix]").inner_text():
            problems.append(f"page {count} does not say which it is")
        following = page.locator(".pages a[rel=next]")
        if not await following.count():
            break
        await follow(page, following)
    problems += whole(found)
    await follow(page, page.locator(".pages a[rel=prev]"))
    if "page=19" not in page.url:
        problems.append(f"the page before the last is {page.url}")
    return problems, found


async def filters(page, base):
    problems = []
    for query, rows, said in (
        ("token=service-099", 10, f"10 of {TOKENS} tokens"), ("owner=team-3&token=service-00", 8, f"8 of {TOKENS} tokens"),
        ("verdict=grant", len(WIDENED), f"{len(WIDENED)} of {TOKENS} tokens"), ("owner=team-0", ROWS, f"84 of {TOKENS} tokens"),
        ("owner=team-0&page=2", 34, "page 2 of 2"), ("verdict=denial", 0, "No token fits"),
    ):
        await page.goto(f"{base}/?{query}")
        found, text = len(await names(page)), await page.locator("section[aria-labelledby=matrix]").inner_text()
        if found != rows or said not in text:
            problems.append(f"{query} shows {found} rows, and not {said!r}")
    return problems


async def play(sight, tally):
    async with Bench(world(), watched(), ONCE, config=LISTS) as bench, sight.context(bench.url) as seen:
        base, page = bench.url, await seen.page()
        await bench.round(3 * TOKENS)
        tally.tell(f"a round of {3 * TOKENS} checks")
        took, loads = [], []
        for query in ("", "?page=7", "?owner=team-5", "?verdict=grant", "?token=099", "") * 2:
            began = time.monotonic()
            status, body = http(f"{base}/{query}")
            took.append(time.monotonic() - began)
            if status != 200:
                took.append(99)
        for _ in range(3):
            await page.goto(base + "/")
            loads.append(await page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        tally.tell(f"{TOKENS} tokens: / in {statistics.median(took) * 1000:.0f} ms (at most {max(took) * 1000:.0f}),"
                   f" {len(body) // 1024} KiB; shown by the browser in {statistics.median(loads):.0f} ms")
        tally.check("many", "fast", [f"{max(took):.2f} s for a page"] if statistics.median(took) > FAST else [])
        problems, found = await pages(page, base)
        tally.check("many", "pages", problems)
        tally.plant("many", "a token on no page", list(whole(found[:-1])))
        tally.plant("many", "one token twice", list(whole([*found[:-1], found[-2]])))
        tally.plant("many", "the worst last", list(whole(found[::-1])))
        tally.check("many", "filters", await filters(page, base))
        tally.check("many", "nothing from elsewhere, nothing said", seen.problems())
        for width in (360, 1280):
            async with sight.context(base, width=width) as narrow:
                other = await narrow.context.new_page()
                for address in ("/", "/?page=20", "/?verdict=grant", "/?verdict=denial"):
                    await other.goto(base + address)
                    tally.check("overflow", f"many {address} {width}", await reach.overflow(other))
                await other.evaluate(f"() => {{ {reach.STYLE % 'h1 { white-space: nowrap; width: 1400px }'} }}")
                tally.plant("overflow", f"a wide line at {width}", await reach.overflow(other))
        for scheme, width in reach.LOOKS[1:3]:
            async with sight.context(base, width=width, scheme=scheme) as seen:
                other = await seen.context.new_page()
                await other.goto(base + "/")
                tally.check("axe", f"many {scheme} {width}", await reach.axe(other))
        await page.goto(base + "/?page=3")
        tally.check("keyboard", "many: structure", await reach.structure(page))
        tally.check("keyboard", "many: Tab", await reach.keyboard(page))
        await sight.shot("many", base + "/")
        await sight.shot("many-page", base + "/?page=2#matrix")
