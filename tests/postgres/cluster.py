#!/usr/bin/env python3
"""Private PostgreSQL servers for the time of one command: `cluster.py -- COMMAND…`.

Starts two servers and a pooler, on loopback ports and below a directory of their own, as a user without rights; runs
the command; ends them whatever happens. The command finds in its environment:

  SCOPEWATCH_POSTGRES         a server, as a superuser; with TLS for whoever wants it
  SCOPEWATCH_POSTGRES_POOLER  the same through pgbouncer in transaction mode
  SCOPEWATCH_POSTGRES_FRAIL   another server, which is ended and started anew when a file `strike` appears in …
  SCOPEWATCH_POSTGRES_STRIKE  … this directory, and takes it away when it is up again
  SCOPEWATCH_POSTGRES_FILES   a directory with ca.pem (which signed the server's certificate) and other.pem (which did not)

On the first server the role `keyed` must show the password `right`, and the role `sealed` must come with TLS.  Nothing is
durable here: fsync is off.  Exit code: that of the command; 77 where something is missing.
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

USERS = ["postgres", "nobody"]


class Missing(Exception):
    pass


def program(name):
    """The newest of PostgreSQL's programs, which Debian keeps out of the path."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: int(path.split("/")[4]))
    where = found[-1] if found else shutil.which(name)
    if not where:
        raise Missing(f"{name} is missing (Debian: postgresql)")
    return where


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def as_user(user):
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def user():
    for name in USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Missing("there is no user without rights")


def certificates(where):
    """Two authorities; the first signs a certificate for this host."""
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=where)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for name in ["ca", "other"]:
        openssl("req", "-x509", *curve, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN=test {name}")
    openssl("req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (where / "names").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "server.pem")
    os.chmod(where / "server.key", 0o600)


def own(where, who):
    if os.geteuid() == 0:
        os.chown(where, who.pw_uid, who.pw_gid)


class Server:
    def __init__(self, where, who, files=None, more=()):
        """`more`: settings, which win over ours."""
        self.where, self.who, self.port = where, who, free_port()
        self.data, self.log = where / "data", where / "log"
        where.mkdir()
        own(where, who)
        self.run("initdb", "-D", self.data, "-U", "scopewatch", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        options = ["fsync=off", "full_page_writes=off", "max_connections=200", f"port={self.port}", "listen_addresses='127.0.0.1'",
                   f"unix_socket_directories='{where}'", "log_min_messages=warning", "shared_buffers=32MB"]
        if files:
            for name in ["server.pem", "server.key"]:
                shutil.copy(files / name, self.data / name)
                if os.geteuid() == 0:
                    os.chown(self.data / name, who.pw_uid, who.pw_gid)
            options += ["ssl=on", f"ssl_cert_file='{self.data}/server.pem'", f"ssl_key_file='{self.data}/server.key'"]
            rules = self.data / "pg_hba.conf"
            rules.write_text("host all keyed 127.0.0.1/32 scram-sha-256\nhostnossl all sealed 127.0.0.1/32 reject\n" + rules.read_text())
        with open(self.data / "postgresql.conf", "a") as settings:
            settings.write("\n".join([*options, *more]) + "\n")
        self.start()

    def run(self, name, *words):
        done = subprocess.run([*as_user(self.who), program(name), *map(str, words)], cwd="/", stdin=subprocess.DEVNULL,
                              env={"PATH": os.environ["PATH"], "HOME": str(self.where)}, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")

    def start(self):
        self.run("pg_ctl", "-D", self.data, "-w", "-l", self.log, "start")

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def url(self, database="postgres"):
        return f"postgres://scopewatch@127.0.0.1:{self.port}/{database}?sslmode=disable"


def ask(server, sql):
    server.run("psql", "-h", "127.0.0.1", "-p", server.port, "-U", "scopewatch", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", sql)


def pooler(where, who, server):
    """pgbouncer in transaction mode, in front of every database of the server."""
    bouncer = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if not bouncer:
        raise Missing("pgbouncer is missing (Debian: pgbouncer)")
    port = free_port()
    settings = where / "pgbouncer.ini"
    settings.write_text(f"""[databases]
* = host=127.0.0.1 port={server.port} user=scopewatch
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 500
default_pool_size = 3
server_idle_timeout = 5
server_round_robin = 1
logfile = {where}/pooler.log
""")
    os.chmod(settings, 0o644)
    process = subprocess.Popen([*as_user(who), bouncer, "-q", str(settings)], cwd="/", stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, port
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"pgbouncer does not listen: {(where / 'pooler.log').read_text()}") from None
            time.sleep(0.05)


def attend(command, environment, strike, frail):
    """Runs the command, and strikes the frail server when it is asked to."""
    child = subprocess.Popen(command, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while True:
        try:
            return child.wait(0.05)
        except subprocess.TimeoutExpired:
            if (strike / "strike").exists():
                frail.stop()
                frail.start()
                (strike / "strike").unlink()


def main():
    if len(sys.argv) < 3 or sys.argv[1] != "--":
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    where = Path(tempfile.mkdtemp(prefix="scopewatch-postgres-"))
    os.chmod(where, 0o755)
    servers, bouncer = [], None
    try:
        who, files, strike = user(), where / "files", where / "strike"
        files.mkdir()
        strike.mkdir()
        certificates(files)
        main_server = Server(where / "one", who, files)
        servers.append(main_server)
        frail = Server(where / "frail", who)
        servers.append(frail)
        ask(main_server, "CREATE ROLE keyed LOGIN SUPERUSER PASSWORD 'right'")
        ask(main_server, "CREATE ROLE sealed LOGIN SUPERUSER")
        ask(main_server, "CREATE ROLE weak LOGIN")
        if os.geteuid() == 0:
            os.chown(where, who.pw_uid, who.pw_gid)
        bouncer, port = pooler(where, who, main_server)
        environment = dict(os.environ, SCOPEWATCH_POSTGRES=main_server.url(),
                           SCOPEWATCH_POSTGRES_POOLER=f"postgres://scopewatch@127.0.0.1:{port}/postgres?sslmode=disable",
                           SCOPEWATCH_POSTGRES_FRAIL=frail.url(), SCOPEWATCH_POSTGRES_STRIKE=str(strike),
                           SCOPEWATCH_POSTGRES_FILES=str(files))
        return attend(sys.argv[2:], environment, strike, frail)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 77
    finally:
        if bouncer:
            bouncer.kill()
            bouncer.wait()
        for server in servers:
            try:
                server.stop()
            except RuntimeError as error:
                print(error, file=sys.stderr)
        shutil.rmtree(where, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
