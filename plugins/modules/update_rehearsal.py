#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: update_rehearsal
short_description: Rehearse an update on the rows of a backup, out of reach of production
description:
  - Restores the newest proven backup into a PostgreSQL that is thrown away, of the database's own image, and where the database is no
    service of the project (managed, or on the host) of O(client_image). Runs the migrations of
    a new image there by the code of M(evenkeel.deploy.django_migrate), that is expanded, rows moved, and contracted. Then starts
    its web service there and sends it GET requests.
  - Production cannot be reached from there. The rehearsal has one network, which leads nowhere and in which this host has no
    address. Brokers are started anew and empty. Volumes and folders with data are replaced by empty ones.
  - Of the app's environment it is told an allow-list. Variables of Django, Python and locales, of databases and brokers, switches,
    and addresses of servers that the rehearsal has. Values that look secret are replaced by another word, the same everywhere.
    Mail goes to Django's dummy backend. All else is withheld, unless O(environment) names it.
  - The server that is thrown away has the names and the port by which the app's settings find theirs, so they need no change. Where
    they find it by an address or a socket, variables of the service that hold that are told another name. It speaks TLS with a
    certificate of its own, and trusts everybody.
  - Containers have limits of memory, processes, and of what they read from and write to the disk, and yield to production where the
    processor is short. It is given up where the disk gets too full, or at O(timeout).
  - Nothing of it is left, also where it fails or a signal ends it, and where it was killed by the next call.
  - What a migration took there is written into the release's manifest and the operation's record.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.external_database
  - evenkeel.deploy.project.attributes
attributes:
  diff_mode:
    support: none
options:
  state:
    description:
      - V(rehearsed) rehearses. V(compared) puts what was foretold for this release beside what it took, O(ran).
    type: str
    choices: [rehearsed, compared]
    default: rehearsed
  service:
    description:
      - The service whose image has the Django project. Needed for V(rehearsed).
    type: str
  database_service:
    description:
      - The service that is the database; without it the only one of that kind, and where there is none what backups of O(service)'s
        own database are of.
    type: str
  databases:
    description:
      - The databases that are restored; without it the one that the container's environment names, or Django's alias C(default).
    type: list
    elements: str
    default: []
  dest:
    description:
      - The folder of backups. Needed for V(rehearsed).
    type: path
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well.
    type: dict
    default: {}
  prove:
    description:
      - Requests that the web service is sent beside its C(ready_path), as M(evenkeel.deploy.compose_rolling) has them. Those of
        another method than GET are passed over.
    type: list
    elements: raw
  environment:
    description:
      - Names of variables, or patterns such as V(FEATURE_*), whose values the rehearsal is told as they are.
    type: list
    elements: str
    default: []
  serving_src:
    description:
      - Folder of the release that serves. With O(contract=next) what it left to be done is done first, by its image.
    type: path
  contract:
    description:
      - When what is put off is run in production; see O(serving_src). It is rehearsed in any case.
    type: str
    choices: [next, now, manual]
    default: next
  bridges:
    description:
      - See M(evenkeel.deploy.django_migrate).
    type: list
    elements: str
    choices: [keep_default, set_default, mirror_column, foreign_key, synonym]
    default: [keep_default, set_default, mirror_column, foreign_key]
  declared_phases:
    description:
      - See M(evenkeel.deploy.django_migrate).
    type: dict
    default: {}
  allow_data_loss:
    description:
      - See M(evenkeel.deploy.django_migrate).
    type: list
    elements: str
    default: []
  additive_only:
    description:
      - See M(evenkeel.deploy.django_migrate).
    type: bool
    default: false
  allow_downtime:
    description:
      - What cannot run beside the code that serves is run at once, as production then does.
    type: bool
    default: false
  release:
    description:
      - The revision that is updated to, as the ledger of migrations has it.
    type: str
  memory:
    description:
      - Memory of each container that has no limit of its own.
    type: str
    default: 512M
  io_rate:
    description:
      - Bytes per second that each container may read from and write to the disk, V(0) for no limit. Where the engine's data is on
        no disk that can be bounded, there is none.
    type: str
    default: 100M
  min_free:
    description:
      - What is left free on the disk that the engine's data is on. Without it the rehearsal is not begun, or is given up.
    type: str
    default: 1G
  timeout:
    description:
      - Time that all of it may take.
    type: str
    default: 1h
  manage_py:
    description:
      - Path of C(manage.py) in the image, from its working directory.
    type: str
    default: manage.py
  ran:
    description:
      - For V(compared) what M(evenkeel.deploy.django_migrate) has returned, with its C(ran) and C(contracted).
    type: dict
    default: {}
  progress_id:
    description:
      - Set by the action plugin, which shows what happens meanwhile.
    type: str
"""

EXAMPLES = r"""
- name: Rehearse a release before anything of it touches production
  evenkeel.deploy.update_rehearsal:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    service: api
    dest: /srv/travel/backups
    environment: [FEATURE_*]
  register: rehearsed

- name: Rehearse on the backup of a managed database that the app's settings name
  evenkeel.deploy.update_rehearsal:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    service: api
    dest: /srv/travel/backups
    client_image: postgres:17

- name: Say how it went beside what was foretold
  evenkeel.deploy.update_rehearsal:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    state: compared
    ran:
      ran: [{app: tours, name: 0004_channel, database: default, seconds: 0.4}]
"""

RETURN = r"""
rehearsal:
  description: How it went.
  returned: always, empty where none was
  type: dict
  contains:
    backups:
      description: The backups that were restored.
      type: list
      elements: str
    restored_in:
      description: Seconds that restoring took.
      type: float
    migrations:
      description: What was run.
      type: list
      elements: dict
      contains:
        app:
          description: The app's label.
          type: str
        name:
          description: The migration.
          type: str
        database:
          description: Django's alias of the database.
          type: str
        step:
          description: V(expanded) for a migration, V(contracted) for an operation of one that was put off.
          type: str
        operation:
          description: That operation, in words.
          type: str
        index:
          description: Its place in the migration, -1 for the whole of it.
          type: int
        locks:
          description: The locks that the plan foresees for it.
          type: list
          elements: str
        seconds:
          description: What it took in the rehearsal.
          type: float
        real_seconds:
          description: What it took in production.
          returned: when O(state=compared) and it was run
          type: float
    requests:
      description: The requests with C(path), C(status) and C(seconds).
      type: list
      elements: dict
    not_asked:
      description: Why none were sent.
      returned: when none were
      type: str
    withheld:
      description: Names of the variables that the app was not told.
      type: list
      elements: str
    seconds:
      description: What all of it took.
      type: float
timeline:
  description: What was done and how long it took.
  returned: always
  type: list
  elements: dict
msg:
  description: The same in a sentence. Where a migration fails it has the database's own first line, and none of the rows that it
    quotes after it.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "update_rehearsal")


if __name__ == "__main__":
    main()
