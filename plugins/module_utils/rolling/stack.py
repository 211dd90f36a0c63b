# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll is decided from: the services as wanted, the containers and the proxy as seen.

All times are seconds; ``Stack.now`` and every ``*_since`` / ``*_at`` are monotonic seconds of one process.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..engine.programs import SCHEDULER, WEB, WORKER
from ..engine.services import START_FIRST, STOP_FIRST, Settings

FORWARD = "forward"
UNDO = "undo"
SPARE = "spare"
SPENT = "spent"

#: For how many seconds one that may boot still has to be seen idle, and for which part of its time: on a busy machine what it waits for is
#: late too (a database, the engine's names).
_SETTLED, _PART = 0.5, 0.25


@dataclass(frozen=True)
class Wanted:
    """The desired state of one service, and how it may get there.

    :param newer_than: containers created before this UNIX time are outdated: a restart was asked for then.
    :param dns_seconds: None where the proxy changes over when it is told to. Where it asks for names again by itself:
        for how long it may go on with what it knew, or avoid what refused it, after a container was let in.
    :param surge: configuration hash of the same service without what only one container can hold (a published port).
        Where it is set, containers of this kind serve while the old one has ended and the new one is not proven yet.
    :param after: services of the same call that have to be ready before one of this is started, where none of theirs runs.
    :param replicas: 0 for a service that the project no longer has: what runs of it goes last.
    :param routed: whether the proxy that is there leads to it, or may have: to one that is new it may not lead yet.
    :param canary_time: seconds for which the first new container has requests beside the old ones before any other has.
    :param canary_share: of how many requests in a hundred, 0 for as many as each of the others.
    """

    name: str
    kind: str
    image: str
    config_hash: str
    replicas: int = 1
    order: str = START_FIRST
    parallelism: int = 0
    delay: float = 0.0
    ready_timeout: float = 60.0
    prove_seconds: float = 5.0
    monitor: float = 5.0
    drain_timeout: float = 60.0
    drain_policy: str = "cut"
    newer_than: float = 0.0
    dns_seconds: float | None = None
    surge: str = ""
    after: tuple[str, ...] = ()
    routed: bool = True
    canary_time: float = 0.0
    canary_share: int = 0

    @property
    def proxied(self) -> bool:
        """Whether users reach it through the proxy."""
        return self.kind == WEB and self.routed


def wanted_of(settings: Settings, image: str, config_hash: str) -> Wanted:
    """What a roll wants of a service by its settings, for an image id and a configuration hash."""
    return Wanted(
        name=settings.name,
        kind=settings.kind,
        image=image,
        config_hash=config_hash,
        replicas=settings.replicas,
        order=settings.order,
        parallelism=settings.parallelism,
        delay=settings.delay,
        ready_timeout=settings.ready_timeout,
        prove_seconds=settings.prove_seconds,
        monitor=settings.monitor,
        drain_timeout=settings.drain_timeout,
        drain_policy=settings.drain_policy,
    )


@dataclass(frozen=True)
class Policy:
    """What the call as a whole wants; ``services`` in the order in which they go forward.

    :param together: all that is started first is started and proven before anything old retires; without it, where
        memory is short, one service after the other. Nothing old is removed before all are done either way.
    :param left: services that a way back leaves as they are: the caller sees first to what only the new ones can do.
    :param backward: whether what is wanted has served before and was found good: what sends tasks changes over first, and
        workers last, since older ones may not know what newer code sends.
    :param awaited: whether requests wait for it, in a gap in which nothing else runs: the web comes before all else.
    :param spares: whether the old ones of what users reach go on running when nobody is led to them any more.
    """

    services: tuple[Wanted, ...]
    failure_action: str = "rollback"
    together: bool = True
    left: frozenset[str] = frozenset()
    backward: bool = False
    awaited: bool = False
    spares: bool = False


@dataclass(frozen=True)
class Container:
    """One container as seen now, with what this process has learned about it so far.

    :param connections: with whom, of one that users may have left. Those of one that is led to are not counted: the kernel looks
        through its whole table, 7 ms on a machine with 24 GiB.
    :param created: UNIX time.
    :param consumes: whether a worker fetches tasks; None for what is no worker, or cannot be told to stop.
    :param tasks: how many it had left when it was last asked, None where it was not or did not say; ``unanswered_since``:
        since when it has not said it each time.
    :param inside_since: since when this process has seen it in rotation without a break.
    :param ended_here: whether this run has stopped it.
    :param answering: whether its last answer was the right one, of which more are wanted before it is ready.
    :param idle: for how many seconds this process has seen it idle so far, of one that may boot still.
    :param age: seconds since its main process was started.
    :param crashes: whether it ends and is started again, over and over: what it is asked, nobody answers.
    :param unkept: whether the engine does not start it again by itself, although its definition says so.
    :param spare: whether it was left running for a quick way back: ``SPARE`` from what is wanted now, ``SPENT`` from something else.
    """

    id: str
    name: str
    service: str
    image: str
    config_hash: str
    state: str = "running"
    number: int = 1
    address: str = ""
    in_rotation: bool = False
    connections: int = 0
    created: float = 0.0
    consumes: bool | None = None
    tasks: int | None = None
    unanswered_since: float | None = None
    awaited_since: float | None = None
    ready_since: float | None = None
    proof_since: float | None = None
    joined_at: float | None = None
    inside_since: float | None = None
    left_at: float | None = None
    created_here: bool = False
    ended_here: bool = False
    fault: str = ""
    last_answer: str = ""
    answering: bool = False
    idle: float | None = None
    age: float = float("inf")
    crashes: bool = False
    unkept: bool = False
    spare: str = ""

    @property
    def running(self) -> bool:
        """Whether its process may be alive (a restarting container counts: its policy brings it back)."""
        return self.state in ("running", "restarting", "paused")


@dataclass(frozen=True)
class Proxy:
    """The proxy as seen now.

    ``pinned`` are the services with a pin or a refusal of ours, ``stale`` those whose rotation holds an address that
    no running container has or that is kept from it, ``cooling`` those of which it may still know an address that is
    refused to it; ``draining_workers`` are the proxy's workers told to quit by a reload and still alive.
    """

    present: bool = True
    pinned: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    cooling: tuple[str, ...] = ()
    draining_workers: int = 0


@dataclass(frozen=True)
class Stack:
    """Everything :func:`next_step` decides from; ``fault`` is one of the call, of no single container.

    ``no_return`` is whether this run has begun to remove what was outdated: it cannot be gone back to any more.
    """

    now: float
    containers: tuple[Container, ...]
    proxy: Proxy = field(default_factory=Proxy)
    goal: str = FORWARD
    cause: str = ""
    fault: str = ""
    no_return: bool = False


@dataclass(frozen=True)
class View:
    """One service's containers, sorted into what they are in this roll.

    :param surging: whether what is started now is a surge container, since an old one still holds what only one can hold.
    """

    wanted: Wanted
    current: tuple[Container, ...]
    old: tuple[Container, ...]
    broken: tuple[Container, ...]
    proxy: Proxy
    now: float
    surging: bool = False

    @property
    def missing(self) -> int:
        return max(0, self.wanted.replicas - len(self.current))

    @property
    def sound(self) -> tuple[Container, ...]:
        """The old ones that may serve."""
        return tuple(c for c in self.old if c.running and c.state != "restarting" and not c.crashes)

    @property
    def deserted(self) -> bool:
        """Whether nobody answers users, since what serves them crashes or has ended: what is ready is better than that."""
        lost = bool(self.old) and all(c.crashes or not c.running for c in self.old)
        return self.proxied and lost and not any(c.in_rotation for c in self.current)

    @property
    def visited(self) -> bool:
        """Whether requests of the proxy's may be in it."""
        return self.wanted.proxied and self.proxy.present

    @property
    def proxied(self) -> bool:
        """Whether the proxy is to lead to it."""
        return self.visited and self.wanted.replicas > 0

    @property
    def stale(self) -> bool:
        return self.wanted.name in self.proxy.stale

    @property
    def overlaps(self) -> bool:
        """Whether old and new have to be in rotation together until the proxy knows both."""
        return self.wanted.dns_seconds is not None

    def learned(self, containers: tuple[Container, ...]) -> bool:
        """Whether all of the proxy knows by now that these containers may be sent to."""
        need = self.wanted.dns_seconds
        since = [c.inside_since for c in containers]
        return need is None or (
            not self.proxy.draining_workers and all(s is not None and self.now - s >= need for s in since)
        )

    @property
    def stop_first(self) -> bool:
        return self.wanted.order == STOP_FIRST

    @property
    def changing(self) -> bool:
        """Whether anything of it differs from what is wanted."""
        return bool(
            self.missing
            or self.old
            or self.broken
            or self.stale
            or (self.proxied and not all(c.in_rotation for c in self.current))
            or self.paused
            or any(c.unkept or not c.running for c in self.current)
            or (
                any(c.awaited_since is not None for c in self.current)
                and (self.unproven or self.now < self.watched_until)
            )
        )

    @property
    def usable(self) -> bool:
        """Whether what depends on it can be started: its old version runs, or all of the new one is ready."""
        return any(c.running for c in self.old) or not (self.missing or self.unready)

    @property
    def paused(self) -> tuple[Container, ...]:
        """Workers that are to stay and were told to fetch nothing more, by a run that wanted something else."""
        return tuple(c for c in self.current if c.consumes is False)

    @property
    def unready(self) -> tuple[Container, ...]:
        return tuple(c for c in self.current if c.ready_since is None)

    def is_late(self, container: Container) -> bool:
        """Whether its time to get ready is over; not while the answers come of which several are wanted."""
        since = container.awaited_since
        if since is None or container.ready_since is not None or container.answering:
            return False
        return self.now - since >= self.wanted.ready_timeout

    @property
    def unproven(self) -> tuple[Container, ...]:
        return tuple(c for c in self.current if not self.is_proven(c))

    def is_proven(self, container: Container) -> bool:
        """Whether it is ready, and one of a web service has answered rightly for ``prove_seconds``."""
        if container.ready_since is None:
            return False
        if self.wanted.kind != WEB:
            return True
        since = container.proof_since
        # One that has served until a moment ago has only to show that it still does.
        need = 0.0 if container.spare else self.wanted.prove_seconds
        return since is not None and self.now - since >= need

    @property
    def watched_until(self) -> float:
        """The end of the monitor window after the last change (0 when there was none in this run)."""
        # A proxy that was loaded again by somebody else has let in by itself whom this run was still waiting for.
        joined = [c.ready_since if c.joined_at is None else c.joined_at for c in self.current]
        moments = joined if self.proxied else [c.ready_since for c in self.current]
        known = [m for m in moments if m is not None]
        # What the proxy has not learned yet was not tried by users.
        late = self.wanted.dns_seconds or 0.0
        if not known:
            return 0.0
        # What says nothing of itself counts as ready at once: on a busy machine it may not have begun to work by then.
        settled = [self._settled(c, c.idle) for c in self.current if c.idle is not None and self.wanted.monitor]
        return max([max(known) + late + self.wanted.monitor, *settled])

    def _settled(self, container: Container, idle: float) -> float:
        """When one will have booted that was idle for so many seconds of its time, if it is so from now on."""
        return self.now - idle + max(_SETTLED, min(container.age, self.wanted.ready_timeout) * _PART)

    @property
    def tried_until(self) -> float:
        """Until when the first new container alone has requests, beside the old ones (0 where nobody has let it in).

        A run that takes up a killed one has not seen what users met before: it begins anew.
        """
        known = [m for m in (self._tried_since(c) for c in self.current if c.in_rotation) if m is not None]
        return min(known) + (self.wanted.dns_seconds or 0.0) + self.wanted.canary_time if known else 0.0

    def _tried_since(self, container: Container) -> float | None:
        """Since when this run can count what users were answered: where another run has let it in, once this one has proven it."""
        if container.joined_at is not None or container.proof_since is None:
            return container.joined_at
        return max(container.inside_since or 0.0, container.proof_since + self.wanted.prove_seconds)

    def is_consuming(self, container: Container) -> bool:
        """Whether a worker that is to go still fetches tasks; what a warm shutdown hands back may run twice."""
        return container.consumes is True and not self.stop_first

    def is_busy(self, container: Container) -> bool:
        """Whether somebody may still wait for an answer from a container, or a task of it has not ended."""
        if not container.running or self.stop_first:
            return False
        if self.wanted.kind == WORKER:
            if container.consumes is not False or container.tasks == 0:
                return False
        elif not self.visited or not (container.connections or self.proxy.draining_workers):
            return False
        since = container.unanswered_since
        if since is not None and self.now - since >= self.wanted.drain_timeout:
            # Nobody can be waited for who never says that it has ended; its warm shutdown has its time still.
            return False
        if self.wanted.drain_policy == "wait" or container.left_at is None:
            return True
        return self.now - container.left_at < self.wanted.drain_timeout

    def is_idle(self, container: Container) -> bool:
        """Whether one that is to end is known to have nothing of users' under way, and nobody waits for its end either."""
        if self.wanted.kind == SCHEDULER:
            return True
        if self.stop_first or container.in_rotation:
            return False
        if self.wanted.kind == WORKER:
            return container.consumes is False and container.tasks == 0
        return self.visited and not (container.connections or self.proxy.draining_workers)

    def addresses(self, containers: tuple[Container, ...]) -> tuple[str, ...]:
        """Where they are reached; between two starts a container is nowhere."""
        return tuple(sorted(c.address for c in containers if c.address))

    def shared(self, first: tuple[Container, ...], others: tuple[Container, ...]) -> tuple[str, ...]:
        """A rotation in which some have their share of the requests: who is in it twice has twice as many."""
        new, old = self.addresses(first), self.addresses(others)
        each_new, each_old = weights(len(new), len(old), self.wanted.canary_share)
        return tuple(sorted(new * each_new + old * each_old))


#: A proxy takes turns among as many addresses at most.
LONGEST_ROTATION = 40


def weights(new: int, old: int, share: int) -> tuple[int, int]:
    """How often each new and each old address is in a rotation, for the new to have a share of the requests.

    :param share: percent, 0 for as many requests as each of the others.
    :returns: the pair that comes nearest, of rotations that are not longer than :data:`LONGEST_ROTATION`; each once where none is.
    """
    if not (share and new and old):
        return 1, 1
    pairs = [
        (a, b) for a in range(1, LONGEST_ROTATION // new + 1) for b in range(1, (LONGEST_ROTATION - a * new) // old + 1)
    ] or [(1, 1)]
    return min(pairs, key=lambda pair: (abs(pair[0] * new / (pair[0] * new + pair[1] * old) - share / 100), sum(pair)))


def is_crashing(state: str, restarts: int, age: float, ready_timeout: float, healthy: bool = False) -> bool:
    """Whether a container is between two of its crashes; that it was started again once or twice says nothing yet.

    :param restarts: how often the engine has started it again by itself.
    :param age: seconds since its main process was started.
    :param ready_timeout: seconds after which it would serve, if it ever did.
    :param healthy: whether its own health check has succeeded since it was started last; what waited for its database by
        crashing serves from then on.
    """
    return restarts > 2 and (state == "restarting" or (age < ready_timeout and not healthy))


def ids_of(containers: tuple[Container, ...]) -> tuple[str, ...]:
    """Their ids."""
    return tuple(c.id for c in containers)


def is_current(container: Container, wanted: Wanted) -> bool:
    """Whether a container has the desired configuration and image (a moved tag keeps the hash), and is not too old."""
    return _is_like(container, wanted, wanted.config_hash)


def is_surge(container: Container, wanted: Wanted) -> bool:
    """Whether a container is what is desired but for what only one can hold."""
    return bool(wanted.surge) and _is_like(container, wanted, wanted.surge)


def is_outdated(container: Container, wanted: Wanted) -> bool:
    """Whether a container is neither what is desired nor its surge container."""
    return not is_current(container, wanted) and not is_surge(container, wanted)


def _is_like(container: Container, wanted: Wanted, config_hash: str) -> bool:
    same = (container.config_hash, container.image) == (config_hash, wanted.image)
    return same and container.created >= wanted.newer_than


def view_of(stack: Stack, wanted: Wanted) -> View:
    """Sort a service's containers; running ones above the wanted number count as old."""
    mine = [c for c in stack.containers if c.service == wanted.name and c.state != "removing"]
    outdated = [c for c in mine if is_outdated(c, wanted)]
    proper = [c for c in mine if is_current(c, wanted)]
    helpers = [c for c in mine if is_surge(c, wanted)]
    surging = bool(wanted.surge) and any(c.running for c in outdated) and not any(c.running for c in proper)
    passed: list[Container] = []
    if stack.goal == UNDO:
        same = proper + helpers
    elif surging:
        # What could not be started because of the old one is nothing to wait for.
        same = helpers + [c for c in proper if c.awaited_since is None]
    else:
        same, passed = proper, helpers
    alive = sorted((c for c in same if c.running), key=lambda c: (not c.in_rotation, c.number))
    # One that this run started and that ended since then is no leftover but a failure: it stays in sight.
    ended = [c for c in same if not c.running and c.awaited_since is not None]
    broken = tuple(c for c in same if not c.running and c.awaited_since is None)
    number = len(alive) if stack.goal == UNDO and wanted.surge else wanted.replicas
    return View(
        wanted=wanted,
        current=tuple(alive[:number] + ended),
        old=tuple(sorted(outdated + passed + alive[number:], key=lambda c: c.number)),
        broken=broken,
        proxy=stack.proxy,
        now=stack.now,
        surging=surging,
    )
