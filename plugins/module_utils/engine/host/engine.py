# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine, through the Docker SDK that distributions package (``python3-docker`` 5.0 and 7.1)."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, Callable

try:
    import docker
    from docker.errors import APIError, DockerException, NotFound
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    HAS_DOCKER = True
except ImportError:
    HAS_DOCKER = False

    class DockerException(Exception):  # type: ignore[no-redef]
        """Stands in where the SDK is missing, so that this file can be imported to say so."""

    class APIError(DockerException):  # type: ignore[no-redef]
        """See above."""

    class NotFound(APIError):  # type: ignore[no-redef]
        """See above."""

    class RequestException(Exception):  # type: ignore[no-redef]
        """See above."""

    class HTTPError(Exception):  # type: ignore[no-redef]
        """See above."""


from ...base.host import known_secrets, processor_share
from . import overlay
from .exec_output import LIMIT, TOO_MUCH, bounded, streams_of
from .inspection import SERVICE_LABEL

__all__ = ["APIError", "DockerException", "Engine", "EngineBarred", "EngineFailed", "NotFound", "RequestException"]


class EngineFailed(Exception):
    """The engine cannot be used or refused something; the message is for the user."""


class EngineBarred(EngineFailed):
    """It cannot be used from here, and waiting changes nothing: no SDK, no permission."""


#: How many questions may be asked at once; a connection is made when it is needed.
CONNECTIONS = 64
# Seconds between two looks whether a command has begun.
_APPEARS = 0.02


class Engine:
    """A connection to the engine that ``DOCKER_HOST`` names, or the local socket.

    :param timeout: seconds that one answer may take.
    :raises EngineBarred: no SDK, no permission.
    :raises EngineFailed: no socket, no engine behind it.
    """

    def __init__(self, timeout: int = 120) -> None:
        if not HAS_DOCKER:
            raise EngineBarred("the Docker SDK for Python is missing on this host; install the package python3-docker")
        try:
            self.api = docker.APIClient(
                base_url=os.environ.get("DOCKER_HOST") or None,
                version="auto",
                timeout=timeout,
                max_pool_size=CONNECTIONS,
            )
        except (DockerException, RequestException) as error:
            kind = EngineBarred if "Permission denied" in str(error) else EngineFailed
            raise kind(self._why(error)) from error
        if str(self.api.base_url).startswith("http+docker:"):
            # No proxy leads to a socket, and to look for one each time is a fifth of a question's cost.
            self.api.trust_env = False

    @staticmethod
    def _why(error: Exception) -> str:
        text = str(error)
        if "Permission denied" in text:
            return (
                "no permission on the Docker socket; run with become: true, or add this user to the group docker and "
                "log in again"
            )
        if "No such file" in text or "Connection refused" in text or "FileNotFoundError" in text:
            return "no Docker engine answers on this host; start it: systemctl start docker"
        return f"the Docker engine cannot be used: {text}"

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self.api, name)(*args, **kwargs)
        except NotFound:
            raise
        except APIError as error:
            raise EngineFailed(str(error.explanation or error)) from error
        except (DockerException, RequestException) as error:
            raise EngineFailed(self._why(error)) from error

    def version(self) -> str:
        """The engine's version."""
        return str(self._call("version").get("Version", ""))

    def info(self) -> dict[str, Any]:
        """The engine's facts (``docker info``)."""
        return dict(self._call("info"))

    def containers(self, labels: Mapping[str, str], services: Collection[str] = ()) -> list[dict[str, Any]]:
        """Inspect every container, running or not, of the labels, and of Compose's services if any are named; none that just went."""
        found = (key for key, service in self.listed(labels) if not services or service in services)
        return [i for i in map(self.inspect, found) if i]

    def listed(self, labels: Mapping[str, str]) -> list[tuple[str, str]]:
        """Id and Compose's service of every container of the labels, running or not."""
        return [(entry["Id"], (entry.get("Labels") or {}).get(SERVICE_LABEL) or "") for entry in self.brief(labels)]

    def brief(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Every container of the labels, running or not, in the engine's short form; ``Created`` is in UNIX seconds.

        It is had at once; an inspection of a container that is being started waits until that is done (0.2 s, measured).
        """
        return list(self._call("containers", all=True, filters={"label": [f"{k}={v}" for k, v in labels.items()]}))

    def networks(self) -> dict[str, dict[str, Any]]:
        """Every network by its name."""
        return {str(n["Name"]): n for n in self._call("networks")}

    def network(self, name: str) -> dict[str, Any]:
        """A network's inspection with its running containers, empty when there is none of that name."""
        try:
            result: dict[str, Any] = self._call("inspect_network", name)
        except NotFound:
            return {}
        return result

    def running(self) -> list[dict[str, Any]]:
        """Every container that runs, in the engine's short form (labels, networks, no aliases)."""
        return list(self._call("containers"))

    def events(self, filters: Mapping[str, Sequence[str]], since: float) -> Iterator[dict[str, Any]]:
        """The engine's events as they happen, those since a UNIX time first; ends when the engine does.

        :raises EngineFailed: the engine cannot be listened to, or is gone.
        """
        kept = {key: list(values) for key, values in filters.items()}
        # Connected before this returns: from here on nothing is missed.
        return self._each_event(self._call("events", since=int(since), filters=kept, decode=True))

    @staticmethod
    def _each_event(stream: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        try:
            yield from stream
        except (DockerException, RequestException, OSError, ValueError, HTTPError) as error:
            raise EngineFailed(f"the connection to the Docker engine broke: {type(error).__name__}") from error

    def inspect(self, container_id: str) -> dict[str, Any]:
        """One container's inspection, empty when there is none."""
        try:
            result: dict[str, Any] = self._call("inspect_container", container_id)
        except NotFound:
            return {}
        known_secrets.learn_environment((result.get("Config") or {}).get("Env") or ())
        return result

    def image(self, reference: str) -> dict[str, Any]:
        """An image's inspection, empty when it is not on this host."""
        try:
            result: dict[str, Any] = self._call("inspect_image", reference)
        except NotFound:
            return {}
        return result

    def image_names(self, pattern: str) -> list[str]:
        """Every ``repository:tag`` on this host that matches ``docker image ls PATTERN``."""
        return sorted({str(tag) for entry in self._call("images", pattern) for tag in entry.get("RepoTags") or []})

    def nameless_images(self, label: str) -> list[str]:
        """The ids of images with a label that have lost their last name, as a rebuild leaves them."""
        found = self._call("images", filters={"dangling": True, "label": [label]})
        return sorted(str(entry["Id"]) for entry in found)

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Give an image a further name.

        :raises EngineFailed: it is gone.
        """
        try:
            self._call("tag", image, repository, tag)
        except NotFound as error:
            raise EngineFailed(f"{image[:19]} is not on this host any more") from error

    def parts(self, call: str, what: Any, **more: Any) -> Iterator[Any]:
        """What the SDK's ``get_image``, ``load_image`` or ``pull`` give, part by part; breaks off by :class:`EngineFailed` only."""
        try:
            yield from self._each_event(self._call(call, what, **more))
        except NotFound as error:
            raise EngineFailed(str(error.explanation or error)) from error

    def untag(self, name: str) -> None:
        """Take a name away from an image; the image goes with its last name if nothing runs it."""
        with contextlib.suppress(NotFound):
            self._call("remove_image", name)

    def run_inside(
        self,
        container_id: str,
        argv: Sequence[str],
        user: str = "",
        timeout: float = 30.0,
        errors_too: bool = True,
        environment: Mapping[str, str] | None = None,
        folder: str = "",
        behind: float = 0.0,
    ) -> tuple[int, str]:
        """Run a command in a container and return its exit code and what it printed.

        :param errors_too: its error output as well; without it only where the command fails.
        :param behind: for how many seconds it leaves the processors to those who are served, since it takes much of them.
        :param environment: variables over the container's own; ``folder``: where it runs, if not where the image says.
        :returns: ``(code, output)``; code 124 when it took longer than ``timeout`` seconds, 126 when it could not be run.
        """
        try:
            made = self.api.exec_create(
                container_id, list(argv), user=user, environment=dict(environment or {}), workdir=folder or None
            )
            streams = self._streams(made["Id"])
            if behind:
                self._step_back(made["Id"], argv, streams, behind)
            wait([streams], timeout)
            if not streams.done() or streams.exception():
                self._kill(made["Id"], argv)
            if not streams.done():
                return 124, f"no end within {timeout:g} s"
            said, complaints = streams.result()
            code = self.api.exec_inspect(made["Id"]).get("ExitCode")
        except (DockerException, RequestException, OSError) as error:
            return 126, str(getattr(error, "explanation", None) or error)
        # The engine mixes both streams in the order in which it happens to read them.
        text = said if code == 0 and not errors_too else said + complaints
        return (126 if code is None else int(code)), text.decode("utf-8", "replace")

    def _streams(self, exec_id: str) -> Future[tuple[bytes, bytes]]:
        """Both streams of a command, once it has ended, or why it could not be asked."""
        result: Future[tuple[bytes, bytes]] = Future()

        def read() -> None:
            try:
                result.set_result(streams_of(self.api, exec_id))
            except Exception as error:
                result.set_exception(error)

        # A daemon: reading from a command that never ends must hold up neither this call nor our own end.
        threading.Thread(target=read, daemon=True).start()
        return result

    def _step_back(self, exec_id: str, argv: Sequence[str], ended: Future[Any], seconds: float) -> None:
        """Have a command leave the processors to those who are served; it was started with as much as its container has."""
        pid, until = 0, time.monotonic() + seconds
        while not pid and not ended.done() and time.monotonic() < until:
            wait([ended], _APPEARS)
            pid = self._process(exec_id, argv)
        group = processor_share.step_back(pid=pid) if pid else ""
        # Where all want the processors, somebody waits for this too.
        wait([ended], until - time.monotonic())
        if not ended.done():
            processor_share.step_forward(group, pid)

    def _kill(self, exec_id: str, argv: Sequence[str]) -> None:
        """End a command that takes too long, where we may: else one more of it would hang with each question."""
        pid = self._process(exec_id, argv)
        if pid:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _process(self, exec_id: str, argv: Sequence[str]) -> int:
        """The process of a command in a container; 0 where it does not run, or cannot be found here."""
        with contextlib.suppress(DockerException, RequestException, OSError):
            pid = int(self.api.exec_inspect(exec_id).get("Pid") or 0)
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                running = stream.read().split(b"\0")[:-1]
            # An engine elsewhere counts other processes than this host does.
            if pid > 1 and running == [word.encode() for word in argv]:
                return pid
        return 0

    def changed_paths(self, container_id: str) -> dict[str, str]:
        """Paths that differ between a container's own layer and its image, and how; folders on the way to them may be among them."""
        seen = overlay.changed_paths(self.inspect(container_id).get("GraphDriver") or {})
        if seen is not None:
            return seen
        kinds = ("changed", "added", "removed")
        return {str(entry["Path"]): kinds[int(entry["Kind"])] for entry in self._call("diff", container_id) or []}

    def archive(self, container_id: str, path: str, limit: int = 64 * 1024 * 1024) -> bytes:
        """A file or folder of a container as a tar archive, mounts included; empty when it is not there.

        :raises EngineFailed: it is larger than ``limit`` bytes.
        """
        try:
            stream, _stat = self._call("get_archive", container_id, path)
            whole = bytearray()
            for part in stream:
                whole += part
                if len(whole) > limit:
                    raise EngineFailed(f"{path} holds more than {limit // 1048576} MiB")
        except NotFound:
            return b""
        return bytes(whole)

    def run_to_end(
        self,
        name: str,
        configuration: Mapping[str, Any],
        networks: Sequence[str],
        archives: Mapping[str, bytes],
        timeout: float,
    ) -> tuple[int, str]:
        """Create a container, fill folders of it from tar archives, run it to its end and remove it.

        :returns: ``(exit code, output)``, error output only where it fails; code 124 when it took longer than ``timeout`` seconds.
        :raises EngineFailed: it could not be run; nothing of it is left then either.
        """
        made = self.create(name, configuration, networks, archives)
        try:
            # Attached before it starts: a log would keep what it prints, and it may print secrets.
            parts = self._call("attach", made, stdout=True, stderr=True, stream=True, demux=True)
            self._call("start", made)
            said: list[tuple[bytes | None, bytes | None]] = []

            def read() -> None:
                with contextlib.suppress(DockerException, RequestException, OSError):
                    said.extend(bounded(parts))

            thread = threading.Thread(target=read, daemon=True)
            thread.start()
            thread.join(timeout)
            if thread.is_alive():
                return 124, f"no end within {timeout:g} s"
            # Read together, a line of the one stream may stand in the midst of the other's (seen).
            output, errors = (b"".join(part[stream] or b"" for part in said) for stream in (0, 1))
            if len(output) + len(errors) > LIMIT:
                return 126, TOO_MUCH
            code = int(self._call("wait", made, timeout=timeout)["StatusCode"])
            return code, (output + (errors if code else b"")).decode("utf-8", "replace")
        except NotFound as error:
            raise EngineFailed(str(error.explanation or error)) from error
        finally:
            with contextlib.suppress(EngineFailed):
                self.discard(made)

    def create(
        self, name: str, configuration: Mapping[str, Any], networks: Sequence[str], archives: Mapping[str, bytes],
        start: bool = False,
    ) -> str:  # fmt: skip
        """Create a container that is in further networks, and has what tar archives hold in folders of it; returns its id.

        :raises EngineFailed: it could not be; nothing of it is left then.
        """
        made = ""
        try:
            made = str(self._call("create_container_from_config", dict(configuration), name)["Id"])
            for network in networks:
                self._call("connect_container_to_network", made, network)
            for folder, archive in archives.items():
                self._call("put_archive", made, folder, archive)
            if start:
                self._call("start", made)
            return made
        except BaseException as error:
            if made:
                with contextlib.suppress(EngineFailed):
                    self.discard(made)
            if isinstance(error, NotFound):
                raise EngineFailed(str(error.explanation or error)) from error
            raise

    def remove_labelled(self, label: str, spared: Callable[[str], bool]) -> None:
        """Remove the containers, volumes and networks with a label, running or not, but those whose name is ``spared``."""
        for entry in self._call("containers", all=True, filters={"label": [label]}):
            if not any(spared(str(name).lstrip("/")) for name in entry.get("Names") or [""]):
                with contextlib.suppress(EngineFailed):
                    self.discard(str(entry["Id"]))
        self.remove_volumes(name for name in self.volumes(label) if not spared(name))
        for entry in self._call("networks", filters={"label": [label]}):
            if not spared(str(entry["Name"])):
                with contextlib.suppress(EngineFailed, NotFound):
                    self._call("remove_network", entry["Id"])

    def volumes(self, label: str) -> set[str]:
        """The names of the volumes with a label."""
        return {str(v["Name"]) for v in self._call("volumes", filters={"label": [label]}).get("Volumes") or []}

    def remove_volumes(self, names: Iterable[str]) -> None:
        """Remove named volumes; one that is not there or in use is passed over."""
        for name in names:
            with contextlib.suppress(EngineFailed, NotFound):
                self._call("remove_volume", name)

    def start(self, container_id: str) -> None:
        """Start a stopped container.

        :raises EngineFailed: it cannot be started, or is gone.
        """
        try:
            self._call("start", container_id)
        except NotFound as error:
            raise EngineFailed("it is not there any more") from error

    def stop(self, container_id: str, timeout: float) -> None:
        """Send the stop signal and wait up to ``timeout`` seconds before the engine kills."""
        try:
            # Not `kill`: that switches the restart policy `unless-stopped` off (measured).
            docker_timeout = int(timeout + 0.999)
            self.api.stop(container_id, timeout=docker_timeout)
        except NotFound:
            return
        except (DockerException, RequestException) as error:
            raise EngineFailed(f"could not stop {container_id[:12]}: {error}") from error

    def fill(self, container_id: str, folder: str, archive: bytes) -> None:
        """Put what a tar archive holds into a folder of a container.

        :raises EngineFailed: it cannot be, or the container is gone.
        """
        try:
            self._call("put_archive", container_id, folder, archive)
        except NotFound as error:
            raise EngineFailed("it is not there any more") from error

    def discard(self, container_id: str) -> None:
        """End a container of ours at once and remove it, with its anonymous volumes."""
        with contextlib.suppress(NotFound):
            self._call("remove_container", container_id, v=True, force=True)

    def remove(self, container_id: str, volumes: bool = True) -> None:
        """Remove a container that does not run, with its anonymous volumes unless told otherwise; named ones stay."""
        try:
            self._call("remove_container", container_id, v=volumes)
        except NotFound:
            return
        except EngineFailed as error:
            if "already in progress" not in str(error):
                raise
            # Somebody else is at it (--rm): what was wanted happens, and is waited for.
            with contextlib.suppress(EngineFailed, NotFound):
                self._call("wait", container_id, timeout=10, condition="removed")

    def logs(self, container_id: str, lines: int = 50, times: bool = False, since: float = 0.0) -> str:
        """The last lines of a container's log, each after its moment where ``times``; empty when it cannot be read.

        :param lines: how many at most, 0 for all. :param since: none from before (UNIX time).
        """
        wanted = {"tail": lines or "all", **({"since": since} if since else {})}
        try:
            output: bytes = self._call("logs", container_id, timestamps=times, stdout=True, stderr=True, **wanted)
        except (EngineFailed, NotFound):
            return ""
        return output.decode("utf-8", "replace")
