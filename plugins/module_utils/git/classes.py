# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kind of change a changed file is, by its path and, where that does not tell, its content."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from .changes import Change, is_asset, is_compose_file, is_migration, is_recipe, names_packages

DOCS, STATIC, TEMPLATE, FRONTEND, CODE = "docs", "static", "template", "frontend", "code"
NGINX, ENVIRONMENT, MIGRATION = "nginx", "environment", "migration"
DEPENDENCY, BUILD, COMPOSE, UNKNOWN = "dependency", "build", "compose", "unknown"
#: The weakest first: of one that is not known the strongest is assumed.
CLASSES = (
    DOCS, STATIC, TEMPLATE, FRONTEND, CODE, NGINX, ENVIRONMENT, MIGRATION, DEPENDENCY, BUILD, COMPOSE, UNKNOWN,
)  # fmt: skip
#: The weakest strategy that is surely enough, by names of ``update_strategy``: nothing, nginx alone, new containers.
NONE, RELOAD, ROLLING = "none", "reload", "rolling"

_Content = Callable[[str], "str | None"]
# An example is for people; what has this name before or after it is read by a server.
_EXAMPLE = re.compile(r"(?:^|[._-])(?:example|sample|template|dist|tpl)(?:[._-]|$)", re.I)
_EXAMPLE_FILE = re.compile(r".+\.(?:example|sample|dist)", re.I)
_ENV_FILE = re.compile(r"\.env(?:rc)?(?:\..+)?|.+\.env", re.I)
_ENV_FOLDERS = {".env", ".envs"}
# What only people, linters, editors, test runners and CI read, wherever it lies.
_ASIDE_NAME = re.compile(
    r"README.*|CHANGELOG.*|CHANGES(?:\..*)?|HISTORY(?:\..*)?|LICEN[CS]E.*|COPYING.*|NOTICE.*|AUTHORS.*|CONTRIBUTORS.*|CONTRIBUTING.*"
    r"|CODE_OF_CONDUCT.*|SECURITY\.md|SUPPORT\.md|CODEOWNERS|CITATION.*|\.gitignore|\.gitkeep|\.git-blame-ignore-revs|\.mailmap"
    r"|\.editorconfig|\.pre-commit-config\.ya?ml|\.flake8|\.pylintrc|\.coveragerc|codecov\.yml|\.codecov\.yml|\.pyup\.yml"
    r"|\.gitlab-ci\.yml|\.travis\.yml|appveyor\.yml|bitbucket-pipelines\.yml|azure-pipelines\.yml|Jenkinsfile|renovate\.json5?"
    r"|pytest\.ini|tox\.ini|noxfile\.py|mypy\.ini|ruff\.toml|\.ruff\.toml|\.isort\.cfg|\.readthedocs\.ya?ml|mkdocs\.ya?ml"
    r"|\.prettierrc.*|\.prettierignore|\.eslintrc.*|\.eslintignore|eslint\.config\.[cm]?[jt]s|\.stylelintrc.*|\.stylelintignore"
    r"|\.djlintrc|\.yamllint|\.hadolint\.ya?ml|\.markdown-?lint.*|\.ecrc|stylelint\.config\..*|AGENTS\.md|CLAUDE\.md"
    r"|\.shellcheckrc|\.cspell\.json|crowdin\.yml|\.tx/config",
)
_ASIDE_TOPS = {
    ".github", ".gitlab", ".circleci", ".vscode", ".idea", ".devcontainer", ".tx", ".cursor", ".husky", ".agents", ".claude",
    "changelogs",
}  # fmt: skip
_DOCS_TOPS = {"docs", "doc", "documentation"}
_PROSE = re.compile(r".*\.(?:md|rst|txt|adoc|puml|drawio|svg|png|jpe?g|gif|webp|css|toml|ya?ml)", re.I)
# What Django itself reads of an app, which may be called tests or docs.
_OF_DJANGO = {"templates", "static", "templatetags", "management", "locale", "migrations"}
_MODULE_OF_APP = re.compile(
    r"(?:models|views|urls|admin|apps|forms|tasks|serializers|signals|managers|api|consumers|middleware|routing|context_processors)\.py"
)
_TEST_FOLDERS = {"tests", "test", "testing", "__tests__", "e2e", "cypress"}
_TEST_NAME = re.compile(
    r"(?:test_.*|.*_tests?|tests?|conftest)\.py|.*\.(?:test|spec)\.[cm]?[jt]sx?|(?:cypress|jest|vitest|playwright)\.config\..*"
)
_BUILD_NAME = re.compile(
    r"Makefile|GNUmakefile|justfile|Procfile|.*\.sh|.*\.bash|(?:docker-)?entrypoint(?:\..*)?|uwsgi.*\.ini|supervisord?.*\.(?:conf|ini)"
    r"|circus\.ini|docker-bake\.hcl|app\.json|runtime\.txt|Aptfile|apt\.txt|packages\.txt|start|run|wait-for-it",
    re.I,
)
_VERSION_NAME = re.compile(r"\.(?:python|node|ruby|tool)-versions?|MANIFEST\.in|pip\.conf", re.I)
_TEMPLATE_FOLDERS = {"templates", "jinja2", "jinja"}
_STATIC_FOLDERS = {"static", "staticfiles", "public", "assets"}
_FRONTEND_TOPS = {"frontend", "front-end", "client", "webapp", "ui", "src-ui", "web-ui", "spa"}
_FRONTEND_END = re.compile(r".*\.(?:tsx?|jsx|mts|cts|vue|svelte|astro|s[ac]ss|less|styl|coffee|elm)", re.I)
_FRONTEND_NAME = re.compile(
    r"(?:vite|webpack|rollup|tailwind|postcss|babel|next|nuxt|svelte|vue|angular|gulp|grunt|craco|esbuild)(?:file)?(?:[.-].*)?"
    r"\.(?:[cm]?[jt]s|json)"
    r"|[tj]sconfig.*\.json|\.babelrc.*|\.browserslistrc|angular\.json|Gruntfile\.js|gulpfile\.js|\.swcrc|.*\.xlf",
    re.I,
)
_SCRIPT_OR_STYLE = re.compile(r".*\.(?:[cm]?js|css|map|html?|json|wasm|xml|webmanifest|txt)", re.I)
_DATA = re.compile(
    r".*\.(?:pyi?|po|mo|pot|json|ya?ml|toml|ini|cfg|conf|sql|graphqls?|csv|tsv|xml|xslt?|xsd|txt|md|rst|proto|geojson|mmdb|pem|crt|jsonl"
    r"|tex|ftl|properties|lua|mjml|ics)",
    re.I,
)
_MARKUP = re.compile(r".*\.(?:html?|djhtml|jinja2?|j2|mjml)", re.I)
_NGINX_FILE = re.compile(r".*\.(?:conf|template|tmpl|j2|conf\..*|include|inc)|nginx[^.]*|mime\.types|.*_params", re.I)
_NGINX_CONTENT = re.compile(r"^\s*(?:server|upstream|http|location\s\S.*)\s*\{|^\s*upstream\s+\S+\s*\{", re.M)


def class_of(change: Change, compose_files: Collection[str] = (), content: _Content = lambda _path: None) -> str:
    """The class of one changed file.

    :param compose_files: the app's own, whatever they are called.
    :param content: the text of a file after the change, else before it; None where it is not known or no text.
    """
    if not change.is_plain:
        return UNKNOWN
    path = change.path
    *folders, name = path.split("/")
    if path in compose_files:
        return COMPOSE
    if (folders and folders[0] in _ASIDE_TOPS) or _EXAMPLE_FILE.fullmatch(name):
        return DOCS
    if is_compose_file(path):
        return COMPOSE
    # The folder itself is code, as an app's first file in it is.
    if is_migration(path):
        return CODE if name == "__init__.py" else MIGRATION
    if is_recipe(path):
        return BUILD
    if names_packages(path) or _VERSION_NAME.fullmatch(name):
        return DEPENDENCY
    if _ENV_FILE.fullmatch(name) or _ENV_FOLDERS & set(folders):
        return DOCS if _EXAMPLE.search(name) or _EXAMPLE.search("/".join(folders)) else ENVIRONMENT
    return (
        _aside(path, folders, name) or _of_server(path, folders, name, content) or _of_app(path, folders, name, content)
    )


def _aside(path: str, folders: Sequence[str], name: str) -> str:
    """Whether nothing in production reads it; only where its place leaves no doubt."""
    top = folders[0] if folders else ""
    # An app may be called docs or tests as well.
    if _OF_DJANGO & set(folders):
        return DOCS if _TEST_NAME.fullmatch(name) else ""
    if _ASIDE_NAME.fullmatch(name):
        return DOCS
    # Prose at the top is about the repository; in a package it may be what the app shows.
    if not folders and re.fullmatch(r".*\.(?:md|rst|adoc)", name, re.I):
        return DOCS
    if top in _DOCS_TOPS and (
        _PROSE.fullmatch(name) or posixpath.basename(path) in ("conf.py", "Makefile", "make.bat")
    ):
        return DOCS
    if _TEST_FOLDERS & set(folders) and not _MODULE_OF_APP.fullmatch(name):
        return DOCS
    return DOCS if _TEST_NAME.fullmatch(name) else ""


def _of_server(path: str, folders: Sequence[str], name: str, content: _Content) -> str:
    """How the app is served or started."""
    near_nginx = any("nginx" in part.lower() for part in [*folders, name])
    if near_nginx and _NGINX_FILE.fullmatch(name):
        return NGINX
    if "nginx" in name.lower() and not name.endswith(".py"):
        # NGINX Unit, an exporter, a page about it: no configuration of nginx.
        return UNKNOWN
    if name.endswith((".conf", ".template")) and _NGINX_CONTENT.search(content(path) or ""):
        return NGINX
    return BUILD if _BUILD_NAME.fullmatch(name) else ""


def _of_app(path: str, folders: Sequence[str], name: str, content: _Content) -> str:
    """What the app is made of."""
    if name.endswith((".py", ".pyi", ".po", ".mo")):
        return CODE
    if _TEMPLATE_FOLDERS & set(folders):
        return TEMPLATE
    if _FRONTEND_END.fullmatch(name) or _FRONTEND_NAME.fullmatch(name):
        return FRONTEND
    if folders and folders[0] in _FRONTEND_TOPS:
        return FRONTEND if _SCRIPT_OR_STYLE.fullmatch(name) or is_asset(path) or name.endswith(".svg") else UNKNOWN
    # Fixtures are loaded by management commands, files beside them too.
    if "fixtures" in folders:
        return CODE
    if "bin" in folders and "." not in name:
        return BUILD
    published = bool(_STATIC_FOLDERS & set(folders))
    if is_asset(path) or name.endswith(".svg") or (published and _SCRIPT_OR_STYLE.fullmatch(name)):
        return STATIC
    if _MARKUP.fullmatch(name):
        return TEMPLATE
    if name.endswith((".js", ".mjs", ".css")):
        return FRONTEND
    if _DATA.fullmatch(name):
        return CODE
    first = (content(path) or "").lstrip("\ufeff")[:2]
    return BUILD if first == "#!" else UNKNOWN


def classified(
    changes: Iterable[Change], compose_files: Collection[str] = (), content: _Content = lambda _path: None
) -> dict[str, tuple[str, ...]]:
    """Class → its changed paths, the strongest class first."""
    found: dict[str, list[str]] = {}
    for change in sorted(changes, key=lambda c: c.path):
        found.setdefault(class_of(change, compose_files, content), []).append(change.path)
    return {name: tuple(found[name]) for name in reversed(CLASSES) if name in found}


def weakest_strategy(classes: Mapping[str, Collection[str]]) -> str:
    """The weakest strategy that is surely enough for changes of these classes."""
    matter = set(classes) - {DOCS}
    return ROLLING if matter - {NGINX} else RELOAD if matter else NONE
