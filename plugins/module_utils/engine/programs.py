# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs and images are known, and what kind of service each makes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import commands
from .commands import base, django_command

PROXY, DATABASE, BROKER, JOB = "proxy", "database", "broker", "job"

#: Proxies that can be led from one container to another.
NGINX, CADDY, TRAEFIK = "nginx", "caddy", "traefik"

WEB = "web"

WORKER = "worker"

SCHEDULER = "scheduler"

OTHER = "other"


@dataclass(frozen=True)
class Judgement:
    """What kind of service one is, and what says so (``gunicorn``, ``image postgres``); empty where nothing does."""

    kind: str
    because: str = ""

    @property
    def understood(self) -> bool:
        """Whether anything says what it is."""
        return bool(self.because)

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody may wait for its answers, as nobody does for those of a dashboard or an exporter."""
        return not self.because or bool(set(re.split(r"[ _]", self.because)) & _WAITED_FOR)

    @property
    def front(self) -> str:
        """Which proxy it is whose configuration a person writes (``nginx``, ``caddy``, ``traefik``); empty for all others."""
        name = self.because.removeprefix("image ")
        return _FRONTS.get(name.split("-")[0], "") if name not in _GENERATED else ""

    @property
    def is_nginx(self) -> bool:
        """Whether it is an nginx whose configuration a person writes, and no program beside it."""
        return self.front == NGINX


_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    WEB: (
        *("gunicorn", "uvicorn", "daphne", "hypercorn", "uwsgi", "granian", "waitress-serve", "pserve", "circusd", "robyn"),
        *("streamlit", "chainlit", "gradio", "bokeh", "panel", "marimo", "voila", "mod_wsgi-express", "twistd"),
        *("next-server", "next", "nuxt", "nuxi", "nitro", "serve", "http-server", "pm2-runtime", "vite", "ng", "astro"),
        *("puma", "unicorn", "thin", "php-fpm", "frankenphp", "apache2-foreground", "imgproxy", "thumbor", "martin", "imaginary"),
        *("gotenberg", "pg_tileserv", "pg_featureserv", "postgrest", "hasura", "graphql-engine", "centrifugo", "soketi"),
    ),
    WORKER: (
        *("rqworker", "huey_consumer", "huey_consumer.py", "dramatiq", "arq", "sidekiq", "resque", "temporal-worker"),
        *("dramatiq-gevent", "remoulade", "saq", "streaq", "celeryd", "celery-worker", "celery_worker", "celery-cmd"),
    ),
    SCHEDULER: (
        *("rqscheduler", "rq-scheduler", "cron", "crond", "supercronic", "ofelia", "yacron", "go-crond", "celerybeat"),
        *("celery-beat", "celery_beat", "periodiq", "chadburn", "devcron", "tasker", "anacron", "fcron", "arq-scheduler"),
    ),
    DATABASE: (
        *("postgres", "mysqld", "mariadbd", "mongod", "minio", "clickhouse-server", "influxd", "influxdb3", "weed"),
        *("qdrant", "meilisearch", "typesense-server", "etcd", "weaviate", "milvus", "cockroach", "neo4j", "couchdb", "slapd"),
        *("mongos", "arangod", "rethinkdb", "surreal", "garage", "opensearch", "elasticsearch", "manticore", "searchd"),
    ),
    BROKER: (
        *("redis-server", "valkey-server", "rabbitmq-server", "memcached", "nats-server", "mosquitto", "keydb-server"),
        *("dragonfly", "beam.smp", "redis-sentinel", "nsqd", "emqx", "redpanda", "kvrocks", "garnet", "pulsar"),
    ),
    PROXY: (
        *("nginx", "openresty", "caddy", "traefik", "haproxy", "httpd", "apache2", "envoy", "nginx-debug", "angie"),
        *("httpd-foreground", "varnishd", "h2o", "lighttpd", "openlitespeed", "hitch", "oauth2-proxy", "sozu"),
    ),
    OTHER: (
        *("flower", "pgadmin4", "mailpit", "mailhog", "MailHog", "docker-gen", "pgbouncer", "pgcat", "certbot", "watchtower"),
        *("prometheus", "grafana", "grafana-server", "loki", "promtail", "node_exporter", "alertmanager", "otelcol", "vector"),
        *("fluent-bit", "fluentd", "filebeat", "cloudflared", "chromium", "chrome", "google-chrome", "redis-commander"),
        *("cadvisor", "jupyter", "jupyter-lab", "tail", "adminer", "phpmyadmin", "telegraf", "netdata", "tempo", "jaeger"),
    ),
}  # fmt: skip
_FRONTS = {**dict.fromkeys(("nginx", "openresty", "angie"), NGINX), "caddy": CADDY, "traefik": TRAEFIK}
#: Images in which something else writes the proxy's configuration anew whenever containers come and go.
_GENERATED = {"nginx-proxy", "nginx-proxy-manager", "caddy-docker-proxy"}
#: Of what is no part of an app those that it cannot do without for a moment.
_WAITED_FOR = {
    *("pgbouncer", "pgcat", "cloudflared", "tor", "browserless", "chrome", "chromium", "google-chrome", "selenium"),
    *("standalone-chrome", "headless-shell", "docker-socket-proxy", "socket-proxy", "docker-mailserver", "postfix", "smtp"),
    *("exim-relay", "tailscale", "wireguard", "clamav", "otelcol", "opentelemetry-collector", "otel", "vector"),
    *("fluent-bit", "fluentd", "logstash", "sentry", "glitchtip", "telegraf", "tail", "vault"),
}  # fmt: skip
_KIND_OF_PROGRAM = {name: kind for kind, names in _PROGRAMS.items() for name in names}

#: What the last part of an image's name begins with, up to a dash; a companion's word beside it makes it something else.
_IMAGES: Mapping[str, tuple[str, ...]] = {
    PROXY: (
        *("nginx", "openresty", "angie", "caddy", "traefik", "haproxy", "httpd", "envoy", "nginx-proxy", "https-portal"),
        *("swag", "jwilder/nginx-proxy", "caddy-docker-proxy", "nginx-proxy-manager", "varnish", "oauth2-proxy", "apache"),
        *("nginx-unprivileged", "nginx-certbot", "bunkerweb", "zoraxy", "kong"),
    ),
    DATABASE: (
        *("postgres", "postgresql", "postgis", "mysql", "mariadb", "timescaledb", "pgvector", "mongo", "mongodb", "percona"),
        *("elasticsearch", "opensearch", "solr", "meilisearch", "typesense", "minio", "clickhouse", "influxdb", "couchdb"),
        *("cassandra", "neo4j", "qdrant", "weaviate", "milvus", "cockroach", "etcd", "zookeeper", "vault", "seaweedfs"),
        *("questdb", "scylla", "openldap", "mssql", "garage", "arangodb", "rethinkdb", "surrealdb", "pgautoupgrade", "chroma"),
        *("dgraph", "manticore", "victoria-metrics", "ferretdb", "firebird", "timescaledb-ha", "pgroonga", "paradedb"),
    ),
    BROKER: (
        *("redis", "valkey", "rabbitmq", "memcached", "keydb", "nats", "kafka", "cp-kafka", "redpanda", "mosquitto"),
        *("eclipse-mosquitto", "dragonfly", "activemq", "emqx", "redis-stack", "nsq", "pulsar", "artemis", "hivemq"),
    ),
    SCHEDULER: ("ofelia", "supercronic", "yacron", "chadburn", "crontab", "docker-cron"),
    WEB: (
        *("imgproxy", "imaginary", "thumbor", "gotenberg", "martin", "pg_tileserv", "postgrest", "graphql-engine", "centrifugo", "soketi"),
        *("uvicorn-gunicorn-fastapi", "uvicorn-gunicorn", "uwsgi-nginx-flask", "uwsgi-nginx", "meinheld-gunicorn-flask"),
        *("uvicorn-gunicorn-starlette", "uwsgi-nginx-django", "meinheld-gunicorn", "keycloak", "geoserver", "metabase"),
        *("wordpress", "ghost", "kroki", "tileserver-gl", "onlyoffice", "collabora", "jitsi", "sorry-cypress", "superset"),
    ),
    OTHER: (
        *("pgadmin4", "adminer", "phpmyadmin", "mailpit", "mailhog", "maildev", "mailcatcher", "flower", "certbot"),
        *("grafana", "prometheus", "loki", "promtail", "tempo", "jaeger", "alertmanager", "cadvisor", "node-exporter", "vector"),
        *("watchtower", "autoheal", "portainer", "dozzle", "docker-gen", "acme-companion", "docker-socket-proxy", "pgbouncer"),
        *("letsencrypt-nginx-proxy-companion", "nginx-proxy-companion", "redisinsight", "redis-commander", "mongo-express"),
        *("cloudflared", "tor", "browserless", "chrome", "chromium", "selenium", "standalone-chrome", "headless-shell"),
        *("fluent-bit", "fluentd", "filebeat", "telegraf", "otel", "opentelemetry-collector", "kibana", "logstash", "netdata"),
        *("uptime-kuma", "docker-mailserver", "postfix", "bytebase", "pgweb", "kafdrop", "akhq", "sentry", "glitchtip"),
        *("socket-proxy", "restic", "borgmatic", "duplicati", "postgres-backup", "postgres-backup-s3", "tailscale", "wireguard"),
        *("clamav", "opensearch-dashboards", "cloudbeaver", "smtp", "exim-relay", "docker-autoheal", "volume-backup", "alloy"),
    ),
}  # fmt: skip
_KIND_OF_IMAGE = {name: kind for kind, names in _IMAGES.items() for name in names}
#: A word beside a store's or a proxy's that says that it only has to do with it.
_COMPANIONS = {
    *("exporter", "backup", "backups", "commander", "insight", "operator", "admin", "sentinel", "unit", "express"),
    *("dashboards", "head", "ui", "console", "companion", "manager", "tools", "client", "cli", "gen", "init"),
    *("renewer", "cron", "local"),
}  # fmt: skip

#: Programs that do what the word after them says.
_WITH_COMMAND = {
    "taskiq", "rq", "airflow", "temporal", "faust", "nameko", "procrastinate", "faststream", "flask", "fastapi",
}  # fmt: skip

SHELLS = {*commands.SHELLS, "busybox"}
_PYTHON = re.compile(r"^(python|pypy)[0-9.]*$")
#: Programs that run the one named after them.
_WRAPPERS = {
    *("exec", "env", "nice", "tini", "dumb-init", "gosu", "su-exec", "timeout", "ddtrace-run", "newrelic-admin"),
    *("run-program", "opentelemetry-instrument", "watchmedo", "auto-restart", "bundle", "npx", "stdbuf", "xvfb-run", "s6-setuidgid"),
    *("watchfiles", "poetry", "uv", "pipenv", "pdm", "hatch", "run", "docker-init", "catatonit", "chpst", "setpriv", "nohup", "doppler"),
}  # fmt: skip
_INSTALLERS = {
    "pip", "pip3", "apt", "apt-get", "apk", "npm", "yarn", "pnpm", "echo", "printf", "which", "command", "chown", "chmod",
}  # fmt: skip
_NODE = {"node", "nodejs", "deno", "bun", "ts-node", "tsx"}
_STARTS = re.compile(r"^(start|serve|preview)(:[\w:-]+)?$")
_JAVA = (("elasticsearch", DATABASE), ("opensearch", DATABASE), ("kafka.Kafka", BROKER), ("solr", DATABASE),
         ("cassandra", DATABASE), ("neo4j", DATABASE), ("zookeeper", DATABASE), ("keycloak", WEB))  # fmt: skip

_DJANGO = {
    **dict.fromkeys(("runserver", "runserver_plus", "runsslserver", "tailwind", "runmodwsgi", "rundaphne", "serve"), WEB),
    **dict.fromkeys(("qcluster", "process_tasks", "rqworker", "run_huey", "rundramatiq", "runworker", "djangohuey"), WORKER),
    **dict.fromkeys(("db_worker", "procrastinate", "run_worker", "work", "pgq_worker", "rqworker-pool"), WORKER),
    **dict.fromkeys(("rqscheduler", "runapscheduler", "celery_beat", "runjobs", "start_scheduler"), SCHEDULER),
}  # fmt: skip
#: What goes on for ever does the same again and again, by itself.
_SAYS_SCHEDULER = re.compile(
    r"(^|[^a-z])(scheduler|schedule|beat|celerybeat|(run-?)?crons?|clock|crontab|apscheduler|forever)(?![a-z])"
)
_SAYS_WORKER = re.compile(
    r"(^|[^a-z])(worker|workers|consumer|consumers|consume|celeryworker|celeryd|subscriber|listener|listen)(?![a-z])"
)


def _program(words: Sequence[str]) -> tuple[str, list[str]]:
    """The program that a command line runs in the end, and what it is given."""
    rest = list(words)
    if len(rest) == 1 and " " in rest[0]:
        # What a process calls itself: "nginx: master process …", "redis-server *:6379", "gunicorn: worker [shop]",
        # "[celeryd: celery@host:MainProcess] -active- (worker -B)".
        rest = re.sub(r"[\[\]()]", " ", rest[0]).split() or [""]
        rest[0] = rest[0].rstrip(":")
        rest[0] = "celery" if rest[0] == "celeryd" else rest[0]
    while rest:
        name = base(rest[0])
        if name.startswith("-"):
            rest = rest[1:]
        elif name in _WRAPPERS or (re.fullmatch(r"(docker-)?entrypoint(\.sh)?", name) and len(rest) > 1):
            rest = rest[1:]
            while rest and (rest[0].startswith("-") or re.match(r"^\w+=|^\d+[smh]?$", rest[0])):
                rest = rest[1:]
            if name in ("gosu", "su-exec", "s6-setuidgid", "chpst") and len(rest) > 1:
                rest = rest[1:]
        elif _PYTHON.match(name):
            rest = rest[1:]
            while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
                rest = rest[2 if rest[0] in ("-W", "-X") else 1 :]
            if rest[:1] == ["-c"]:
                return "", []
            rest = rest[1:] if rest[:1] == ["-m"] else rest
            if not rest:
                return "", []
            return rest[0] if "/" not in rest[0] else base(rest[0]), rest[1:]
        else:
            return name, rest[1:]
    return "", []


def program_kind(words: Sequence[str]) -> Judgement | None:
    """What kind of service a command line makes of its container; None where it says nothing.

    :param words: of one process, or of one simple command.
    """
    name, given = _program(words)
    if not name or name in SHELLS or name in _INSTALLERS:
        return _starts(name, given)
    plain = name.removesuffix(".py").removesuffix(".sh").removesuffix(".js")
    if plain in ("celery", "celery.__main__"):
        return _celery(given)
    if plain in _WITH_COMMAND:
        return _with_command(plain, given)
    if base(name) in ("manage.py", "django-admin", "django-admin.py", "manage", "django"):
        return _django(django_command([name, *given]) or next((w for w in given if not w.startswith("-")), ""))
    kind = _KIND_OF_PROGRAM.get(plain) or _KIND_OF_PROGRAM.get(name)
    if kind:
        return Judgement(kind, plain)
    if re.match(r"^php-fpm", plain):
        return Judgement(WEB, plain)
    if name == "java":
        return next((Judgement(kind, word) for word, kind in _JAVA if any(word in w for w in given)), None)
    if name in _NODE:
        return _node(given)
    if name.startswith("http.server"):
        return Judgement(WEB, name)
    return _by_name(plain, given)


def _starts(name: str, given: Sequence[str]) -> Judgement | None:
    """``npm start`` and its like serve."""
    words = [w for w in given if not w.startswith("-") and w != "run"]
    if name in ("npm", "yarn", "pnpm") and words and _STARTS.match(words[0]):
        return Judgement(WEB, f"{name} {words[0]}")
    return None


def _celery(given: Sequence[str]) -> Judgement | None:
    if "beat" in given or "--beat" in given or any(map(_has_beat, given)):
        return Judgement(SCHEDULER, "celery beat")
    if "worker" in given or "multi" in given:
        return Judgement(WORKER, "celery worker")
    return Judgement(OTHER, "celery flower") if "flower" in given else None


def _has_beat(word: str) -> bool:
    """Whether short options written as one word (``-Bl``, ``-EB``) have that of the scheduler in it.

    What follows an option that takes a value is its value: ``-nBlue`` is a name. Options: ``celery worker --help``.
    """
    return bool(re.match(r"-[DE]*B", word))


def _with_command(name: str, given: Sequence[str]) -> Judgement | None:
    words = [w for w in given if not w.startswith("-")]
    if name in ("flask", "fastapi"):
        return Judgement(WEB, f"{name} run") if {"run", "dev"} & set(words[:3]) else None
    if "scheduler" in words:
        return Judgement(SCHEDULER, f"{name} scheduler")
    if {"worker", "worker-pool", "run"} & set(words):
        return Judgement(WORKER, f"{name} worker")
    return Judgement(WEB, f"{name} {words[0]}") if words[:1] in (["webserver"], ["api-server"]) else None


def _django(command: str) -> Judgement | None:
    kind = _DJANGO.get(command)
    if kind:
        return Judgement(kind, f"manage.py {command}")
    return _by_name(command, [], "manage.py ") if command else None


def _node(given: Sequence[str]) -> Judgement | None:
    script = next((w for w in given if not w.startswith("-")), "")
    if not script:
        return None
    known = _KIND_OF_PROGRAM.get(base(script))
    if known:
        return Judgement(known, base(script))
    named = _by_name(script.removesuffix(".js"), [])
    if named:
        return named
    serves = re.search(r"(server|index|main|app|www|start)(\.[cm]?js|\.ts)?$", script)
    return Judgement(WEB, f"node {base(script)}") if serves else None


def _by_name(name: str, given: Sequence[str], before: str = "") -> Judgement | None:
    """By the words that people call such programs by; the program's own, else the first that it is given."""
    argument = next((w for w in given[:1] if re.fullmatch(r"[A-Za-z_-]+", w)), "")
    for text in (name, argument):
        for pattern, kind in ((_SAYS_SCHEDULER, SCHEDULER), (_SAYS_WORKER, WORKER)):
            if pattern.search(re.sub(r"[_.]", "-", text.lower())):
                return Judgement(kind, f"{before}{name} {argument}".strip())
    return None


def image_kind(image: str) -> Judgement | None:
    """What kind of service an image is by its name alone (``postgres:16``, ``bitnami/redis``); None where it says nothing."""
    path = re.sub(r"(:[^:/]+)?(@.*)?$", "", image)
    last = path.rsplit("/", 1)[-1].lower()
    words = re.split(r"[-_]", last)
    if last in _KIND_OF_IMAGE:
        return Judgement(_KIND_OF_IMAGE[last], f"image {last}")
    for length in range(len(words), 0, -1):
        name = "-".join(words[:length])
        kind = _KIND_OF_IMAGE.get(name)
        if kind:
            beside = _COMPANIONS & set(words)
            return Judgement(OTHER if beside else kind, f"image {last}")
    if _COMPANIONS & set(words) and any(word in _KIND_OF_IMAGE for word in words):
        return Judgement(OTHER, f"image {last}")
    if words[-1] in ("exporter", "backup"):
        return Judgement(OTHER, f"image {last}")
    return None
