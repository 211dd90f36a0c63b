#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_rolling
short_description: Replace the containers of Compose services without losing a request
description:
  - Brings services of a Docker Compose project to their present definition and image while they go on serving.
  - New containers are started beside the old ones, have to become ready and to answer real requests on a private
    path, and only then does nginx, Caddy or Traefik send users to them. The old ones finish what they have, are stopped and removed.
  - Whatever fails on the way is undone. The old version never stopped serving.
  - Containers that already are as wanted are left alone. A run that was killed is finished by the same call again.
  - How a service is replaced is read from C(deploy.update_config), C(healthcheck), C(stop_grace_period) and
    C(x-evenkeel) in its Compose definition. The options below override these for all services of the call, and
    O(service_options) for a single one.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.project.attributes
options:
  services:
    description:
      - Services to replace. Without it all but databases, brokers, proxies and jobs, and what is to become of those is told in
        RV(rest). A database, broker or proxy that runs with another definition is then refused, unless O(allow_downtime).
    type: list
    elements: str
    default: []
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, for example a C(ready_path) for C(api).
      - The keys are C(kind), C(order), C(parallelism), C(delay), C(monitor), C(failure_action), C(ready_path),
        C(ready_port), C(ready_timeout), C(ready_successes), C(prove), C(prove_seconds), C(drain_timeout),
        C(drain_policy), C(stop_timeout), and C(publish) (see M(evenkeel.deploy.compose_job)).
    type: dict
    default: {}
  only:
    description:
      - A part of the services that would be replaced. V(workers) are those that run Celery's tasks, V(others) are the rest.
        On the way back to an older version the others go first, since they send what older workers do not know
        (M(evenkeel.deploy.celery_queues)). V(proxies) are the nginx that run with another definition and whose published ports can be
        handed over, which RV(rest) names as C(handed). No other call replaces these. Let it come last.
    type: str
    choices: [workers, others, proxies]
  leave_workers:
    description:
      - Where a new version does not hold, everything goes back but the services that run Celery's tasks. The new workers go on, and
        the old ones, told to fetch nothing more, wait, for whoever called to see to tasks that only the new ones know
        (M(evenkeel.deploy.celery_queues)), and then to roll to the old version.
    type: bool
    default: false
  backward:
    description:
      - Whether this version has served before and was found good, and is come back to. What sends tasks changes over first
        then, a scheduler while the web boots; workers do when nobody waits for an answer of the web before any more, since
        older ones may not know what newer code sends. Users wait for it, so O(prove_seconds) and O(monitor) are shorter where
        nobody says how long they are.
    type: bool
    default: false
  schema:
    description:
      - Of a plan (check mode) with O(backward), which Django is asked whether this version's code can use the database as it is now,
        while the queues are looked at. What it tells is in RV(schema).
    type: dict
    suboptions:
      service:
        description: The Django service.
        type: str
        required: true
      manage_py:
        description: Path of C(manage.py) in its image.
        type: str
        default: manage.py
      take_over_from:
        description: As in M(evenkeel.deploy.django_migrate).
        type: str
  strategy:
    description:
      - How the services that users reach are changed over. All others are replaced as ever.
      - V(rolling) leads users to the new containers as soon as they are proven.
      - V(canary) leads users to one new container of each service beside all old ones first, for O(canary_time). Where it does not hold,
        or nginx's access log tells of more answers of 5xx than the old version lets expect, the old version serves on alone.
      - V(blue_green) leads them to all new containers at once, and lets the old ones go on running for O(keep_old). A roll back to their
        version takes no start. Memory has to be there for both.
      - Neither has any effect with O(backward), and in a gap.
    type: str
    choices: [rolling, canary, blue_green]
    default: rolling
  canary_time:
    description:
      - With O(strategy=canary), how long one new container is tried.
    type: str
    default: 5m
  canary_share:
    description:
      - With O(strategy=canary), how many requests in a hundred it gets, from 3 to 50. With V(0) as many as each old container.
      - Where the proxy asks for the addresses of its containers while it runs, such as with a variable in C(proxy_pass), it takes turns
        among them, and only V(0) is possible.
    type: int
    default: 0
  keep_old:
    description:
      - With O(strategy=blue_green), how long the old containers go on running, at most V(24h). Then a process on the target removes them.
        Before that the next roll without that strategy does. They do not come back after a reboot.
    type: str
    default: 15m
  order:
    description:
      - Whether new containers are started before old ones are stopped. Web services and workers do so by default,
        schedulers never.
    type: str
    choices: [start-first, stop-first]
  parallelism:
    description:
      - How many containers nginx switches to at a time, V(0) for all at once.
    type: int
  delay:
    description:
      - Seconds between two such switches.
    type: float
  monitor:
    description:
      - Seconds for which the new containers are watched after the switch, while going back is still instant. Without it 5 for a web
        service and 3 for a worker (2 and 1 with O(backward)), 2 for all others. What cannot be asked whether it is ready is watched
        until it has booted, which is when it is at work no more, for up to a quarter of its C(ready_timeout).
    type: float
  failure_action:
    description:
      - What a failure leads to. V(rollback) undoes everything, V(pause) leaves all as it is and fails.
    type: str
    choices: [rollback, pause]
  ready_path:
    description:
      - Path that answers with a status below 400 when a web service is ready. Without it the health command is run, and
        without that the path of O(health_url) and then C(/) are asked; what the containers from before answer there is
        good enough, if it is below 500. Where the health command succeeds, these paths are asked too, and a status of 500 or
        more that the containers from before do not answer with is not ready.
    type: str
  health_url:
    description:
      - URL that users' health checks ask, see O(ready_path). Its host is asked for where nginx's server block has no name.
    type: str
  ready_port:
    description:
      - Port for O(ready_path) and O(prove). Without it the one that nginx connects to.
    type: int
  ready_timeout:
    description:
      - Seconds within which a new container has to become ready. Without it 120, for a worker or scheduler 60, and at least
        as many as the service's own health check has (C(start_period) and C(retries) times C(interval)).
    type: float
  prove:
    description:
      - Requests that a new container has to answer rightly before and after nginx knows it.
      - Where it answers C(4xx) as the version from before does, nginx answers users by itself or by another path. Then only they
        are asked for, through nginx.
    type: list
    elements: dict
    suboptions: &questions
      path:
        description: Path and query.
        type: str
        required: true
      status:
        description: The status that it has to answer with.
        type: int
        default: 200
      contains:
        description: Text that the body has to contain.
        type: str
      method:
        description: Request method. Others than V(GET) and V(HEAD) are sent with an empty body.
        type: str
        default: GET
  canary:
    description:
      - Further requests of this call, whatever O(prove) is of the service. They are asked of the new containers before any user
        meets one, and through nginx in the O(monitor) window; where one is not answered rightly the roll goes back.
    type: list
    elements: dict
    suboptions: *questions
  canary_service:
    description:
      - The service that O(canary) is asked of. Without it each web service.
    type: str
  log_lines:
    description:
      - Log lines of the new containers that are told, in RV(logs) and, where one failed, in the message. V(0) tells none of those that
        are good, and 5 of one that failed. Values of variables whose names look secret are left out.
    type: int
    default: 0
  prove_seconds:
    description:
      - Seconds for which O(prove) is repeated, and restarts are watched, before nginx knows a new container. Without it 5 for a web
        service, and 2 with O(backward).
      - In this time requests with C(GET) and C(HEAD), or those for its readiness where O(prove) has none, are also sent up to eight
        at the same time, every two seconds, so that each process and thread has answered before users come. With V(0) they are not.
    type: float
  drain_timeout:
    description:
      - Seconds that requests in flight are waited for after the switch, and that a worker's running tasks have. It
        fetches no more of them from then on, and C(stop_grace_period) does not cut this short.
    type: float
  stop_timeout:
    description:
      - Seconds between the stop signal and the kill. Without it C(stop_grace_period).
    type: float
  drain_policy:
    description:
      - What happens to connections that are still there after O(drain_timeout). V(cut) ends them and counts them
        in RV(cut_connections), V(wait) waits on.
    type: str
    choices: [cut, wait]
  proxy_service:
    description:
      - The service that is nginx or Caddy. Without it the one that looks like it.
    type: str
  proxy_mode:
    description:
      - How nginx is told. Its configuration stays untouched in any case.
      - V(auto) does what fits the proxy; for a name that nginx resolves when it is loaded it is V(pin). A name that is asked for again
        (a variable with C(resolver), or C(resolve)) is left alone; the containers it must not use are kept from it by
        rules in its network namespace and in theirs, which needs root and nftables on the target.
      - An upstream block may include a file C(evenkeel/<project name>-<service>.conf); the addresses of the containers are
        written there. That is the way for an nginx of the host itself.
      - V(pin) writes the addresses of the service's name into the hosts file of the nginx container for the duration of
        the roll and reloads it.
      - V(none) is for services that nobody reaches through nginx.
    type: str
    choices: [auto, pin, none]
    default: auto
  generation:
    description:
      - Name of a request to renew these services although nothing about them has changed, for example V(2026-11-20-a).
      - Containers that were created before the request was first made are replaced. The same name again finishes what
        was killed, and otherwise changes nothing.
    type: str
  images:
    description:
      - For going back, per service the ids of the images that it ran before. Where a name in the project means another
        image by now, such as after a rebuild, it is given back first.
    type: dict
    default: {}
  progress_id:
    description:
      - Name of the file in which the module tells what it does while it does it. The collection's action plugin sets it
        and shows the lines; there is no need to set it.
    type: str
  allow_downtime:
    description:
      - Needed for what cannot be done without a gap, such as O(order=stop-first) for a web service.
    type: bool
    default: false
  remove_orphans:
    description:
      - Whether containers of services that the project no longer has are drained, stopped and removed, after all else.
        Volumes never are. What somebody started from a Compose file of their own under the same project name is left alone.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Bring api to the image and configuration of its Compose file, behind nginx
  evenkeel.deploy.compose_rolling:
    project_src: /srv/travel/current
    services: [api]
    prove:
      - path: /
        contains: Travel
      - path: /api/tours/

- name: Let one request in twenty try the new version for ten minutes
  evenkeel.deploy.compose_rolling:
    project_src: /srv/travel/current
    strategy: canary
    canary_time: 10m
    canary_share: 5

- name: See what would be replaced, and why
  evenkeel.deploy.compose_rolling:
    project_src: /srv/travel/current
  check_mode: true
  diff: true

- name: See whether an older release can come back, before it does
  evenkeel.deploy.compose_rolling:
    project_src: /srv/travel/releases/20261119T101500Z-4f2a9c1
    backward: true
    schema:
      service: api
  check_mode: true

- name: Renew the workers, as after a change of the world outside
  evenkeel.deploy.compose_rolling:
    project_src: /srv/travel/current
    services: [celery]
    generation: 2026-11-20-a

- name: Replace everything that runs our code, watching the new containers for a minute
  evenkeel.deploy.compose_rolling:
    project_src: /srv/travel/current
    monitor: 60
    service_options:
      celery:
        drain_timeout: 900
"""

RETURN = r"""
timeline:
  description: The steps in the order in which they were done.
  returned: always
  type: list
  elements: dict
  contains:
    step:
      description: Name of the step.
      type: str
      returned: always
    service:
      description: The services concerned.
      type: str
      returned: always
    container:
      description: The containers concerned.
      type: str
      returned: always
    started:
      description: When it began, ISO 8601 in UTC.
      type: str
      returned: always
    seconds:
      description: How long it took.
      type: float
      returned: always
    result:
      description: V(ok) or V(failed), and V(undone) for a step of the way back.
      type: str
      returned: always
serving:
  description: Per service the containers that run now, and which version each is.
  returned: always
  type: dict
  sample: {"api": [{"container": "travel-api-2", "version": "3f2c1ab"}]}
rolled_back:
  description: Whether everything is as it was before the call.
  returned: on failure
  type: bool
cut_connections:
  description: Connections that were still there after O(drain_timeout) and were ended.
  returned: when there were any
  type: int
cut_tasks:
  description: Tasks that had not ended after O(drain_timeout) when their worker was told to end.
  returned: when there were any
  type: int
log_files:
  description: Files on the target with the last log lines of the containers that failed.
  returned: on failure, when there were any
  type: list
  elements: str
logs:
  description: The last O(log_lines) lines that the new containers have written, all together in the order of time.
  returned: when O(log_lines) is set and something was replaced
  type: list
  elements: str
notes:
  description: What is worth knowing about the project, such as a stop_grace_period that is too short.
  returned: always
  type: list
  elements: str
images:
  description: Per service the ids of the images that its containers run.
  returned: always
  type: dict
  sample: {"api": ["sha256:6a6c0c1b6f2c"]}
kinds:
  description: For each service of the project what it was taken for.
  returned: always
  type: dict
  sample: {"api": "web", "celery": "worker", "db": "database"}
ways:
  description: For each service that nginx leads to, how it is steered and why so.
  returned: always
  type: dict
  sample: {"api": "pinned by name: nginx resolves it when it is loaded"}
replaced:
  description:
    - In check mode each service that would be replaced, with its C(order), the C(reasons), and the C(strategy) by which the proxy
      leads from the old containers to the new ones.
  returned: always
  type: list
  elements: dict
spares:
  description: The C(containers) that were left running for a quick way back, by name, and C(until) when, in UNIX time. Empty for none.
  returned: always
  type: dict
  sample: {"containers": ["travel-api-1"], "until": 1795722000.0}
gap:
  description: What is done in the gap that M(evenkeel.deploy.requests_hold) has begun, empty where none is open.
  returned: always
  type: dict
memory:
  description: Bytes C(needed) beside what runs for a while, and C(available).
  returned: always, empty where nothing is to be started
  type: dict
rest:
  description:
    - Services that are not replaced one beside the other. C(start) and C(start_last) do not run yet, C(recreate) and
      C(recreate_last) run with another definition, C(removed) are not in the project any more. Proxies are the C(last) ones,
      and C(handed), which O(only=proxies) replaces without a gap.
    - None of it is done by this module, but that O(remove_orphans) takes C(removed) away.
  returned: always
  type: dict
  sample: {"start": ["search-db"], "start_last": [], "recreate": [], "recreate_last": [], "handed": [], "removed": ["flower"]}
unheld:
  description: Services to which requests could not wait in a gap (M(evenkeel.deploy.requests_hold)), and why.
  returned: in check mode
  type: dict
  sample: {"ws": "it has no network of its own (network_mode: host)"}
backlog:
  description:
    - What M(evenkeel.deploy.celery_queues) would do for what waits in the queues, as it tells it itself in check mode.
    - The call fails where that cannot be known.
  returned: in check mode with O(backward), where running containers would be replaced
  type: dict
  sample: {"changed": true, "msg": "newer workers know tours.tasks.print_voucher, ...", "waiting": {}, "notes": []}
schema:
  description:
    - What M(evenkeel.deploy.django_migrate) tells of this version with O(evenkeel.deploy.django_migrate#module:state=planned).
    - The call fails where that cannot be known.
  returned: in check mode with O(backward) and O(schema), where containers run
  type: dict
  sample: {"schema_compatibility": "abandon", "comes_back": true, "msg": "no migration is pending; ...", "notes": []}
tasks_aside:
  description: Names of the tasks that a rollback has kept from older workers, which M(evenkeel.deploy.celery_queues) puts back.
  returned: always
  type: list
  elements: str
msg:
  description: What happened, what is serving now, and on failure what to run next.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "compose_rolling")


if __name__ == "__main__":
    main()
