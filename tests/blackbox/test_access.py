"""Who may reach the port: TLS, client certificates and passwords of `server.web_config`, on a running daemon.

Knows the exporter-toolkit's file, and makes certificates with openssl.  Serves whoever changes the door.
"""

import base64
import http.client
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import unittest

from scenario import CI, NEVER, Case, wait_until

# `right` and `other`, at the least cost that bcrypt knows.
RIGHT = "$2b$04$rDiMeCAYRRGwF.dwAGvjteRVMBLIHcTKKrMeJQyqfvtEfl4nQ8/8u"
OTHER = "$2b$04$Nobh6dESXNY9xzuhoq6Rj.wnRtqlzRaSjwZeg31o59OICU4p7Qx3e"
HEALTH = ("/-/healthy", "/-/ready", "/livez", "/readyz")
THE_REST = ("/", "/metrics", "/api/v1/findings", "/nowhere")


class Guarded(Case):
    """A daemon that asks nothing of the Hub, and a directory with authorities and certificates."""

    def setUp(self):
        super().setUp()
        if not shutil.which("openssl"):
            self.fail("openssl is not on PATH") if CI else self.skipTest("openssl is not on PATH")
        self.config["schedule"] = {"probe": NEVER, "canary": NEVER, "declared": NEVER, "on_start": False}
        self.add_member("limited")
        self.add_member("other")
        self.web = self.dir / "web.yml"

    def openssl(self, *argv):
        subprocess.run(["openssl", *argv], cwd=self.dir, check=True, capture_output=True, timeout=20)

    def authority(self, name):
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")

    def certify(self, name, by, san="DNS:localhost,IP:127.0.0.1"):
        """A new certificate under names of their own first, so that the daemon never sees half a file."""
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                     "-keyout", "new.key", "-out", "new.csr")
        (self.dir / "new.ext").write_text(f"subjectAltName={san}\n")
        self.openssl("x509", "-req", "-in", "new.csr", "-CA", f"{by}.crt", "-CAkey", f"{by}.key", "-CAcreateserial",
                     "-days", "2", "-extfile", "new.ext", "-out", "new.crt")
        for part in ("key", "crt"):
            (self.dir / f"new.{part}").replace(self.dir / f"{name}.{part}")

    def tls(self, *more, users=""):
        self.web.write_text("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
                            + "".join(f"  {line}\n" for line in more) + users)

    def guarded(self, *argv, **server):
        server = {"web_config": str(self.web), **server}
        daemon = self.serve(*argv, ready=False, config={"server": server})
        wait_until(lambda: socket.create_connection(("127.0.0.1", daemon.port), 1).close() is None, "it listens")
        return daemon

    def ask(self, daemon, path, trusts="ca", shows=None, password=None, method="GET", tls=True):
        """(status, body), or the kind of failure in the place of the status."""
        headers = {}
        if password is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(password.encode()).decode()
        try:
            if tls:
                context = ssl.create_default_context(cafile=self.dir / f"{trusts}.crt")
                if shows:
                    context.load_cert_chain(self.dir / f"{shows}.crt", self.dir / f"{shows}.key")
                connection = http.client.HTTPSConnection("127.0.0.1", daemon.port, timeout=10, context=context)
            else:
                connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (ssl.SSLError, ConnectionError, http.client.HTTPException) as error:
            return type(error).__name__, str(error)

    def status(self, *argv, **kw):
        return self.ask(*argv, **kw)[0]

    def gauge(self, daemon, **kw):
        lines = self.ask(daemon, "/metrics", **kw)[1].splitlines()
        name = "scopewatch_web_config_last_reload_successful "
        return [float(line[len(name):]) for line in lines if line.startswith(name)]


class Passwords(Guarded):
    def test_passwords_over_tls(self):
        self.authority("ca")
        self.certify("server", "ca")
        self.tls(users=f"basic_auth_users: {{ alice: '{RIGHT}' }}\n")
        daemon = self.guarded("--log-level", "trace", lifecycle=True)
        for path in HEALTH:
            self.assertEqual(self.status(daemon, path), 200, path)
        for path in THE_REST:
            for wrong in (None, "alice:wrong-planted-pass", "nobody:right", "alice:"):
                self.assertEqual(self.status(daemon, path, password=wrong), 401, f"{path} {wrong}")
        self.assertEqual(self.status(daemon, "/-/reload", method="POST"), 401)
        for path in THE_REST[:3]:
            self.assertEqual(self.status(daemon, path, password="alice:right"), 200, path)
        self.assertEqual(self.gauge(daemon, password="alice:right"), [1])
        status, body = self.ask(daemon, "/metrics", tls=False)
        self.assertEqual((status, "https" in body), (400, True), body)
        # Health has no password, and whoever asks it of this machine looks at no certificate.
        path = daemon.path
        for ready in ((), ("--ready",)):
            self.run_binary("healthcheck", "--config", path, *ready, expect=0)

        # Another password holds within seconds, without a reload.
        self.tls(users=f"basic_auth_users: {{ alice: '{OTHER}' }}\n")
        wait_until(lambda: self.status(daemon, "/metrics", password="alice:other") == 200, "the new password", 15)
        self.assertEqual(self.status(daemon, "/metrics", password="alice:right"), 401)
        daemon.stop()
        gone = self.run_binary("healthcheck", "--config", path, expect=1)
        self.assertRegex(gone.err, "nobody answers at .*; see the daemon's log")
        log = (self.dir / daemon.log.name).read_text()
        for secret in ("wrong-planted-pass", base64.b64encode(b"alice:right").decode(), RIGHT, OTHER, "Basic "):
            self.assertNotIn(secret, log)

    def test_a_flood_of_wrong_passwords_keeps_nobody_out_who_was_let_in(self):
        slow = "$2b$12$HIo30MpEaRY2baBgBqFAw.iRGIj/RWSgS6UPxU21QeFYnE.zovNP."
        self.web.write_text(f"basic_auth_users: {{ alice: '{slow}' }}\n")
        daemon = self.guarded()
        self.assertEqual(self.status(daemon, "/metrics", password="alice:right", tls=False), 200)
        seen, ending = [], threading.Event()

        def flood():
            while not ending.is_set():
                seen.append(self.status(daemon, "/metrics", password="alice:wrong", tls=False))
        crowd = [threading.Thread(target=flood) for _ in range(8)]
        for one in crowd:
            one.start()
        try:
            wait_until(lambda: 429 in seen, "the crowd is told to come later")
            for _ in range(50):
                self.assertEqual(self.status(daemon, "/metrics", password="alice:right", tls=False), 200)
                self.assertEqual(self.status(daemon, "/-/healthy", tls=False), 200)
        finally:
            ending.set()
            for one in crowd:
                one.join()
        self.assertLessEqual(set(seen), {401, 429})
        daemon.stop()


class Certificates(Guarded):
    def test_required_client_certificates(self):
        for name in ("ca", "clients", "strangers"):
            self.authority(name)
        self.certify("server", "ca")
        self.certify("prometheus", "clients", "DNS:prometheus")
        self.certify("other", "clients", "DNS:other")
        self.certify("stranger", "strangers", "DNS:prometheus")
        self.tls("client_auth_type: RequireAndVerifyClientCert", "client_ca_file: clients.crt",
                 "client_allowed_sans: [prometheus]")
        daemon = self.guarded()
        for path in HEALTH:
            self.assertEqual(self.status(daemon, path), 200, path)
        for path in THE_REST:
            self.assertEqual(self.status(daemon, path), 403, path)
            self.assertEqual(self.status(daemon, path, shows="other"), 403, path)
            self.assertNotIn(self.status(daemon, path, shows="stranger"), (200, 403, 404), path)
        for path in THE_REST[:3]:
            self.assertEqual(self.status(daemon, path, shows="prometheus"), 200, path)
        daemon.stop()

    def test_replaced_and_broken_certificates(self):
        self.authority("ca")
        self.authority("next")
        self.certify("server", "ca")
        self.tls()
        daemon = self.guarded()
        self.assertEqual(self.status(daemon, "/metrics"), 200)
        self.certify("server", "next")
        wait_until(lambda: self.status(daemon, "/metrics", trusts="next") == 200, "the new certificate is served", 15)
        self.assertNotEqual(self.status(daemon, "/metrics"), 200)

        (self.dir / "server.key").write_text("broken")
        wait_until(lambda: self.gauge(daemon, trusts="next") == [0], "it is said that it is broken", 15)
        self.assertEqual(self.status(daemon, "/metrics", trusts="next"), 200, "the last good one is served")
        self.assertEqual(daemon.output().count("key_file holds no private key"), 1)
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: "the config was not reloaded" in daemon.output(), "a reload refuses it too")
        self.assertEqual(self.status(daemon, "/metrics", trusts="next"), 200)

        self.certify("server", "ca")
        wait_until(lambda: self.gauge(daemon) == [1], "it is mended", 15)
        daemon.stop()

    def test_a_reload_switches_tls_on_and_off(self):
        self.authority("ca")
        self.certify("server", "ca")
        self.tls(users=f"basic_auth_users: {{ alice: '{RIGHT}' }}\n")
        daemon = self.serve()
        kept = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
        kept.request("GET", "/metrics")
        self.assertNotIn("web_config", kept.getresponse().read().decode(), "absent without a web config")

        self.configure(daemon, web_config=str(self.web))
        wait_until(lambda: self.status(daemon, "/metrics", password="alice:right") == 200, "TLS and passwords")
        with self.assertRaises((ConnectionError, http.client.HTTPException)):
            kept.request("GET", "/metrics")
            kept.getresponse()
        self.assertEqual(self.status(daemon, "/metrics", tls=False), 400)
        self.assertEqual(self.status(daemon, "/metrics"), 401)

        self.configure(daemon)
        wait_until(lambda: self.status(daemon, "/metrics", tls=False) == 200, "an open door again")
        self.assertEqual(self.gauge(daemon, tls=False), [])
        daemon.stop()

    def configure(self, daemon, **server):
        settings = {**daemon.settings, "server": {"listen": f"127.0.0.1:{daemon.port}", **server}}
        self.write_config(settings, "serve.yaml")
        daemon.signal(signal.SIGHUP)


class Refused(Guarded):
    def test_a_broken_web_config_is_exit_2_before_anything_is_touched(self):
        for name in ("ca", "server"):
            self.authority(name)
        users = f"basic_auth_users: {{ alice: '{RIGHT}' }}\n"
        for text, wanted in (
            (None, "does not exist"),
            ("rate_limit: { burst: 1 }\n", "`rate_limit` is not supported here"),
            ("tls_server_config: { cert_file: ca.crt, key_file: server.key }\n", "do not belong together"),
            ("tls_server_config: { cert_file: server.crt, key_file: absent }\n", "key_file: "),
            ("basic_auth_users: { alice: plain-planted-pass }\n", "not a bcrypt hash"),
        ):
            self.web.unlink(missing_ok=True)
            if text is not None:
                self.web.write_text(text)
            self.config["server"] = {"listen": "127.0.0.1:0", "web_config": str(self.web)}
            for command in ("check", "serve"):
                done = self.with_config(command, expect=2)
                self.assertIn(wanted, done.err)
                self.assertNotIn("planted", done.err + done.out)
        self.assertEqual(list((self.dir / "state").iterdir()), [], "no store was made")
        self.assertEqual(self.hub.requests, [])

        self.web.write_text(users)
        self.web.chmod(0o644)
        self.config["server"]["listen"] = "0.0.0.0:0"
        done = self.with_config("check", expect=0)
        for warning in ("passwords travel in the clear", "hashes of passwords", "cost 4"):
            self.assertIn(warning, done.err)


class Lifecycle(Guarded):
    def test_a_probe_on_demand_asks_with_exactly_one_token(self):
        daemon = self.guarded_open()
        status, body = self.ask(daemon, "/-/probe?token=limited", method="POST", tls=False)
        self.assertEqual((status, body), (202, "accepted\n"))
        wait_until(lambda: self.hub.posts("limited"), "the token's check is tried", 15)
        wait_until(lambda: "a round ended" in daemon.output(), "the round ends", 15)
        self.assertEqual(self.hub.posts("other"), [], "the other token is not asked with")
        status, body = self.ask(daemon, "/-/probe?token=nobody", method="POST", tls=False)
        self.assertEqual((status, body), (404, "there is no token of this name in the config\n"))
        self.assertEqual(self.status(daemon, "/-/probe", method="POST", tls=False), 400)
        daemon.stop()

    def guarded_open(self):
        return self.serve(config={"server": {"lifecycle": True}})


if __name__ == "__main__":
    unittest.main()
