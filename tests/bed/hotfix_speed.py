# SPDX-License-Identifier: GPL-3.0-or-later
"""Small changes to production by a bare shell and by role hotfix: seconds until users have them, and who failed meanwhile.

Each way meets the same shop under the same load, and is gone back from before the next one.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collections"))

from tests.bed.killed_roll import QUICK
from tests.bed.load.process import proxy_log
from tests.bed.load.result import Result
from tests.bed.processors import wait_until_quiet
from tests.bed.shop import ROOT, BedError, Shop, deployed, run
from tests.bed.tasks import Run, read_run

VERSION, NGINX, PICTURE = "shop/version.py", "deploy/nginx.conf", "pictures/front.txt"
SHEET = "tours/static/tours/site.css"
#: So many answers in a row have the change before all users are taken to have it (each worker of gunicorn has its own).
IN_A_ROW, WARM, TAIL, PATIENCE = 16, 3.0, 3.0, 30.0
#: What is wanted, in seconds of the whole playbook; the roll comes on top where there is one.
TARGETS = {"nginx": 4.0, "static file": 4.0, "built file": 4.0, "upload": 4.0, "code in place": 6.0, "code": 5.0}


@dataclass(frozen=True)
class Way:
    """One way of one change: ``command`` is what an operator types, ``shows`` whether an answer has it, ``undo`` the way back."""

    kind: str
    title: str
    command: Sequence[str]
    path: str
    shows: Callable[[str], bool]
    undo: Callable[[], object]
    ours: bool = False


@dataclass(frozen=True)
class Row:
    """What one way cost. Seconds; ``served`` is None where users never had it. ``run`` has no tasks where nobody had Ansible."""

    way: Way
    served: float | None
    run: Run
    result: Result

    def cells(self) -> str:
        """A row of the table."""
        told, result = self.way, self.result
        served = "never" if self.served is None else f"{self.served:.1f}"
        beside = self.run.seconds - self.run.roll
        beyond, wanted = (f"{beside:.1f}", f"{TARGETS[told.kind]:g}") if told.ours else ("—", "—")
        return (
            f"| {told.kind} | {told.title} | {served} | {self.run.seconds:.1f} | {beyond} | {wanted} | {result.total:,} "
            f"| {result.failed_beyond_race} | {result.keepalive_race} |"
        )


HEADER = (
    "| change | way | served after (s) | command took (s) | of it beside the roll (s) | target (s) | requests | failed "
    "| keep-alive race |\n|---|---|---|---|---|---|---|---|---|"
)


def _answer(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return f"{answer.headers}\n{answer.read().decode('utf-8', 'replace')}"
    except (urllib.error.URLError, OSError):
        return ""


def _served(way: Way, url: str, began: float, is_over: Callable[[], bool]) -> float | None:
    """Seconds until the first of many answers in a row that all have the change; asked until the command is over, and a while."""
    row, first, until = 0, 0.0, began + PATIENCE
    while (asked := time.monotonic()) < until:
        if not is_over():
            until = max(until, asked + PATIENCE)
        if way.shows(_answer(f"{url}{way.path}")):
            first, row = (first if row else asked), row + 1
            if row >= IN_A_ROW:
                return first - began
        else:
            row = 0
        time.sleep(0.03)
    return None


def measure(shop: Shop, way: Way) -> Row:
    """Go one way under load, and back.

    :raises BedError: the command failed, or what is there afterwards is not what was.
    """
    wait_until_quiet()
    with shop.load() as load:
        time.sleep(WARM)
        began = time.monotonic()
        with ThreadPoolExecutor(1) as others:
            running = others.submit(_typed, shop, way)
            served = _served(way, shop.url, began, running.done)
            seconds, code, said = running.result()
        time.sleep(TAIL)
        result = load.stop()
    if code:
        raise BedError(f"{way.title} ended with {code}: {said[-3000:]}")
    result = result.judged_by(proxy_log(shop.container("nginx")))
    way.undo()
    if way.shows(_answer(f"{shop.url}{way.path}")):
        raise BedError(f"{way.title}: the way back left it there")
    return Row(way, served, read_run(said, seconds) if way.ours else Run(seconds, ()), result)


def _typed(shop: Shop, way: Way) -> tuple[float, int, str]:
    environment = {**shop.environment, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    began = time.monotonic()
    done = subprocess.run(way.command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    return time.monotonic() - began, done.returncode, done.stdout + done.stderr


class Ways:
    """The ways of one shop, each change with a word of its own.

    Each is made when its turn comes: after a roll containers have other names.

    :param word: begins the name of each hotfix: what was taken back is not brought again.
    """

    def __init__(self, shop: Shop, word: str = "speed") -> None:
        self.shop, self.word = shop, word
        self.source = shop.folder / "dev"
        self.source.mkdir(exist_ok=True)

    def _file(self, path: str, text: str) -> Path:
        target = self.source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def _now(self, path: str) -> str:
        return (self.shop.root / "current" / path).read_text(encoding="utf-8")

    def _ours(self, **variables: object) -> list[str]:
        return self.shop.playbook_argv(playbook="hotfix", **variables)

    def _back(self, **variables: object) -> None:
        play = self.shop.rollback(**variables)
        if play.returncode:
            raise BedError(play.output[-3000:])

    def _renewed(self) -> None:
        """The containers as the release has them again, whatever was done to them by hand."""
        play = self.shop.play(playbook="hotfix", hotfix_restart="api", app_allow_lost_edits=True)
        if play.returncode:
            raise BedError(play.output[-3000:])

    def all(self) -> Iterator[Way]:
        """Every change by every way."""
        for several in (self._code, self._nginx, self._static, self._built, self._upload):
            yield from several()

    def small(self) -> Iterator[Way]:
        """By the role, all of which little more than a file changes."""
        for several in (self._nginx, self._static, self._built, self._upload):
            yield from (way for way in several() if way.ours)

    def _code(self) -> Iterator[Way]:
        for number, (title, then) in enumerate(
            (
                ("docker exec, kill -HUP", "docker kill --signal HUP"),
                ("docker exec, docker restart", "docker restart"),
            )
        ):
            word, api = f"bare-{number}", self.shop.container("api")
            file = self._file(f"{word}.py", f'VERSION = "{word}"\n')
            script = (
                f"docker exec -i -u 0 {api} sh -c 'cat > /app/{VERSION}' < {shlex.quote(str(file))} && {then} {api}"
            )
            yield Way("code", title, ["sh", "-c", script], "/health/", self._has(word), self._renewed)
        self._file(VERSION, f'VERSION = "{self.word}"\n')
        given = {"hotfix_files": VERSION, "hotfix_source": str(self.source)}
        in_place = self._ours(**given, hotfix_mode="in_place", hotfix_name=f"{self.word}-place")
        sealed = self._ours(**given, hotfix_name=f"{self.word}-code")
        back = partial(self._back, rollback_hotfix=f"{self.word}-place")
        shows = self._has(f'"{self.word}"')
        yield Way("code in place", "hotfix_mode=in_place", in_place, "/health/", shows, back, ours=True)
        yield Way("code", "hotfix", sealed, "/health/", shows, self._back, ours=True)

    def _nginx(self) -> Iterator[Way]:
        before = self._now(NGINX)
        after = before.replace("listen 80;", f"listen 80;\n    add_header X-Mended {self.word} always;")
        live = self.shop.mount("nginx", "/etc/nginx/conf.d/default.conf")
        file, kept = self._file(NGINX, after), self._file("nginx.before", before)
        reload = f"docker exec {self.shop.container('nginx')} nginx -s reload"

        def written(source: Path) -> str:
            return f"cat {shlex.quote(str(source))} > {shlex.quote(str(live))} && {reload}"

        def undone() -> None:
            run(["sh", "-c", written(kept)])
            time.sleep(1)

        ours = self._ours(hotfix_files=NGINX, hotfix_source=str(self.source), hotfix_name=f"{self.word}-nginx")
        shows = self._has(f"X-Mended: {self.word}")
        yield Way("nginx", "cat > conf, nginx -s reload", ["sh", "-c", written(file)], "/health/", shows, undone)
        yield Way("nginx", "hotfix", ours, "/health/", shows, self._back, ours=True)

    def _static(self) -> Iterator[Way]:
        self._file(SHEET, f"{self._now(SHEET)}/* {self.word} */\n")

        def shows(text: str) -> bool:
            named = re.findall(r'href="(/static/tours/site\.[^"]+)"', text)
            return bool(named) and f"/* {self.word} */" in _answer(f"{self.shop.url}{named[0]}")

        ours = self._ours(hotfix_files=SHEET, hotfix_source=str(self.source), hotfix_name=f"{self.word}-static")
        yield Way("static file", "hotfix", ours, "/", shows, self._back, ours=True)

    def _built(self) -> Iterator[Way]:
        asset = re.findall(r'src="(assets/[^"]+)"', _answer(f"{self.shop.url}/app/"))[0]
        live = min(self.shop.mount("nginx", "/srv/frontend").rglob(Path(asset).name))
        before = self._file("asset.before", live.read_text(encoding="utf-8"))
        file = self._file("asset.js", f'console.log("{self.word}");\n')

        def undone() -> None:
            run(["cp", str(before), str(live)])

        def shows(text: str) -> bool:
            named = re.findall(r'src="(assets/[^"]+)"', text)
            return bool(named) and f'log("{self.word}")' in _answer(f"{self.shop.url}/app/{named[0]}")

        ours = self._ours(hotfix_frontend={asset: str(file)}, hotfix_name=f"{self.word}-built")
        back = partial(self._back, rollback_hotfix=f"{self.word}-built")
        title = "cp over the asset (browsers keep the old one)"
        yield Way("built file", title, ["cp", str(file), str(live)], "/app/", shows, undone)
        yield Way("built file", "hotfix_frontend", ours, "/app/", shows, back, ours=True)

    def _upload(self) -> Iterator[Way]:
        api = self.shop.container("api")
        file, before = self._file("upload", f"{self.word}\n"), self._file("upload.before", "old\n")

        def undone() -> None:
            run(["docker", "cp", str(before), f"{api}:/app/media/{PICTURE}"])

        undone()
        ours = self._ours(hotfix_media={PICTURE: str(file)}, hotfix_name=f"{self.word}-upload")
        back = partial(self._back, rollback_hotfix=f"{self.word}-upload")
        bare = ["docker", "cp", str(file), f"{api}:/app/media/{PICTURE}"]
        shows = self._has(self.word)
        yield Way("upload", "docker cp", bare, f"/media/{PICTURE}", shows, undone)
        yield Way("upload", "hotfix_media", ours, f"/media/{PICTURE}", shows, back, ours=True)

    @staticmethod
    def _has(word: str) -> Callable[[str], bool]:
        return lambda text: word in text


@contextmanager
def changeable(name: str, **variables: object) -> Iterator[Shop]:
    """A shop with each kind of file that a hotfix replaces."""
    with deployed(name, {"app_keep_releases": 40, **variables}, version="frontend") as shop:
        uploads = "mkdir -p media/pictures; chmod -R a+rX media"
        run(["docker", "exec", "-u", "0", shop.container("api"), "sh", "-ec", uploads])
        yield shop


def compared() -> str:
    """All of it as a table."""
    with changeable("hotfix-speed", app_services=QUICK) as shop:
        rows = []
        for way in Ways(shop).all():
            rows.append(measure(shop, way))
            print(rows[-1].cells(), flush=True)
    profiles = [f"{row.way.kind}: {row.run.overhead_text(0.3)}" for row in rows if row.way.ours]
    return "\n".join([HEADER, *(row.cells() for row in rows), "", "```text", "\n\n".join(profiles), "```"])


if __name__ == "__main__":
    print(compared())
