# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which variables of role ``app`` describe a Compose project, and what nobody but a person can say of it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine.programs import DATABASE, OTHER, WEB
from ..nginx.config import Route
from ..traffic.unroutable import Around, why_unled
from .health_url import addresses

#: What role ``app`` takes without a word.
_USUAL = {"app_compose_files": ["docker-compose.prod.yml"], "app_django_service": "api", "app_manage_py": "manage.py"}


@dataclass(frozen=True)
class Service:
    """What is known of one service.

    :ivar because: what says that it is of this ``kind``; empty where nothing does.
    :ivar routes: those of the project's nginx that lead to it.
    :ivar manage_py: path of ``manage.py`` in its container, relative to its working directory; empty where none was seen.
    :ivar started_as_django: whether its commands or variables are those of Django; ``wsgi``: by its module for WSGI.
    :ivar recipe: what its image comes from; services with the same one have the same code.
    :ivar asks: the services that its environment names.
    :ivar checked: paths that its health check asks.
    :ivar own: whether it is built from the repository.
    :ivar published: port of the container → port of the server, of those that others can reach.
    """

    name: str
    kind: str
    because: str = ""
    routes: tuple[Route, ...] = ()
    manage_py: str = ""
    started_as_django: bool = False
    wsgi: bool = False
    recipe: str = ""
    asks: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    own: bool = False
    published: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_postgres(self) -> bool:
        """Whether it is a PostgreSQL, of whichever maker."""
        return self.kind == DATABASE and any(word in self.because for word in ("postg", "timescale", "pgvector"))


@dataclass(frozen=True)
class Repository:
    """The checkout that the Compose files lie in.

    :ivar top: its folder; ``remote`` is where it comes from, without credentials, ``had_credentials`` whether it had any.
    :ivar branch: what is checked out, empty for a commit alone.
    """

    top: str
    remote: str = ""
    branch: str = ""
    had_credentials: bool = False


@dataclass(frozen=True)
class Seen:
    """A Compose project as it was found.

    :ivar folder: Compose's project folder; ``files`` are absolute.
    :ivar env_file: name of the environment file in it that Compose reads, empty where there is none.
    :ivar owner: whose the folder is.
    :ivar running: whether containers of it run here.
    :ivar around: its proxies; ``edge``: routes of the nginx that leads to the one that leads to services, where there are two.
    :ivar ports: those of the outer nginx, see :class:`Service`; None for an nginx of the server itself.
    :ivar health_paths: from the app's own code, the likeliest first.
    :ivar unread: what could not be looked at, and why.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    services: tuple[Service, ...]
    env_file: str = ""
    owner: str = ""
    running: bool = False
    around: Around = field(default_factory=Around)
    edge: tuple[Route, ...] = ()
    ports: Mapping[int, int] | None = field(default_factory=dict)
    repository: Repository | None = None
    health_paths: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variable:
    """One line of the variables' file: ``sure`` is False for what a person has to look at."""

    name: str
    value: Any
    why: str
    sure: bool = True


@dataclass(frozen=True)
class Description:
    """What there is to write, and to say.

    :ivar questions: what only a person knows; ``problems``: what an update would refuse, each with the way out.
    """

    variables: tuple[Variable, ...]
    questions: tuple[str, ...]
    problems: tuple[str, ...]


def django_service(services: Sequence[Service]) -> Service | None:
    """The service to ask for Django's migrations and checks; None where nothing of the project is Django's."""
    images = {s.recipe for s in services if s.started_as_django} or {s.recipe for s in services if s.manage_py}
    able = [s for s in services if s.recipe in images]
    # Of one image the service that users come to: it is also the one that answers what a new version is proven by.
    return min(able, key=lambda s: (not s.routes, s.kind != WEB, not s.started_as_django, not s.wsgi), default=None)


def site_addresses(seen: Seen) -> list[str]:
    """The URLs that may say whether the app is well, the likeliest first."""
    django = django_service(seen.services)
    webs = [s for s in seen.services if s.kind == WEB and s.routes]
    found: list[str] = []
    # Another one, such as that for websockets, may answer while the app does not.
    for web in [s for s in webs if s is django] or webs:
        paths = [*web.checked, *(seen.health_paths if web is django else ())]
        found += addresses(seen.edge or web.routes, seen.ports, paths)
    return list(dict.fromkeys(found))


def describe(seen: Seen, answering: str, asked: bool) -> Description:
    """The variables of a project.

    :param answering: the URL that answered 200, empty where none did or none was asked.
    :param asked: whether they were asked.
    """
    django = django_service(seen.services)
    variables = [
        Variable("app_name", seen.name, "the Compose project" + (" that runs" if seen.running else "")),
        _root(seen),
        _repo(seen),
        *([Variable("app_owner", seen.owner, f"owner of {seen.folder}")] if seen.owner not in ("", "root") else []),
        Variable("app_compose_files", [posixpath.relpath(f, _top(seen)) for f in seen.files], "as it is started now"),
        *_env_file(seen),
        *_django(django),
        *_database(seen, django),
        *_health(seen, answering, asked),
    ]
    variables = [v for v in variables if v.value != _USUAL.get(v.name)]
    return Description(
        tuple(variables), tuple(_questions(seen, asked and not answering)), tuple(_problems(seen, django))
    )


def _top(seen: Seen) -> str:
    return seen.repository.top if seen.repository else seen.folder


def _root(seen: Seen) -> Variable:
    usual, folder = f"/srv/{seen.name}", seen.folder
    if usual != folder and not usual.startswith(f"{folder}/"):
        return Variable("app_root", usual, "releases will be here")
    return Variable("app_root", f"/srv/evenkeel/{seen.name}", f"releases will be here, beside {folder}, which stays")


def _repo(seen: Seen) -> Variable:
    found = seen.repository
    if found and found.remote:
        return Variable("app_repo", found.remote, "git remote origin", not found.had_credentials)
    why = "a checkout without a remote" if found else "no git: updates take what lies here"
    return Variable("app_repo", _top(seen), why, bool(found))


def _env_file(seen: Seen) -> list[Variable]:
    if seen.env_file == ".env":
        return []
    why = "the server's own environment" if seen.env_file else "the folder has no .env"
    return [Variable("app_env_file", seen.env_file, why)]


def _django(django: Service | None) -> list[Variable]:
    if django is None:
        return []
    if not django.manage_py:
        why = "it is started as Django is, but its manage.py was not seen; see app_manage_py"
        return [Variable("app_django_service", django.name, why, False)]
    found = [Variable("app_django_service", django.name, "its image has manage.py")]
    return [*found, Variable("app_manage_py", django.manage_py, "from the image's working directory")]


def _database(seen: Seen, django: Service | None) -> list[Variable]:
    databases = [s for s in seen.services if s.kind == DATABASE]
    postgres = [s for s in databases if s.is_postgres]
    if len(databases) < 2 or not postgres:
        return []
    named = [s for s in postgres if django and s.name in django.asks] or postgres
    why = f"the PostgreSQL that {django.name} is given" if django and len(named) == 1 else "of several, the first"
    return [Variable("app_database_service", named[0].name, why, len(named) == 1)]


def _health(seen: Seen, answering: str, asked: bool) -> list[Variable]:
    if answering:
        return [Variable("app_health_url", answering, "answers 200")]
    likely = [] if asked else site_addresses(seen)[:1]
    return [Variable("app_health_url", url, "by nginx's configuration; nobody has asked it", False) for url in likely]


def _questions(seen: Seen, unanswered: bool) -> list[str]:
    found = list(seen.unread)
    if seen.repository and seen.repository.had_credentials:
        found.append(
            "app_repo: the remote has a password or token, which is not written; give the owner a deploy key, or put the "
            "address into a vault"
        )
    if unanswered:
        tried = site_addresses(seen)
        found.append(
            f"app_health_url: none of {', '.join(tried[:4])} answered 200; write a URL that does"
            if tried
            else "app_health_url: write a URL of the site that answers 200 if the app is well"
        )
    unknown = [s.name for s in seen.services if s.own and s.kind == OTHER and not s.because]
    for name in unknown:
        found.append(
            f"app_services: what {name} does is not known, so it is replaced as kind other; is it a worker, a scheduler "
            f"(never two at once), or a job? app_services: {{{name}: {{kind: worker}}}}"
        )
    return found


def _problems(seen: Seen, django: Service | None) -> list[str]:
    found = []
    if django is None:
        found.append("no service of Django was found; name the one whose image has manage.py: app_django_service")
    for web in (s for s in seen.services if s.kind == WEB and not s.routes):
        why, way = why_unled(web.name, seen.around)
        port = ", ".join(map(str, web.published.values()))
        if port and not (seen.around.proxy or seen.around.strangers or seen.around.down):
            # Its port is handed over.
            continue
        found.append(f"{web.name}: {why}; {way}")
    if seen.repository and posixpath.relpath(seen.folder, seen.repository.top) != ".":
        inside = posixpath.relpath(seen.folder, seen.repository.top)
        found.append(
            f"the Compose file lies in {inside}/ of its repository, and releases are started from the repository's top; move it "
            f"there, with its relative paths (./ becomes ./{inside}/)"
        )
    return found
