#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_queues
short_description: Keep tasks that only a newer version knows from older Celery workers, which would discard them
description:
  - A Celery worker throws away each message whose task it does not register. On the way back to an older version such messages
    may still wait. This module is called when nothing of the newer version sends any more, and before a worker of the
    older one is started.
  - It compares the names that wait in the queues, and those that workers have fetched, with the names that the older version
    registers, as a container of that version tells. Where newer workers know more, they go on until none of these tasks is left,
    for at most O(timeout); then they fetch no more, end what they have begun, and are stopped, but not removed. What is left is
    moved to lists of the same broker that nobody fetches from, and named. It is never taken out of the broker.
  - Where the newer workers know nothing that the older ones do not, nothing is done, and there is no gap in which no worker runs.
  - Messages are looked at in the lists of Redis (priorities and what is fetched included), and only names are read. Other brokers
    show no more than their number; where newer workers know more and messages are left after O(timeout), the call fails
    and says so, unless O(leave_unread).
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.project.attributes
options:
  state:
    description:
      - V(known) leaves nothing in the queues that the workers of the project in O(project_src) would discard.
      - V(returned) puts back what was kept aside, and is registered by the workers of that project.
    type: str
    choices: [known, returned]
    default: known
  timeout:
    description:
      - Time that newer workers have at most to run what the older ones do not register.
    type: str
    default: 1m
  leave_unread:
    description:
      - Go on where the broker does not show of which names the waiting messages are.
    type: bool
    default: false
  removed:
    description:
      - Services that this version of the project does not have, and that are about to be taken away. Workers among them end as well.
    type: list
    elements: str
    default: []
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, as for M(evenkeel.deploy.compose_rolling).
    type: dict
    default: {}
  progress_id:
    description:
      - Name of the file in which the module tells what it does while it does it. The collection's action plugin sets it
        and shows the lines; there is no need to set it.
    type: str
"""

EXAMPLES = r"""
- name: Bring back what sends tasks
  evenkeel.deploy.compose_rolling:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    only: others

- name: Let newer workers run what the older ones do not know
  evenkeel.deploy.celery_queues:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    timeout: 120

- name: Bring back the workers
  evenkeel.deploy.compose_rolling:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    only: workers

- name: Put back what was kept aside, for the version that runs now
  evenkeel.deploy.celery_queues:
    project_src: /srv/travel/current
    project_name: travel
    state: returned
"""

RETURN = r"""
waiting:
  description:
    - In check mode the names, and how many of each, that the older workers would discard. With V(state=returned) what was
      put back.
  returned: always
  type: dict
  sample: {"tours.tasks.print_voucher": 3}
aside:
  description: What was kept aside by this call, with V(state=returned) what still is.
  returned: always
  type: dict
  sample: {"tours.tasks.print_voucher": 3}
seconds:
  description: How long newer workers were waited for.
  returned: always
  type: float
notes:
  description: What else is worth knowing, such as tasks in a queue that no older worker fetches from.
  returned: always
  type: list
  elements: str
msg:
  description: What was done, or would be.
  returned: always
  type: str
  sample: newer workers have run what older ones do not register after 4 s, and have ended
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "celery_queues")


if __name__ == "__main__":
    main()
