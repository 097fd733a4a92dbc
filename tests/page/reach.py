"""Whether everybody can use the page: axe-core, the keyboard, what a screen reader is told, and nothing that overflows.

Knows the rules and how to break each on purpose; knows nothing of what is watched.  Serves the parts, which have pages.
"""

import re
from importlib import resources

AXE = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
GRAVE = ("serious", "critical")
LOOKS = [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)]

AXE_RUN = """async rules => (await axe.run(document, { runOnly: rules, resultTypes: ['violations'] })).violations
  .map(v => ({ id: v.id, impact: v.impact, count: v.nodes.length, where: v.nodes[0].target.join(' '),
               html: v.nodes[0].html.slice(0, 120) }))"""


async def axe(page, tell=None):
    """[serious and critical violations]; milder ones are told."""
    await page.evaluate(AXE)
    grave = []
    for one in await page.evaluate(AXE_RUN, RULES):
        text = f"{one['impact']} {one['id']} × {one['count']}: {one['where']} {one['html']}"
        if one["impact"] in GRAVE:
            grave.append(text)
        elif tell:
            tell(f"axe, for people: {text}")
    return grave


async def axe_planted(page, tally):
    """Defects in the page as it stands; it is of no use afterwards."""
    for what, spoil in (
        ("a field without its label", "const i = document.querySelector('input'); i.removeAttribute('placeholder');"
                                      " i.closest('label').replaceWith(i)"),
        ("pale text", STYLE % "p, h2 { color: #bbb !important; background: #fff !important }"),
        ("no language", "document.documentElement.removeAttribute('lang')"),
        ("a link without a word", "document.querySelector('main a').textContent = ''"),
    ):
        await page.evaluate(f"() => {{ {spoil} }}")
        tally.plant("axe", what, await axe(page))
        await page.reload()


# Not an element, which the policy of the page would refuse.
STYLE = "const s = new CSSStyleSheet(); s.replaceSync('%s'); document.adoptedStyleSheets = [s]"

FOCUS = """() => {
  const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
  window.__order ??= [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')];
  return { at: window.__order.indexOf(e), name: e.localName + ' ' + (e.name || e.textContent || '').trim().slice(0, 40),
           outline: s.outlineStyle + ' ' + s.outlineWidth, width: r.width, height: r.height, left: r.left, right: r.right,
           top: r.top, bottom: r.bottom, wide: innerWidth, high: innerHeight };
}"""


async def keyboard(page):
    """Every interactive element is reached by Tab, in the order of the page, in sight and with an outline."""
    problems, reached = [], []
    total = await page.evaluate("() => document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]').length")
    for _ in range(total):
        await page.keyboard.press("Tab")
        now = await page.evaluate(FOCUS)
        if now["at"] < 0 or now["at"] in reached:
            break
        reached.append(now["at"])
        style, width = now["outline"].split()
        if style == "none" or float(width.removesuffix("px")) < 2:
            problems.append(f"no outline on {now['name']}: {now['outline']}")
        if now["width"] < 1 or now["bottom"] <= 0 or now["top"] >= now["high"] or now["right"] <= 0 or now["left"] >= now["wide"]:
            problems.append(f"focused out of sight: {now['name']}")
    if len(reached) != total:
        problems.append(f"Tab reaches {len(reached)} of {total} elements")
    if reached != sorted(reached):
        problems.append("Tab does not follow the order of the page")
    return problems


STRUCTURE = """() => {
  const all = q => [...document.querySelectorAll(q)], text = e => (e.textContent || '').trim();
  return {
    levels: all('h1, h2, h3, h4, h5, h6').map(h => Number(h.localName[1])), empty: all('h1, h2, h3').filter(h => !text(h)).length,
    main: all('main').length, header: all('body > header').length, footer: all('body > footer').length,
    navs: all('nav').map(n => n.getAttribute('aria-label') || ''), lang: document.documentElement.lang,
    skip: document.querySelector('a')?.getAttribute('href'), target: Boolean(document.querySelector('main#main')),
    tables: all('table').length, captions: all('table > caption').filter(text).length,
    loose: all('th:not([scope])').length, rowless: all('tbody tr').filter(r => !r.querySelector('th[scope=row]')).length,
    plots: all('svg').filter(s => !s.getAttribute('aria-label')).length,
    chips: all('.matrix .chip').map(c => [c.classList[1], text(c)]), counts: all('.counts .chip').map(c => [c.classList[1], text(c)]),
  };
}"""
MARKS = {"ok": "✓", "grant": "!", "denial": "×", "accepted": "~", "unknown": "?"}


async def structure(page):
    """Landmarks, headings in order, tables with captions and scopes, and no meaning by colour alone."""
    it, problems = await page.evaluate(STRUCTURE), []

    def want(so, what):
        if not so:
            problems.append(what)
    levels = it["levels"]
    want(levels[:1] == [1] and levels.count(1) == 1, f"headings begin {levels[:3]}, and not with the only h1")
    want(all(after <= before + 1 for before, after in zip(levels, levels[1:])), f"a heading skips a level: {levels}")
    want(not it["empty"], "a heading without a word")
    want((it["main"], it["header"], it["footer"]) == (1, 1, 1), "not one main, one header, one footer")
    want(all(it["navs"]) and len(set(it["navs"])) == len(it["navs"]), f"navigations are not told apart: {it['navs']}")
    want(it["lang"] == "en", "the language is not said")
    want(it["skip"] == "#main" and it["target"], "no skip link at the beginning")
    want(it["captions"] == it["tables"], f"{it['tables']} tables, {it['captions']} captions")
    want(not it["loose"] and not it["rowless"], f"{it['loose']} headers without scope, {it['rowless']} rows without a header")
    want(not it["plots"], "a plot that is not told in words")
    for kind, text in it["chips"]:
        words = re.sub(r"\s+", " ", text)
        want(MARKS[kind] in words and re.search(r"allowed|denied|unknown|not asked", words) and "expected" in words,
             f"by colour alone: {kind} {words!r}")
    for kind, text in it["counts"]:
        want(MARKS[kind] in text and re.search(r"\d+\s+\w", text), f"by colour alone: {kind} {text!r}")
    return problems


async def told_first(page, sentence):
    """The accessibility tree of what is in `main` begins with the sentence, as the heading of a region named so."""
    tree = (await page.locator("main").aria_snapshot()).splitlines()
    wanted = [f'region "{sentence}"', f'heading "{sentence}" [level=1]']
    return [f"a screen reader does not hear first {want}: {line.strip()}"
            for line, want in zip(tree[1:3], wanted) if want not in line]


async def keyboard_planted(page, tally):
    for what, spoil, look in (
        ("no outline", STYLE % "*:focus { outline: none !important }", keyboard),
        ("a link that Tab leaves out", "document.querySelectorAll('main a')[1].tabIndex = -1", keyboard),
        ("another order", "document.querySelector('button').tabIndex = 1", keyboard),
        ("an invisible link", STYLE % ".counts a { position: fixed; left: -99rem }", keyboard),
        ("a skipped level", "const h = document.querySelector('h2'); const n = document.createElement('h4');"
                            " n.textContent = 'x'; h.replaceWith(n)", structure),
        ("a table without a caption", "document.querySelector('caption').remove()", structure),
        ("a header without a scope", "document.querySelector('th').removeAttribute('scope')", structure),
        ("no skip link", "document.querySelector('.skip').remove()", structure),
        ("colour alone", "document.querySelector('.matrix .chip').textContent = ''", structure),
        ("the sentence not first", "document.querySelector('main').append(document.querySelector('.banner'))",
         lambda page: told_first(page, "All as expected")),
    ):
        await page.reload()
        await page.evaluate(f"() => {{ {spoil} }}")
        tally.plant("keyboard", what, await look(page))
    await page.reload()


OVERFLOW = """() => {
  const out = [];
  if (document.scrollingElement.scrollWidth > innerWidth) out.push(document.scrollingElement.scrollWidth + ' px of ' + innerWidth);
  for (const e of document.querySelectorAll('main *')) {
    const r = e.getBoundingClientRect();
    if (r.width && r.right > innerWidth + 1 && !e.closest('.scroll') && !e.closest('.aside') && !e.closest('option')) out.push(e.localName + '.' + e.className + ' ends at ' + Math.round(r.right));
  }
  return out.slice(0, 3);
}"""


async def overflow(page):
    return [f"wider than the window: {what}" for what in await page.evaluate(OVERFLOW)]
