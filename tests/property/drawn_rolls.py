# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a simulated roll is drawn as by its seed: the services, how their new version behaves, and the misfortunes."""

from __future__ import annotations

import random
from dataclasses import replace

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import OTHER, SCHEDULER, WEB, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import STOP_FIRST
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import Policy, Wanted
from tests.property.simulated_machine import NEW, STAND_IN, SimulatedMachine
from tests.property.simulated_parts import Misfortune, Version

BEHAVIOURS = {
    "good": Version(),
    "slow": Version(boot=4.0),
    "never-ready": Version(boot=None),
    "crash-early": Version(ends_after=0.2),
    "crash-after-healthy": Version(ends_after=2.0),
    "wrong-answers": Version(answers=False),
    "does-not-start": Version(starts=False),
    "dies-when-joined": Version(dies_when_joined=True),
}
AT_PORT = {"port-taken": Version(port_taken=True), "deaf-at-port": Version(deaf_at_port=True)}
ANYWHERE = [name for name in BEHAVIOURS if name not in ("good", "slow")]
IN_A_TRIAL = {"fails-users": Version(fails_users=True)}
#: Longer than what says nothing of itself is watched.
IN_SILENCE = {"crash-as-it-boots": Version(boot=0.0, ends_after=5.0, silent=True)}
BAD = [*ANYWHERE, *AT_PORT, *IN_A_TRIAL, *IN_SILENCE]


def draw(seed: int) -> tuple[SimulatedMachine, Policy, str]:
    """Draw one history's machine, policy and the behaviour of its new version."""
    rng = random.Random(seed)
    behaviour = rng.choice(["good", "good", "slow", *ANYWHERE])
    # Together always longer than crash-after-healthy takes; what dies after the watch is the guard's to heal.
    prove, monitor = rng.choice([(0.0, 3.0), (1.0, 2.0), (3.0, 0.0)])
    web = Wanted(
        "api",
        WEB,
        *NEW,
        replicas=rng.choice([1, 1, 2, 3]),
        parallelism=rng.choice([0, 1, 2]),
        delay=rng.choice([0.0, 1.0]),
        ready_timeout=8.0,
        prove_seconds=prove,
        monitor=monitor,
        drain_timeout=30.0,
        drain_policy=rng.choice(["cut", "wait"]),
        dns_seconds=random.Random(f"learn {seed}").choice([None, None, 1.0, 6.0]),
    )
    if web.replicas == 1 and random.Random(f"port {seed}").random() < 0.6:
        web = replace(web, surge=f"new-{STAND_IN}")
    worker = Wanted("celery", WORKER, *NEW, replicas=rng.choice([1, 2]), ready_timeout=8.0, monitor=3.0)
    beat = Wanted("celery-beat", SCHEDULER, *NEW, order=STOP_FIRST, ready_timeout=8.0, monitor=3.0)
    services: list[Wanted] = rng.choice([[web], [web], [worker, beat, web], [beat, web], [worker, web]])
    company = random.Random(f"company {seed}")
    added = []
    if company.random() < 0.25:
        search = Wanted("search", OTHER, *NEW, ready_timeout=8.0, monitor=2.0)
        added = company.choice([[], ["search"], ["search"]])
        needing = company.choice([[w.name for w in services], ["api"], []])
        services = [search, *[replace(w, after=("search",)) if w.name in needing else w for w in services]]
        web = services[-1]
    if company.random() < 0.15:
        # What the new version no longer has.
        services.insert(0, Wanted("flower", company.choice([OTHER, WEB, WORKER]), "", "", replicas=0))
    versions: dict[str, Version] = {w.name: Version() for w in services}
    # Answers and joining mean something only where users come in.
    victims = [w.name for w in services if w is web or behaviour not in ("wrong-answers", "dies-when-joined")]
    victims = [name for name in victims if name != "flower"]
    versions[rng.choice(victims)] = BEHAVIOURS[behaviour]
    fate = random.Random(f"fate {seed}")
    if web.surge and behaviour in ("good", "slow") and fate.random() < 0.4:
        behaviour = fate.choice(list(AT_PORT))
        versions = {**dict.fromkeys(versions, Version()), "api": AT_PORT[behaviour]}
    trial = random.Random(f"trial {seed}")
    if not web.surge and trial.random() < 0.3:
        tried = replace(web, canary_time=trial.choice([0.5, 4.0]), canary_share=trial.choice([0, 5]))
        services = [tried if w is web else w for w in services]
        web = tried
        if behaviour in ("good", "slow") and trial.random() < 0.4:
            behaviour = "fails-users"
            versions = {**dict.fromkeys(versions, Version()), "api": IN_A_TRIAL[behaviour]}
    silence = random.Random(f"silence {seed}")
    mute = [w.name for w in services if w.kind in (SCHEDULER, OTHER) and w.replicas]
    if mute and behaviour in ("good", "slow") and silence.random() < 0.3:
        behaviour = "crash-as-it-boots"
        versions = {**dict.fromkeys(versions, Version()), silence.choice(mute): IN_SILENCE[behaviour]}
    needs = random.Random(f"needs {seed}")
    if needs.random() < 0.3:
        # Others depend on each other in every direction, not only in that in which they go forward.
        order = needs.sample([w.name for w in services if w.replicas], sum(1 for w in services if w.replicas))
        chosen = {n: tuple(sorted(m for m in order[:i] if needs.random() < 0.5)) for i, n in enumerate(order)}
        services = [replace(w, after=chosen.get(w.name, ())) for w in services]
        web = next(w for w in services if w.kind == WEB and w.replicas)
    disturbances = rng.choice(["none", "none", "killed", "killed", "outside", "everything"])
    misfortune = Misfortune(left=rng.choice([1, 2, 4]))
    if disturbances in ("killed", "everything"):
        misfortune.kill_process = rng.choice([0.02, 0.1])
        misfortune.reboot = random.Random(f"reboot {seed}").choice([0.0, 0.0, 0.02])
    if disturbances in ("outside", "everything"):
        misfortune.kill_old = misfortune.kill_new = 0.02
        misfortune.restart_proxy = misfortune.foreign_reload = 0.02
        misfortune.fail_act = 0.01
        misfortune.late = random.Random(f"late {seed}").choice([0.0, 0.5])
    scaled = rng.choice([None, None, None, 1, 3])
    if web.surge:
        scaled = None
    machine = SimulatedMachine(
        seed,
        services,
        versions,
        misfortune,
        fresh=rng.random() < 0.05 and behaviour != "fails-users",
        start_replicas=scaled if all(w.kind != SCHEDULER for w in services) else None,
        added=added,
    )
    backward = random.Random(f"backward {seed}").random() < 0.4
    action = "pause" if random.Random(f"pause {seed}").random() < 0.1 else "rollback"
    together, awaited = rng.random() < 0.7, not backward and rng.random() < 0.3
    spares = not (web.surge or backward or awaited) and random.Random(f"spares {seed}").random() < 0.4
    return (
        machine,
        Policy(tuple(services), action, together or spares, frozenset(), backward, awaited, spares),
        behaviour,
    )
