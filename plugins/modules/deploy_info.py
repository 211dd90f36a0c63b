#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_info
short_description: Tell everything that is known of a deployed app, and what to run next
description:
  - What runs, what was changed by hand, whether the way back is really there, what an operation has left that was ended in
    the middle, and the command that finishes it.
  - Changes nothing and takes no lock, so it can be asked at any time, during an operation too. To compare files with an image
    a container of it is made, never started, and removed again; to ask for migrations one is run that reads only.
  - What cannot be seen, since the engine or the database is down or permissions are missing, is named with the reason, and
    the rest is told.
  - Contents of files never leave the target, only paths and checksums.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
options:
  path:
    description:
      - The app's folder, C(app_root).
    type: path
    required: true
  project_name:
    description:
      - The app's name, which is that of its Compose project.
    type: str
    required: true
  state_dir:
    description:
      - Private folder of this collection on the target. Without it C(.evenkeel) in O(path). Where it is a folder under
        C(/var/lib/evenkeel) that has nothing yet, C(.evenkeel) in O(path) is read as long as it is there.
    type: path
  backups_dir:
    description:
      - Folder of backups. Without it C(backups) in O(path).
    type: path
  owner:
    description:
      - The user as whom git runs, C(app_owner).
    type: str
  django_service:
    description:
      - The service whose image is asked for migrations.
    type: str
    default: api
  manage_py:
    description:
      - Where C(manage.py) is in that image, from its working directory; of an absolute path the folder is where it runs.
    type: str
    default: manage.py
  look_at:
    description:
      - What takes time. V(drift) compares files by checksums, at most 2,000 of them, V(migrations) asks Django in a container
        of the release, and of the one to go back to, V(use) measures CPU and memory of each container for some seconds.
    type: list
    elements: str
    choices: [drift, migrations, use]
    default: [drift, migrations, use]
extends_documentation_fragment:
  - evenkeel.deploy.smoke_test
attributes:
  check_mode:
    support: full
    description: Can run in check_mode and return changed status prediction without modifying target.
  diff_mode:
    support: none
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
  idempotent:
    support: full
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
requirements:
  - For what runs in containers, Docker Engine 20.10 or newer with Compose 2.24, and the Docker SDK for Python (package
    C(python3-docker))
"""

EXAMPLES = r"""
- name: See how the shop is
  evenkeel.deploy.deploy_info:
    path: /srv/travel
    project_name: travel
  register: shop

- name: Say what to run next
  ansible.builtin.debug:
    msg: "{{ shop.next or 'nothing' }}"

- name: Look quickly whether an operation is unfinished
  evenkeel.deploy.deploy_info:
    path: /srv/travel
    project_name: travel
    look_at: []
"""

RETURN = r"""
status:
  description:
    - V(unfinished) where an operation was ended in the middle, V(attention) where something else has to be done, V(running)
      while an operation works, V(fine) otherwise.
  returned: always
  type: str
next:
  description: The first command to run, or what to do, empty where nothing has to be done.
  returned: always
  type: str
  sample: ansible-playbook evenkeel.deploy.update -e update_version=v2
findings:
  description: What is not as it should be (C(level) V(act)) or worth knowing (V(note)), what has to be done first.
  returned: always
  type: list
  elements: dict
  contains:
    level:
      description: V(act) or V(note).
      type: str
    about:
      description: Such as V(operation), V(services), V(site), V(images), V(secrets), V(leftovers), V(drift), V(way back), V(unseen).
      type: str
    what:
      description: A sentence.
      type: str
    next:
      description: What to run or do about it, empty where nothing has to be.
      type: str
info:
  description: Everything that was seen.
  returned: always
  type: dict
  contains:
    release:
      description: The current release with its C(id), C(revision), C(version), C(state) and C(verified_at), empty for none.
      type: dict
    releases:
      description: The same of all releases, the newest first.
      type: list
      elements: dict
    hotfixes:
      description:
        - The hotfixes that production has beside its last update, each with C(name), C(kinds), C(files), C(public_paths), C(made)
          and, where it is one of code, its C(revision). The others are of uploads, built files or the database.
        - One that is in running containers only has C(seal), the command that makes it a release, C(lacking), the containers that came
          without it, and C(goes_back), whether it is on its way out of them.
      type: list
      elements: dict
    tried:
      description:
        - Every hotfix that is remembered, each with C(name), git's names of the C(trees) C(before) and C(after) it, C(env) (names of
          variables), C(given_sums) (of uploads and built files per path a checksum), the C(state) of its release, and when that was
          C(verified) (UNIX time). Roles that ask this host as a staging host compare these.
      type: list
      elements: dict
    services:
      description:
        - Per service its C(name), C(kind), C(image), C(replicas), and its C(containers), each with C(name), C(state), C(health),
          C(since), C(restarts), C(exit_code), C(image), C(revision), C(outdated) (how it differs from the release), C(cpu) (percent
          of one CPU) and C(memory) (bytes).
      type: list
      elements: dict
    others:
      description: Containers of the project that are of no service of the release.
      type: list
      elements: dict
    holder:
      description:
        - Who has the lock, with C(held), C(number), C(operation), C(who), C(since), C(expires), whether a module of it is C(alive),
          seconds since its last sign of life (C(quiet)), whether the machine was C(rebooted) since, and the run whose way back
          is C(pending_undo).
      type: dict
    pending_undo:
      description: The record of that run.
      type: dict
    records:
      description: The last operations, the newest first.
      type: list
      elements: dict
    leftovers:
      description: Pins, gates, refusals and containers that an operation has left.
      type: list
      elements: str
    edits:
      description:
        - Per container, volume, release or mount (C(where), C(what)) its C(differences), each with C(path), C(change) (V(changed),
          V(added), V(removed), V(unread)), the sums C(before) and C(after) (SHA-256; in a release C(before) is git's blob), C(at),
          C(at_start) (written as its container started, as entrypoints do) and C(why); C(more) of them that are not listed;
          and C(unseen), why it could not be compared.
      type: list
      elements: dict
    migrations:
      description:
        - How many are C(applied) and C(pending) for the current release, and which operations are C(open), as
          M(evenkeel.deploy.django_migrate) tells.
      type: dict
    rollback_target:
      description:
        - The C(release) to go back to, its C(revision) and C(version), what is C(missing) of it on this host, what only the
          release's archive has (C(archived)), and the C(verdict) on the database, as M(evenkeel.deploy.django_migrate) tells.
      type: dict
    baked:
      description:
        - Images of releases that were built with generated files or the server's environment in their context, each with C(image)
          and the names of the C(variables) whose values of today they may hold. What M(evenkeel.deploy.compose_build) builds now holds
          none.
      type: list
      elements: dict
    backups:
      description: The backups, the newest first, with C(name), C(bytes), C(started), C(proven), C(database), C(releases).
      type: list
      elements: dict
    disks:
      description: Per file system C(path), C(free) and C(size) in bytes.
      type: list
      elements: dict
    memory:
      description: C(total) and C(available) bytes.
      type: dict
    cpus:
      description: CPUs of the host.
      type: int
    load:
      description: Processes that ran or waited, over the last minute.
      type: float
    looked:
      description: What was asked for by O(look_at).
      type: list
      elements: str
    unseen:
      description: What could not be seen, and why.
      type: dict
text:
  description: The same as lines for people.
  returned: always
  type: list
  elements: str
msg:
  description: How the app is, and what to run next.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "deploy_info")


if __name__ == "__main__":
    main()
