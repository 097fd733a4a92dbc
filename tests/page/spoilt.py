"""Pages as a careless daemon would write them: one name unescaped, or something of another host; each must be seen.

Knows how to spoil the real page of a daemon and serve it again; the judges are those of the real one.  Serves names.py.
"""

import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench import DIRECT
from sight import strange

NEAR = '<h2 id="findings">'


def spoils(trap):
    """(what, the unescaped name, whether the policy of the page is still sent, how it must be seen)"""
    return [
        ("a script", "<script>window.__x=1</script>", False, ("marker", "script", "markup")),
        ("a script that the policy stops", "<script>window.__x=1</script>", True, ("console", "markup")),
        ("an attribute that is code", "<img src=/x onerror=window.__x=1>", False, ("marker", "markup")),
        ("a dialog", "<svg onload=alert(1)>", False, ("dialog", "markup")),
        ("an image of another host", f"<img src=http://127.0.0.1:{trap}/i>", False, ("request", "trap", "markup")),
        ("an image that the policy stops", f"<img src=http://127.0.0.1:{trap}/i>", True, ("console", "markup")),
        ("a style sheet of another host", f"<link rel=stylesheet href=http://127.0.0.1:{trap}/s>", False, ("request", "trap", "address")),
        ("a connection ahead of a request", f"<link rel=preconnect href=http://127.0.0.1:{trap}>", True, ("address",)),
        ("a link to another host", f"<a href=http://127.0.0.1:{trap}/a>x</a>", True, ("address",)),
        ("a link that is code", "<a href=javascript:alert(1)>x</a>", True, ("address",)),
        ("a form to another host", f"<form action=http://127.0.0.1:{trap}/f></form>", True, ("address",)),
        ("an inline style", "<p style=color:red>x</p>", True, ("console", "markup")),
        ("a style sheet in the page", "<style>h1{display:none}</style>", True, ("console", "markup")),
        ("another base", f"<base href=http://127.0.0.1:{trap}/>", False, ("markup", "address")),
    ]


class Careless:
    """Serves the pages of a daemon, with something put into each."""

    def __init__(self, base):
        self.put, self.policy = "", True
        careless = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    with DIRECT.open(base + self.path) as answer:
                        body, headers = answer.read(), answer.headers
                except urllib.error.HTTPError:  # what a name asks for is not there
                    self.send_error(404)
                    return
                if "html" in headers["Content-Type"]:
                    body = body.replace(NEAR.encode(), careless.put.encode() + NEAR.encode(), 1)
                self.send_response(200)
                self.send_header("Content-Type", headers["Content-Type"])
                if careless.policy:
                    self.send_header("Content-Security-Policy", headers["Content-Security-Policy"])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


async def plant(sight, tally, trap, base):
    careless = Careless(base)
    try:
        async with sight.context(careless.url) as seen:
            page = await seen.page()
            await page.goto(careless.url + "/")
            tally.check("names", "the same page, unspoilt", [*await strange(page), *seen.problems()])
        for what, put, policy, ways in spoils(trap.port):
            careless.put, careless.policy = put, policy
            trap.came.clear()
            async with sight.context(careless.url) as seen:
                page = await seen.page()
                await page.goto(careless.url + "/", wait_until="networkidle" if "trap" in ways else "load")
                problems = await strange(page) + list(seen.problems()) + [f"trap: {one}" for one in trap.came]
            for way in ways:
                tally.plant("names", what, problems, way)
    finally:
        careless.close()
