"""The eyes: one Chromium, and of everything that it looks at what was asked for, what ran, and what was said.

Knows Playwright and which elements and attributes the page is made of; knows nothing of what is watched.  Serves every
part.  A trap listens on loopback: whatever a hostile name could make a browser fetch, it would fetch there.
"""

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import async_playwright

CHROMIUM = "/usr/bin/chromium"
# No name leads anywhere, so that nothing here can leave this machine; Playwright gives each start an empty profile.
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]

# All that the page is made of; anything else in it came from a name.
MADE_OF = {
    "html": "lang", "head": "", "meta": "charset name content", "title": "", "link": "rel href", "body": "",
    "a": "href class rel", "header": "", "span": "class aria-hidden aria-current", "main": "id", "footer": "",
    "nav": "class aria-label", "section": "class aria-labelledby", "h1": "id", "h2": "id", "h3": "", "p": "class",
    "ul": "class aria-label", "ol": "class", "li": "class", "article": "class", "bdi": "class", "strong": "class",
    "time": "datetime", "form": "class action method role aria-labelledby", "label": "",
    "input": "name type value placeholder autocomplete", "select": "name", "option": "value selected", "button": "",
    "div": "class role aria-label tabindex", "table": "class role", "caption": "class", "thead": "role",
    "tbody": "role", "tr": "role", "th": "scope role", "td": "role class", "figure": "", "figcaption": "",
    "svg": "viewBox preserveAspectRatio role aria-label", "rect": "class x y width height", "polyline": "points",
    "dl": "", "dt": "", "dd": "", "code": "", "pre": "",
}
INSPECT = """made => {
  const strange = [], away = [];
  for (const e of document.querySelectorAll('*')) {
    const known = made[e.localName];
    if (known === undefined) { strange.push('<' + e.localName + '>'); continue; }
    for (const a of e.attributes) {
      if (!known.split(' ').includes(a.name)) strange.push('<' + e.localName + ' ' + a.name + '>');
      if (['href', 'src', 'action', 'xlink:href', 'formaction', 'data'].includes(a.name)) {
        const icon = e.localName === 'link' && e.rel === 'icon' && a.value.startsWith('data:');
        let origin = 'nowhere';
        try { origin = new URL(a.value, document.baseURI).origin; } catch { }
        if (!icon && origin !== location.origin) away.push(a.value.slice(0, 80));
      }
    }
  }
  return { strange, away, markers: Object.keys(window).filter(key => key.startsWith('__x')) };
}"""


class Trap:
    """A listener that nobody should ever come to."""

    async def __aenter__(self):
        self.came = []
        self.server = await asyncio.start_server(self._met, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def _met(self, reader, writer):
        self.came.append("a connection")
        try:
            self.came[-1] = (await asyncio.wait_for(reader.readline(), 1)).decode("latin-1").strip() or "a connection"
            writer.write(b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            writer.close()

    async def __aexit__(self, *_):
        self.server.close()


class Seen:
    """What a context asked for, what ran in it, what it said."""

    def __init__(self, context, origin):
        self.context, self.origin = context, origin
        self.requests, self.said, self.dialogs, self.scripts = [], [], [], []
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("console", lambda message: self.said.append(f"{message.type}: {message.text[:160]}"))
        context.on("weberror", lambda error: self.said.append(f"error: {str(error.error)[:160]}"))
        context.on("dialog", self._dialog)

    async def _dialog(self, dialog):
        self.dialogs.append(dialog.message)
        await dialog.dismiss()

    async def page(self):
        """A tab of it, in which every script of the page itself is noticed before it runs."""
        page = await self.context.new_page()
        session = await self.context.new_cdp_session(page)
        session.on("Debugger.scriptParsed", self._parsed)
        await session.send("Debugger.enable")
        return page

    def _parsed(self, event):
        if event.get("url", "").startswith("http"):
            self.scripts.append(event["url"])

    def problems(self):
        """What of all that should not have been."""
        yield from (f"request: {url}" for url in self.requests if not self._ours(url))
        yield from (f"console: {text}" for text in self.said)
        yield from (f"dialog: {text}" for text in self.dialogs)
        yield from (f"script: of {url}" for url in self.scripts)

    def _ours(self, url):
        return url.startswith(self.origin + "/") or url.startswith("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'")


async def strange(page):
    """What of the page is not made by its templates."""
    found = await page.evaluate(INSPECT, MADE_OF)
    return ([f"markup: {what}" for what in found["strange"]] + [f"address: {what}" for what in found["away"]]
            + [f"marker: {what}" for what in found["markers"]])


def flat(text):
    """As a browser shows white space."""
    return re.sub(r"[ \t\n\r]+", " ", text).strip(" ")


class Sight:
    """The browser, from the beginning to the end of an `async with`."""

    def __init__(self, shots=None, long=False):
        self.long = long  # more of each
        self.shots = Path(shots) if shots else None

    async def __aenter__(self):
        if self.shots:
            self.shots.mkdir(parents=True, exist_ok=True)
        self.playwright = await async_playwright().start()
        try:
            self.browser = await self.playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        except BaseException:
            await self.playwright.stop()
            raise
        return self

    async def __aexit__(self, *_):
        await self.browser.close()
        await self.playwright.stop()

    @asynccontextmanager
    async def context(self, origin, script=True, width=1280, height=900, scheme="light"):
        context = await self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme,
                                                 java_script_enabled=script)
        context.set_default_timeout(15_000)
        try:
            yield Seen(context, origin)
        finally:
            await context.close()

    async def shot(self, name, url):
        """Pictures for people, if they are wanted."""
        if not self.shots:
            return
        for scheme, width in (("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)):
            async with self.context(url, script=False, width=width, scheme=scheme) as seen:
                page = await seen.context.new_page()
                await page.goto(url)
                await page.screenshot(path=self.shots / f"{name}-{scheme}-{width}.png", full_page=width != 1280 or name != "many")
