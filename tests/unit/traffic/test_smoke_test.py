# SPDX-License-Identifier: GPL-3.0-or-later
"""A site that is asked by its name: of this server, with TLS, over redirects, by what nginx calls it, and for how long."""

from __future__ import annotations

import base64
import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import Probe
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import site_connection, smoke_test
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.site_connection import Names
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.smoke_test import ask_site, wrong
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.site_url import SiteUrl, parse

NAME = "api.shop.test"


@dataclass
class Server:
    """A server on 127.0.0.1, what it answers by path, and what it was asked: SNI (TLS alone), Host, path, credentials."""

    port: int = 0
    tls: bool = False
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    only: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    authorization: list[str] = field(default_factory=list)
    greeted: list[str | None] = field(default_factory=list)

    def url(self, path: str = "/health/", host: str = NAME) -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"


Started = Callable[..., Server]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Certificates that nobody has signed: one file with certificate and key for names and days."""
    folder = tmp_path_factory.mktemp("certificates")

    def made(name: str, days: int = 2) -> Path:
        path = folder / f"{name.replace('*', 'any')}{days}.pem"
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            now = datetime.datetime.now(datetime.timezone.utc)
            # Signed by an authority that nobody knows, not by itself: OpenSSL takes the two on different ways.
            issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
            certificate = (
                x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
                .serial_number(7).not_valid_before(now - datetime.timedelta(9)).not_valid_after(now + datetime.timedelta(days))
                .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
                .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
            )  # fmt: skip
            plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            path.write_bytes(certificate.public_bytes(plain[0]) + key.private_bytes(*plain))
        return path

    return made


@pytest.fixture
def start(certificates: Callable[..., Path]) -> Iterator[Started]:
    running: list[ThreadingHTTPServer] = []

    def started(
        certificate: str = "", days: int = 2, answers: dict[str, tuple[int, str]] | None = None, only: str = "",
        address: str = "127.0.0.1",
    ) -> Server:  # fmt: skip
        made = Server(tls=bool(certificate), answers=answers or {"/health/": (200, "")}, only=only)

        class Site(BaseHTTPRequestHandler):
            def handle(self) -> None:
                # Whoever refuses the certificate says so where the server reads its first bytes.
                with contextlib.suppress(ssl.SSLError):
                    super().handle()

            def do_GET(self) -> None:
                host = self.headers.get("Host", "")
                made.asked.append((self.command, host, self.path))
                made.authorization.append(self.headers.get("Authorization", ""))
                status, location = made.answers.get(self.path, (404, ""))
                if made.only and host.partition(":")[0] != made.only:
                    status, location = 400, ""
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else b"well")

            do_POST = do_HEAD = do_GET

            def log_message(self, *_args: Any) -> None:
                """Tests print nothing."""

        server = ThreadingHTTPServer((address, 0), Site)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates(certificate, days))
            context.sni_callback = lambda _sock, name, _context: made.greeted.append(name)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        made.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        return made

    yield started
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What DNS knows: nothing but what a test says."""
    known: dict[str, list[str]] = {}
    monkeypatch.setattr(Names, "addresses", lambda _self, name: known.get(name, []))
    return known


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(smoke_test.time, "sleep", slept.append)
    return slept


def in_nginx(monkeypatch: pytest.MonkeyPatch, *urls: str) -> list[tuple[str, str]]:
    """Let nginx's configuration say that users ask by these."""
    looked: list[tuple[str, str]] = []

    def known(project: str, target: str) -> Sequence[SiteUrl]:
        looked.append((project, target))
        return [parse(url) for url in urls]

    monkeypatch.setattr(smoke_test, "public_addresses", known)
    return looked


def nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_name_is_asked_of_this_server_with_its_certificate_name(start: Started) -> None:
    site = start(NAME)
    assert ask_site(site.url(), ()) == smoke_test.Asked()
    assert site.asked == [("GET", f"{NAME}:{site.port}", "/health/")]
    assert set(site.greeted) == {NAME}


def test_the_usual_port_is_not_in_the_host_header() -> None:
    assert parse("https://API.shop.test/health/?deep=1#x").headers == {"Host": NAME}
    assert parse("http://[::1]:8080/").headers == {"Host": "[::1]:8080"}


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_where_127_0_0_1_refuses_the_address_is_asked_at_which_somebody_listens(start: Started, address: str) -> None:
    if ":" in address and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        site = start(address=address) if ":" not in address else _six(start)
    except OSError:
        pytest.skip("no IPv6 here")
    assert wrong(site.url(), ()) == wrong(site.url(host="127.0.0.1"), ()) == ""
    assert [host for _method, host, _path in site.asked] == [f"{NAME}:{site.port}", f"127.0.0.1:{site.port}"]


def _six(start: Started) -> Server:
    before = ThreadingHTTPServer.address_family
    ThreadingHTTPServer.address_family = socket.AF_INET6
    try:
        return start(address="::1")
    finally:
        ThreadingHTTPServer.address_family = before


@pytest.mark.parametrize(
    ("certificate", "days", "host", "what"),
    [
        (NAME, 2, NAME, ""),
        ("*.shop.test", 2, NAME, ""),
        # Users ask by a name; an address is of the person who wrote the URL.
        (NAME, 2, "127.0.0.1", ""),
        (NAME, 2, "localhost", ""),
        ("other.test", 2, NAME, f"is for other.test, not for {NAME}"),
        ("*.shop.test", 2, "a.api.shop.test", "is for *.shop.test, not for a.api.shop.test"),
        (NAME, -1, NAME, "certificate has expired"),
        (NAME, -1, "127.0.0.1", "certificate has expired"),
    ],
)  # fmt: skip
def test_of_this_servers_certificate_name_and_dates_count_and_not_who_signed_it(
    start: Started, pauses: list[float], certificate: str, days: int, host: str, what: str
) -> None:
    site = start(certificate, days)
    said = wrong(site.url(host=host), ())
    assert what in said if what else said == ""
    assert not pauses, "waiting does not heal a certificate"
    assert len(site.asked) == (0 if what else 1)


def test_out_in_the_world_the_whole_chain_has_to_be_right(
    start: Started, pauses: list[float], world: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = start(NAME)
    world[NAME] = ["127.0.0.1"]
    monkeypatch.setattr(site_connection, "ends_here", lambda _sock: False)
    said = wrong(site.url(), ())
    assert f"the certificate of {NAME} at 127.0.0.1 is not good: unable to get local issuer certificate" in said
    assert site.asked == [] and not pauses


def test_what_dns_says_is_asked_last_and_told(start: Started, world: dict[str, list[str]]) -> None:
    # Something of this machine that is not of loopback stands for a load balancer.
    site = start(address=_own_address())
    world[NAME] = [_own_address()]
    assert ask_site(site.url(), ()) == smoke_test.Asked(), "this server listens there"


def test_a_question_to_the_world_is_noted(
    start: Started, world: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = start()
    world[NAME] = ["127.0.0.1"]
    monkeypatch.setattr(site_connection, "ends_here", lambda _sock: False)
    (note,) = ask_site(site.url(), (Probe("/health/"),)).notes
    assert note == f"nothing listens on port {site.port} of this server: {NAME} was asked at 127.0.0.1, as DNS says"


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address of its own")
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("host", ["127.0.0.1", NAME])
def test_a_redirect_to_https_stays_at_this_server(start: Started, host: str) -> None:
    secure = start(NAME)
    plain = start(answers={"/health/": (301, secure.url(host=host))})
    assert wrong(plain.url(host="127.0.0.1"), ()) == ""
    assert secure.asked == [("GET", f"{host}:{secure.port}", "/health/")]
    assert wrong(plain.url(), (), tries=1) == ""


def test_a_redirect_back_to_plain_and_one_by_path_are_followed(start: Started) -> None:
    plain = start(answers={"/health/": (200, ""), "/old": (308, "/health/")})
    secure = start(NAME, answers={"/health/": (302, plain.url())})
    assert wrong(secure.url(), (Probe("/health/", method="POST"),)) == ""
    assert wrong(plain.url(), (Probe("/old", method="POST"), Probe("/old", status=308))) == ""
    assert [method for method, _host, _path in plain.asked] == ["GET", "GET", "GET", "POST", "POST", "GET"]


def test_a_redirect_to_where_nothing_listens_is_named_and_not_waited_for(start: Started, pauses: list[float]) -> None:
    port = nobody()
    plain = start(answers={"/health/": (301, f"https://127.0.0.1:{port}/health/")})
    said = wrong(plain.url(host="127.0.0.1"), ())
    assert said == (
        f"GET http://127.0.0.1:{plain.port}/health/, redirected to https://127.0.0.1:{port}/health/, was not answered: nothing "
        f"listens on port {port} of this server: the redirect of http://127.0.0.1:{plain.port}/health/ leads there (write the "
        "name that users ask by, such as app_health_url: https://www.example.com/health/)"
    )
    assert not pauses


def test_a_redirect_to_another_company_is_followed_there(start: Started, world: dict[str, list[str]]) -> None:
    site, login = start(), start(address=_own_address())
    site.answers["/private"] = (302, login.url("/health/", host="login.other.test"))
    # Whatever listens on that port of loopback is not what is meant.
    world.update({NAME: ["192.0.2.1"], "login.other.test": [_own_address()]})
    assert wrong(site.url(), (Probe("/private"),)) == ""
    assert len(login.asked) == 1
    world["login.other.test"] = ["192.0.2.1"]
    assert wrong(site.url(), (Probe("/private"),)) == "", "another name of the same server"


def test_redirects_that_never_end(start: Started, pauses: list[float]) -> None:
    site = start(answers={"/health/": (302, "/health/"), "/bad": (302, "gopher://x/")})
    assert "is redirected for ever" in wrong(site.url(), ())
    assert "gopher://x/ is no address of a site" in wrong(site.url("/bad"), ())
    assert not pauses


def test_a_strict_server_is_asked_by_the_name_that_nginx_has(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    site = start(NAME, only=NAME)
    looked = in_nginx(monkeypatch, site.url())
    asked = ask_site(site.url(host="127.0.0.1"), (Probe("/health/", contains="well"),), project="shop")
    assert asked.problem == ""
    (note,) = asked.notes
    assert note == (
        f"GET https://127.0.0.1:{site.port}/health/ answered 400; by its server_name in nginx, {site.url()} answers as it should; "
        f"app_health_url: {site.url()} asks that at once"
    )
    assert looked == [("shop", "/health/")]
    hosts = [host.partition(":")[0] for _method, host, _path in site.asked]
    assert hosts == ["127.0.0.1", NAME, NAME]


def test_of_several_names_none_is_chosen_and_all_are_told(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    site = start(only=NAME)
    in_nginx(monkeypatch, site.url(), site.url(host="admin.shop.test"))
    said = wrong(site.url(host="127.0.0.1"), ())
    assert said == (
        f"GET http://127.0.0.1:{site.port}/health/ answered 400 (by its server_name in nginx it is "
        f"app_health_url: {site.url()} or app_health_url: {site.url(host='admin.shop.test')})"
    )
    assert len(site.asked) == 1


def test_a_name_that_somebody_wrote_is_never_exchanged(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    site = start(only=NAME)
    in_nginx(monkeypatch, site.url())
    assert f"app_health_url: {site.url()})" in wrong(site.url(host="wrong.test"), ())
    assert [host for _m, host, _p in site.asked] == [f"wrong.test:{site.port}"]


def test_what_is_wrong_by_every_name_is_told_of_both(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    site = start(only=NAME, answers={"/health/": (503, "")})
    in_nginx(monkeypatch, site.url())
    said = wrong(site.url(host="127.0.0.1"), (), pause=0)
    assert said == (
        f"GET http://127.0.0.1:{site.port}/health/ answered 400; by its server_name in nginx, GET {site.url()} answered 503"
    )


@pytest.mark.parametrize(
    ("status", "asked"),
    [(400, 1), (401, 1), (403, 1), (404, 3), (410, 1), (421, 1), (501, 1), (408, 5), (429, 5), (500, 5), (502, 5), (503, 5), (504, 5)],
)  # fmt: skip
def test_only_what_waiting_can_heal_is_asked_again(
    start: Started, pauses: list[float], status: int, asked: int
) -> None:
    site = start(answers={"/health/": (status, "")})
    assert f"answered {status}" in wrong(site.url(host="127.0.0.1"), ())
    assert (len(site.asked), len(pauses)) == (asked, asked - 1)


def test_a_server_that_starts_late_is_waited_for(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    site = start()
    others = [nobody(), site.port]
    real = smoke_test.SiteConnection
    monkeypatch.setattr(
        smoke_test, "SiteConnection",
        lambda url, names, away: real(SiteUrl(url.scheme, url.host, others.pop(0), url.target), names, away),
    )  # fmt: skip
    assert wrong(site.url(), (), pause=0) == ""
    assert len(site.asked) == 1


def test_no_secret_of_an_address_is_told(start: Started) -> None:
    site = start(answers={})
    url = f"http://watch:s3cr3t-word@{NAME}:{site.port}/health/?token=tell-nobody&deep=1"
    said = wrong(url, ())
    assert said == f"GET http://{NAME}:{site.port}/health/?token=…&deep=1 answered 404"
    assert site.asked[0][2] == "/health/?token=tell-nobody&deep=1"
    assert base64.b64decode(site.authorization[0].partition(" ")[2]) == b"watch:s3cr3t-word"
    for text in (
        "watch:s3cr3t-word@shop.test/",
        "ftp://watch:s3cr3t-word@shop.test/",
        "http://me:s3cr3t/word@shop.test/",
    ):
        assert "s3cr3t" not in wrong(text, ()) and "no address of a site" in wrong(text, ()), text


def test_user_and_password_go_to_their_own_host_alone(start: Started) -> None:
    other = start()
    site = start(answers={"/health/": (302, "/here"), "/here": (302, other.url(host="other.test"))})
    assert wrong(site.url().replace("http://", "http://me:word@"), ()) == ""
    assert all(site.authorization) and other.authorization == [""]


def test_tls_at_a_plain_port_says_so_at_once(start: Started, pauses: list[float]) -> None:
    site = start()
    assert "speaks no TLS: write http:// in its place" in wrong(site.url().replace("http://", "https://"), ())
    assert not pauses
