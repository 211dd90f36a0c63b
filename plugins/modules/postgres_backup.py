#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_backup
short_description: Dump the PostgreSQL database of a Compose project's app, and prove that the dump can be restored
description:
  - With O(state=present) the database's own container runs C(pg_dump), and what it prints is written to O(dest) as it comes.
    A dump has its name only when it is whole, C(pg_restore) of the same container has read it to its end, and its manifest
    is written. Whatever fails before that leaves no file that looks like a backup.
  - Tables are counted in the very snapshot that is dumped. With O(state=verified) the dump is restored into a server that is
    thrown away, made of the same image without a network, and what is in it is compared with that.
  - A database that is no service of the project (managed, or on the host) is dumped by the same programs in a container of
    O(client_image), which is there for as long as the call. Where the database is and as whom to connect is asked of the app's
    own settings, in a container of O(django_service), or named by O(database_host) and its like. Everything else is the same.
  - User, database and password of a service are those of the container's environment. Nothing secret is on a command line, in the
    manifest or in the result. What C(ALTER DATABASE SET) and C(ALTER ROLE SET) have set is in the manifest (mode 0600).
  - A dump takes the weakest lock of each table. C(ALTER TABLE) and its like wait for it, and everything after them.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.external_database
attributes:
  check_mode:
    support: full
    description: Can run in check_mode and return changed status prediction without modifying target.
  diff_mode:
    support: full
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
  idempotent:
    support: partial
    description: Each call with O(state=present) makes a dump, unless O(newer_than) says that there is one already.
options:
  service:
    description:
      - The service that is the database. Without it the only one of the kind C(database).
    type: str
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, to find the database, workers and schedulers by their C(kind).
    type: dict
    default: {}
  database:
    description:
      - The database's name. Without it the one of the container's C(POSTGRES_DB), or the one of Django's alias C(default).
    type: str
  django_service:
    description:
      - The service whose Django is asked for its database, where the project has none as a service. It is asked as C(migrate)
        would connect, in a container of its image. Certificates and keys that its C(OPTIONS) name are used as well.
      - A host that is another service of the project, such as a pooler, is refused.
    type: str
  manage_py:
    description:
      - Path of C(manage.py) in that image.
    type: str
    default: manage.py
  dest:
    description:
      - Folder of the backups on the target, absolute. It is made with mode 0700. It may have those of other databases as well.
    type: path
    required: true
  format:
    description:
      - V(custom) is C(pg_dump --format custom), compressed, of which single tables can be restored.
    type: str
    choices: [custom]
    default: custom
  keep:
    description:
      - How many backups of this database are left. One that was made for a O(release) which is still in O(releases_dir), and
        the newest that was truly restored, are left as well. V(0) leaves all.
    type: int
    default: 7
  state:
    description:
      - V(present) makes a dump, reads it to its end and writes its manifest.
      - V(verified) restores O(backup), compares, and notes that in the manifest. One that was restored before and whose
        checksum is still the same is not restored again.
      - V(restored) puts O(backup) in the place of the database. It is read to its end, a dump of now is made, and the backup is
        restored into a new database and compared. Then workers and schedulers are stopped, all sessions are ended, the names are
        exchanged in one transaction, and who was stopped is started again.
        The database of before is kept under another name, RV(replaced). Whatever fails leaves the database as it was. What was
        restored before is not restored once more for as long as it is the database, but with O(again).
        Requests to web services wait for the exchange, where this is run as root and nft is there.
        What O(allow_downtime) is asked for tells what was written since, what is queued, and what becomes of requests.
        On a server that is no container of the project it is looked first whether the role may do all of that; where it may not,
        nothing is touched, and the refusal has what to grant, and how to do it by hand.
    type: str
    choices: [present, verified, restored]
    default: present
  backup:
    description:
      - The file in O(dest). With O(state=verified) and without it the newest backup of this database; O(state=restored) needs it.
      - With O(state=restored) a plain dump (C(.sql), C(.sql.gz)) as well, which may lie elsewhere if its path is absolute. All of
        it is read first. One that is truncated, corrupted, of a newer server or of more than one database, made with
        C(--create), or with C(--clean) and without C(--if-exists), or has commands of C(psql) or statements in it that C(pg_dump) does not
        write, is refused by name. C(psql) is given it in restricted mode where it knows that.
      - Restoring a dump means trusting it. Its functions, views and defaults are run as the user of the container, usually a
        superuser, who may run programs and read files there.
    type: str
  allow_downtime:
    description:
      - Needed for O(state=restored), which ends all sessions and goes back behind what was written. What is written between the
        dump of now and the exchange is only in the database that is kept. Web services go on running, and tasks that are queued in
        a broker stay queued. A request that is under way longer than 10 seconds, or cannot be held, fails.
    type: bool
    default: false
  again:
    description:
      - With O(state=restored), restore also what the database was restored from already, to lose what was written since.
    type: bool
    default: false
  newer_than:
    description:
      - Seconds, or a timestamp such as V(2026-11-20T08:00:00Z). A backup whose snapshot is not older is good enough then, and
        no other is made.
    type: str
  release:
    description:
      - The release before whose changes this backup is made. It is kept for as long as that release.
    type: str
  releases_dir:
    description:
      - Folder with the releases that there are.
    type: path
  optional:
    description:
      - That it is no failure where there is nothing to back up, which is a project without a PostgreSQL service whose app
        names no PostgreSQL either, and a database without a table. RV(backup) is empty then, and RV(msg) says why.
    type: bool
    default: false
  lock_timeout:
    description:
      - Time for which the lock of a table is waited for.
    type: str
    default: 30s
  min_free:
    description:
      - What is left free on the disk of O(dest), and on that of what is restored, such as V(1G). A dump is not begun, or is given
        up, where it would not be.
    type: str
    default: 256M
  verify_memory:
    description:
      - Memory that the server which is thrown away may take.
    type: str
    default: 512M
  take_over_from:
    description:
      - The host that the database belongs to so far, as the refusal names it (C(machine/project)), where its stack is gone for
        good. It refuses as before where the database belongs to any other.
    type: str
  timeout:
    description:
      - Time that dumping, reading and restoring may take each.
    type: str
    default: 2h
  progress_id:
    description:
      - Used by the action plugin to show progress. Leave it out.
    type: str
"""

EXAMPLES = r"""
- name: Back up the shop's database
  evenkeel.deploy.postgres_backup:
    project_src: /srv/travel/current
    dest: /srv/travel/backups
    keep: 14

- name: Have one that is not older than an hour
  evenkeel.deploy.postgres_backup:
    project_src: /srv/travel/current
    service: db
    dest: /srv/travel/backups
    newer_than: "3600"

- name: Back up a managed database that the app's settings name
  evenkeel.deploy.postgres_backup:
    project_src: /srv/travel/current
    django_service: api
    client_image: postgres:17
    dest: /srv/travel/backups

- name: Back up one that the app reaches through a pooler
  evenkeel.deploy.postgres_backup:
    project_src: /srv/travel/current
    django_service: api
    database_host: db.internal.example.com
    database_port: "5432"
    client_image: postgres:17
    dest: /srv/travel/backups

- name: Prove that the newest one can be restored
  evenkeel.deploy.postgres_backup:
    project_src: /srv/travel/current
    dest: /srv/travel/backups
    state: verified

- name: Go back to the rows of a backup
  evenkeel.deploy.postgres_backup:
    project_src: /srv/travel/current
    dest: /srv/travel/backups
    backup: shop-20261120T084911Z.dump
    state: restored
    allow_downtime: true

- name: The same from what pg_dump and gzip have written
  evenkeel.deploy.postgres_backup:
    project_src: /srv/travel/current
    dest: /srv/travel/backups
    backup: /home/ann/backup.sql.gz
    state: restored
    allow_downtime: true
"""

RETURN = r"""
backup:
  description: The backup that was made, found or verified; empty where there is none.
  returned: success
  type: dict
  contains:
    path:
      description: The dump. Its manifest is beside it, with C(.json) after its name.
      type: str
    bytes:
      description: Its size.
      type: int
    sha256:
      description: Its checksum.
      type: str
    seconds:
      description: How long it took to make and read.
      type: float
    started:
      description: The time from which its snapshot is.
      type: str
    server_version:
      description: The version of the server that it is of.
      type: str
    database:
      description: The database's name.
      type: str
    migrations:
      description: The C(count) of migrations that Django had recorded, and the C(latest) of each app.
      type: dict
    proven:
      description: V(read) to its end, or V(restored) and compared.
      type: str
    releases:
      description: The releases that it was made for.
      type: list
      elements: str
removed:
  description: The backups that are no longer kept.
  returned: success
  type: list
  elements: str
replaced:
  description: The name under which the database of before is kept.
  returned: when a backup was restored
  type: str
safety:
  description: The dump that was made of it.
  returned: when a backup was restored
  type: str
written_since:
  description: The tables that have another number of rows than the backup.
  returned: with O(state=restored), when it is or would be restored
  type: list
  elements: str
queued:
  description: Tasks that wait in each queue of the project's workers.
  returned: with O(state=restored), when it is or would be restored
  type: dict
differs:
  description: Where owner, extensions and grants are others than in the database of before.
  returned: when a backup was restored
  type: list
  elements: str
timeline:
  description: What was done and how long it took.
  returned: success
  type: list
  elements: dict
msg:
  description: The same in a sentence.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "postgres_backup")


if __name__ == "__main__":
    main()
