# SPDX-License-Identifier: GPL-3.0-or-later
"""git on real repositories: which commit is meant, the whole tree of it, and no prompt ever."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.git import address
from ansible_collections.evenkeel.deploy.plugins.module_utils.git.host.git import ForeignMirror, Git, GitFailed

ME = pwd.getpwuid(os.geteuid()).pw_name


class Repository:
    """A repository as developers have it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self("init", "--quiet", "--initial-branch=main")
        self.commit("first", {"a.txt": "1\n"})

    def __call__(self, *words: str) -> str:
        who = {f"GIT_{r}_{k}": "x" for r in ("AUTHOR", "COMMITTER") for k in ("NAME", "EMAIL")}
        return subprocess.run(
            ["git", "-C", str(self.path), "-c", "protocol.file.allow=always", *words],
            check=True, capture_output=True, text=True, env={**os.environ, **who, "GIT_CONFIG_GLOBAL": "/dev/null"},
        ).stdout.strip()  # fmt: skip

    def commit(self, message: str, files: dict[str, str]) -> str:
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        self("add", "--all")
        self("commit", "--quiet", "--allow-empty", "--message", message)
        return self("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return str(self.path)


@pytest.fixture
def source(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "source")


@pytest.fixture
def mirror(tmp_path: Path) -> Git:
    return Git(str(tmp_path / "mirror.git"))


# -- which commit -----------------------------------------------------------------------------------------


def test_branches_tags_and_commits(source: Repository, mirror: Git) -> None:
    first = source("rev-parse", "HEAD")
    source("tag", "light")
    source("tag", "--annotate", "--message", "x", "heavy")
    source("checkout", "--quiet", "-b", "feature/x")
    second = source.commit("second", {"b.txt": "2\n"})
    mirror.update(source.url)
    wanted = {"main": first, "light": first, "heavy": first, "feature/x": second, first: first, second[:8]: second}
    assert {ref: mirror.commit_of(ref) for ref in wanted} == wanted
    # In check mode the same is known without fetching, from an empty folder too.
    assert {ref: mirror.planned_commit(source.url, ref) for ref in wanted} == wanted
    fresh = Git(f"{mirror.mirror}-fresh")
    assert {ref: fresh.planned_commit(source.url, ref) for ref in wanted} == {**wanted, second[:8]: second[:8]}
    assert not os.path.exists(fresh.mirror)
    for name in ("nowhere", "x"):
        for ask in (mirror.commit_of, lambda ref: mirror.planned_commit(source.url, ref)):
            with pytest.raises(GitFailed, match=f"the repository has no branch, tag or commit {name}") as failure:
                ask(name)
            assert failure.value.advice == "push it first, or name another"


def test_the_mirror_follows_whatever_was_pushed(source: Repository, mirror: Git) -> None:
    source("branch", "gone")
    source("tag", "moved")
    mirror.update(source.url)
    source.commit("second", {"b.txt": "2\n"})
    source("reset", "--quiet", "--hard", "HEAD~1")
    forced = source.commit("other second", {"c.txt": "2\n"})
    source("branch", "--delete", "gone")
    source("branch", "gone/under")
    source("tag", "--force", "moved")
    mirror.update(source.url)
    assert {mirror.commit_of(ref) for ref in ("main", "moved", "gone/under")} == {forced}
    with pytest.raises(GitFailed, match="no branch, tag or commit gone"):
        mirror.commit_of("gone")
    with pytest.raises(GitFailed, match="no branch, tag or commit gone"):
        mirror.planned_commit(source.url, "gone")


def test_an_option_is_never_taken_for_a_repository(source: Repository, mirror: Git, tmp_path: Path) -> None:
    mirror.update(source.url)
    for act in (mirror.update, lambda url: mirror.planned_commit(url, "main")):
        with pytest.raises(GitFailed):
            act(f"--upload-pack=touch {tmp_path}/owned;")
    assert not (tmp_path / "owned").exists()


# -- killed before ----------------------------------------------------------------------------------------


def test_locks_of_a_killed_git_are_taken_away(source: Repository, mirror: Git) -> None:
    mirror.update(source.url)
    second = source.commit("second", {"b.txt": "2\n"})
    Path(mirror.mirror, "refs/heads/main.lock").touch()
    mirror.update(source.url)
    assert mirror.commit_of("main") == second


def test_locks_of_a_living_git_are_left(source: Repository, mirror: Git) -> None:
    mirror.update(source.url)
    source.commit("second", {"b.txt": "2\n"})
    lock = Path(mirror.mirror, "refs/heads/main.lock")
    lock.touch()
    # It waits for words on its input, as a fetch waits for a slow line.
    living = subprocess.Popen(["git", "--git-dir", mirror.mirror, "cat-file", "--batch"], stdin=subprocess.PIPE)
    try:
        with pytest.raises(GitFailed, match=r"main\.lock': File exists"):
            mirror.update(source.url)
        assert lock.exists()
    finally:
        living.communicate()


def test_a_half_made_mirror_is_made_again(source: Repository, mirror: Git) -> None:
    Path(mirror.mirror).mkdir()
    Path(mirror.mirror, "config").write_text("[core]\n\tbare = true\n\trepositoryformatversion = 0\n")
    mirror.update(source.url)
    assert mirror.commit_of("main") == source("rev-parse", "main")


# -- the tree ---------------------------------------------------------------------------------------------


def test_a_tree_is_exported_whole(source: Repository, mirror: Git, tmp_path: Path) -> None:
    files = {".gitattributes": "docs export-ignore\n*.crlf eol=crlf\n", "docs/x": "x", "run.sh": "#!/bin/sh\n",
             "dos.crlf": "a\n", "übung/a b": "ü", "empty": "", "bytes": "a\r\nb"}  # fmt: skip
    for name, text in files.items():
        (source.path / name).parent.mkdir(exist_ok=True)
        (source.path / name).write_bytes(text.encode())
    (source.path / "run.sh").chmod(0o755)
    (source.path / "link").symlink_to("docs/x")
    commit = source.commit("tree", {})
    mirror.update(source.url)
    assert mirror.objections(commit) == []
    folder = tmp_path / "out"
    folder.mkdir()
    before = os.umask(0o077)
    try:
        mirror.export(commit, str(folder))
    finally:
        os.umask(before)
    found = {str(p.relative_to(folder)): p.read_bytes().decode() for p in folder.rglob("*") if p.is_file()}
    assert found == {**files, "a.txt": "1\n", "dos.crlf": "a\r\n", "link": "x"}
    assert os.readlink(folder / "link") == "docs/x"
    # Other users' processes read it in containers, whatever root's umask is.
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in ("run.sh", "a.txt", "docs")}
    assert modes == {"run.sh": 0o755, "a.txt": 0o644, "docs": 0o755}


def test_what_would_not_be_whole_is_refused(source: Repository, mirror: Git, tmp_path: Path) -> None:
    other = Repository(tmp_path / "other")
    source("submodule", "--quiet", "add", other.url, "lib/other")
    commit = source.commit("all of it", {
        "media/.gitattributes": "# filter=lfs\n*.png filter=lfs diff=lfs -text\n", "doc/.gitattributes": "# filter=lfs\n",
        ".evenkeel/manifest.json": "{}",
    })  # fmt: skip
    mirror.update(source.url)
    assert mirror.objections(commit) == [
        ".evenkeel/manifest.json has a name that this collection keeps for its own record of a release",
        "lib/other is a submodule, whose files are not in this repository",
        "media/.gitattributes keeps files in Git LFS, which would be pointers only",
    ]


# -- who it runs as, and what it may not do ---------------------------------------------------------------


class Guarded(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


class Published(http.server.ThreadingHTTPServer):
    """Serves a folder to whoever has the password, and notes every process list while it is asked."""

    def __init__(self, folder: Path) -> None:
        class Handler(http.server.SimpleHTTPRequestHandler):
            server: Published

            def do_GET(self) -> None:
                self.server.processes += process_list()
                right = base64.b64encode(":".join(self.server.wanted).encode()).decode()
                if self.headers.get("Authorization") == f"Basic {right}":
                    super().do_GET()
                else:
                    Guarded.do_GET(self)  # type: ignore[arg-type] # it uses what both have

            def log_message(self, *_args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.wanted = ("", "")
        self.processes: list[str] = []


def process_list() -> list[str]:
    """The command line of every git on this host, as any user may read it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return [line for line in found if "git" in line.split(" ")[0]]


@pytest.fixture
def guarded() -> Iterator[str]:
    """A git server on 127.0.0.1 that wants a password."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_password_is_never_asked_for(guarded: str, mirror: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(GitFailed) as failure:
        mirror.update(f"http://{guarded}/shop.git")
    text = f"git would have asked for a password or a host key as user {ME}: fatal: could not read Username for"
    assert str(failure.value).startswith(text)
    assert failure.value.advice.startswith(f"give {ME} a deploy key")


@pytest.fixture
def published(source: Repository, tmp_path: Path) -> Iterator[Published]:
    """The repository behind a password, as plain files."""
    bare = tmp_path / "served/shop.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", source.path, bare], check=True)
    subprocess.run(["git", "--git-dir", bare, "update-server-info"], check=True)
    with Published(tmp_path / "served") as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    "who", [("deploy", "pa/ss@w0rd'$x"), ("glpat-x4Qz9Kp2mV7tL1nR", "")], ids=["password", "token"]
)
def test_a_token_in_the_address_is_in_no_process_list_and_no_file(
    published: Published, mirror: Git, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, who: tuple[str, str]
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    published.wanted = who
    user, password = (quote(word, safe="/@") for word in who)
    url = f"http://{user}{':' if password else ''}{password}@127.0.0.1:{published.server_port}/shop.git"
    mirror.update(url)
    assert mirror.planned_commit(url, "main") == mirror.commit_of("main")
    # Each request was answered while the git that sent it was there to be looked at.
    assert published.processes and not [line for line in published.processes if (who[1] or who[0]) in line]
    kept = [path for path in Path(mirror.mirror).rglob("*") if path.is_file()]
    assert not [path for path in kept if (who[1] or who[0]).encode() in path.read_bytes()]
    published.wanted = ("deploy", "another-one")
    with pytest.raises(GitFailed) as failure:
        mirror.update(url)
    assert "127.0.0.1" in str(failure.value) and not any(word and word in str(failure.value) for word in who[1:])


def test_the_users_own_helper_is_not_told_the_token(
    published: Published, mirror: Git, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    told, settings = tmp_path / "told", tmp_path / "gitconfig"
    settings.write_text(f'[credential]\n\thelper = "!cat >> {told}; true"\n')
    published.wanted = ("deploy", "hunter22")
    url = f"http://deploy:hunter22@127.0.0.1:{published.server_port}/shop.git"
    mirror.run("ls-remote", "--", url, extra=(("GIT_CONFIG_GLOBAL", str(settings)),))
    assert not told.exists()


def test_a_password_that_only_a_process_list_could_take_is_refused(mirror: Git) -> None:
    with pytest.raises(GitFailed) as failure:
        mirror.update("ssh://git:hunter22@git.example.com/shop.git")
    assert "hunter22" not in str(failure.value) and "deploy key" in failure.value.advice


def test_other_words_that_quote_an_address_stay() -> None:
    words = ("commit-tree", "-m", "see https://a:b@c.example.com/")
    assert address.apart(words).words == words
    assert address.apart(("fetch", "--", "https://deploy@c.example.com/a.git")).options == ()


# -- a mirror of somebody else's ----------------------------------------------------------------------------


def planted(mirror: Git, tmp_path: Path) -> Path:
    """A hook and a monitor in the mirror that leave a file when they are run."""
    ran = tmp_path / "ran"
    for path, name in ((Path(mirror.mirror) / "hooks", "reference-transaction"), (tmp_path, "monitor")):
        path.mkdir(exist_ok=True)
        (path / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (path / name).chmod(0o755)
    with (Path(mirror.mirror) / "config").open("a") as config:
        config.write(f'[core]\n\tfsmonitor = {tmp_path / "monitor"}\n[protocol "ext"]\n\tallow = always\n')
    return ran


def test_no_hook_and_no_monitor_of_a_mirror_is_run(source: Repository, mirror: Git, tmp_path: Path) -> None:
    mirror.update(source.url)
    ran = planted(mirror, tmp_path)
    source.commit("second", {"a.txt": "2\n"})
    mirror.update(source.url)
    out = tmp_path / "out"
    out.mkdir()
    mirror.export("main", str(out))
    mirror.edits("main", str(out))
    with pytest.raises(GitFailed, match="ext"):
        mirror.update(f"ext::sh -c touch% {ran}")
    assert (out / "a.txt").read_text() == "2\n" and not ran.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a mirror away")
@pytest.mark.parametrize("part", ["", "config", "hooks"])
def test_a_mirror_of_another_user_is_refused(source: Repository, mirror: Git, part: str) -> None:
    mirror.update(source.url)
    os.chown(Path(mirror.mirror) / part, pwd.getpwnam("nobody").pw_uid, -1)
    for act in (lambda: mirror.update(source.url), lambda: mirror.commit_of("main"), lambda: mirror.inside("gc")):
        with pytest.raises(ForeignMirror, match="belongs to user nobody") as failure:
            act()
        assert "app_owner" in failure.value.advice


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a mirror away")
def test_a_link_to_a_mirror_of_another_user_is_refused(source: Repository, mirror: Git, tmp_path: Path) -> None:
    mirror.update(source.url)
    linked = Git(str(tmp_path / "link.git"))
    os.symlink(mirror.mirror, linked.mirror)
    assert linked.commit_of("main")
    os.chown(mirror.mirror, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(ForeignMirror, match="belongs to user nobody"):
        linked.commit_of("main")


@pytest.mark.parametrize(("part", "mode"), [("", 0o775), ("config", 0o666), ("hooks", 0o777)])
def test_a_mirror_that_others_may_write_to_is_refused(source: Repository, mirror: Git, part: str, mode: int) -> None:
    mirror.update(source.url)
    (Path(mirror.mirror) / part).chmod(mode)
    with pytest.raises(ForeignMirror, match="may write to") as failure:
        mirror.commit_of("main")
    assert failure.value.advice.endswith(f"chmod -R go-w {mirror.mirror}")


def test_what_ssh_says_is_told(mirror: Git) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"ssh://git@127.0.0.1:{closed.getsockname()[1]}/shop.git"
        with pytest.raises(GitFailed, match=rf"git failed as user {ME}: ssh: connect to host .* Connection refused"):
            mirror.update(url)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run git as somebody else")
def test_git_runs_as_the_owner() -> None:
    # Not in pytest's own folders, which nobody else may enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        source, home = Repository(folder / "source"), folder / "home"
        home.mkdir()
        shutil.chown(home, "nobody")
        theirs = Git(str(home / "mirror.git"), "nobody")
        with pytest.raises(
            GitFailed, match="the repository does not belong to user nobody: fatal: detected dubious"
        ) as it:
            theirs.update(source.url)
        assert it.value.advice == "set app_owner to its owner"
        subprocess.run(["chown", "-R", "nobody", source.path], check=True)
        theirs.update(source.url)
        out = home / "out"
        out.mkdir()
        shutil.chown(out, "nobody")
        theirs.export(theirs.commit_of("main"), str(out))
        assert {p.owner() for p in (out / "a.txt", home / "mirror.git/objects", home / "mirror.git/HEAD")} == {"nobody"}


def test_without_git(mirror: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitFailed, match="git is missing on this host") as failure:
        mirror.update("x")
    assert failure.value.advice == "install the package git"


def test_what_does_not_end_is_ended(mirror: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "sleep 60 #")
    with pytest.raises(GitFailed, match=r"git ls-remote did not end in 0\.3 s"):
        mirror.run("ls-remote", "ssh://x/y", timeout=0.3)


def test_files_that_mention_a_word_are_named_and_none_is_no_failure(source: Repository, mirror: Git) -> None:
    head = source.commit("guide", {"readme.txt": "see docs/guide.md\n", "other.txt": "nothing\n"})
    mirror.update(source.url)
    assert mirror.mentions(head, ["guide.md", "nowhere.md"]) == ["readme.txt"]
    assert mirror.mentions(head, ["nowhere.md"]) == []
    with pytest.raises(GitFailed):
        mirror.mentions("0" * 40, ["guide.md"])
