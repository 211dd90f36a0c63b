#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lock
short_description: Hold the lock and the record of a whole operation
description:
  - One change of an app at a time. Takes the lock on the target for an operation of several tasks and returns a token
    that all modules of this collection take as C(lock_token), best by C(module_defaults) of the action group
    C(evenkeel.deploy.all) on one block.
  - Between two tasks no process lives, so the lock is a lease that each module renews. Every holder gets a higher
    number, and each single act asks for it first. So a run that was replaced touches nothing any more, however late
    it wakes up.
  - The same operation (O(playbook), O(app_name), O(target)) begun again waits for its module that still works, else takes
    over at once. Others wait for O(wait) seconds or until the lease runs out, or are told whom to ask.
  - Keeps one record per operation under C(operations/) in O(state_dir), and an append-only C(journal.jsonl).
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project.attributes
attributes:
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Without O(lock_token) each O(state=held) is a new holder.
options:
  state:
    description:
      - V(held) takes the lock, or keeps the one that O(lock_token) names.
      - V(renewed) begins the lease anew and notes what is given for the record. Do so before long tasks of others.
      - V(released) gives it back and ends the record. Where somebody else has taken it over nothing happens.
    type: str
    choices: [held, renewed, released]
    default: held
  state_dir:
    description:
      - Private folder of this collection on the target, for locks and records.
      - It has to belong to root or to whom the module runs as, and nobody else may write to it, nor to a folder above it.
    type: path
    required: true
  former_state_dir:
    description:
      - Where that folder was formerly, in the app's own folder. From root, and where O(state_dir) is one under
        C(/var/lib/evenkeel), V(held) takes the lock there, moves the folder and leaves a link. Without root that one stays.
      - In check mode nothing is moved, and RV(state_dir) is the folder that has the state now.
    type: path
  lock_token:
    description:
      - What O(state=held) returned. Needed for the other states.
    type: str
  playbook:
    description:
      - The operation's name, such as V(update).
    type: str
    default: manual
  app_name:
    description:
      - The app's name.
    type: str
    default: ''
  target:
    description:
      - What it is brought to, such as a version.
    type: str
    default: ''
  who:
    description:
      - Whom others are to ask. Without it the user and host of the controller, and its job where it is AWX.
    type: str
  lease:
    description:
      - Time that the lock is valid after it was last renewed.
    type: str
    default: 30m
  wait:
    description:
      - Time to wait for another operation.
    type: str
    default: 0s
  at_once:
    description:
      - Answer at once instead of waiting. The collection's action plugin asks so first, and shows what the other one does
        while it waits. There is no need to set it.
    type: bool
    default: false
  progress_id:
    description:
      - Name of the file in which the module tells what it waits for. The action plugin sets it.
    type: str
  take_over:
    description:
      - Take the lock from whoever has it. That one is fenced off and touches nothing any more.
    type: bool
    default: false
  goal:
    description:
      - What the operation goes for now. V(undo) before the way back begins, so that whoever comes after a kill finishes
        it; V(undone) when it has ended.
    type: str
    choices: [forward, undo, undone]
  before:
    description:
      - For the record, the state to go back to. No secrets.
    type: dict
  revision:
    description:
      - For the record, the commit.
    type: str
  release:
    description:
      - For the record, the release.
    type: str
  reason:
    description:
      - For the record, why it is undone or failed. Its first line is kept.
    type: str
  result:
    description:
      - For the record, how the operation ended.
    type: str
    choices: [ok, failed]
    default: ok
  go_back:
    description:
      - For the record, the command that goes back.
    type: str
  steps:
    description:
      - Of V(released) in check mode, where no record is kept. The results of the operation's modules, for RV(summary).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Take the lock
  evenkeel.deploy.deploy_lock:
    state_dir: /var/lib/evenkeel/travel
    former_state_dir: /srv/travel/.evenkeel
    playbook: update
    app_name: travel
    target: v2
  register: lock

- name: Work under it
  module_defaults:
    group/evenkeel.deploy.all:
      state_dir: "{{ lock.state_dir }}"
      lock_token: "{{ lock.lock_token }}"
  block:
    - name: Roll
      evenkeel.deploy.compose_rolling:
        project_src: /srv/travel/current

    - name: Renew the lease before something long
      evenkeel.deploy.deploy_lock:
        state: renewed
  always:
    - name: Give the lock back
      evenkeel.deploy.deploy_lock:
        state: released
      register: ended

- name: Report what was done
  ansible.builtin.debug:
    msg: "{{ ended.summary }}"
"""

RETURN = r"""
lock_token:
  description: What the modules of the operation show. It orders and is no secret. Empty in check mode.
  returned: always
  type: str
  sample: 7.20261120T084911Z-update-3f2a1c9b
state_dir:
  description: The folder that has the lock and the records. The modules of the operation take it as C(state_dir).
  returned: always
  type: str
  sample: /var/lib/evenkeel/travel
number:
  description: The fencing number.
  returned: always
  type: int
holder:
  description: Who has the lock now, empty for nobody.
  returned: always
  type: str
  sample: update of travel to v2 by anna@laptop
expires:
  description: Until when it is valid unless it is renewed, ISO 8601 in UTC.
  returned: always
  type: str
taken_over:
  description: From whom it was taken and why, empty when it was free.
  returned: when O(state=held)
  type: str
unfinished:
  description: The record of an operation whose undo has not ended. It has to be finished first.
  returned: when O(state=held) or O(state=renewed)
  type: dict
last:
  description:
    - The operation before this one that changed something - its C(playbook), C(target), C(release) and C(result) (V(ok),
      V(failed) or V(interrupted)), empty texts where there is no record.
  returned: when O(state=held), not in check mode
  type: dict
  sample: {playbook: update, target: v2, release: 20261120T084911Z-dc43e41f, result: ok}
summary:
  description:
    - The operation as lines for people, made from its record. In check mode what it would do, made from O(steps).
  returned: when O(state=released)
  type: list
  elements: str
  sample: ["travel is at v2 (dc43e41f0a11), verified, after 41.3 s"]
msg:
  description: What happened.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "deploy_lock")


if __name__ == "__main__":
    main()
