#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: requests_hold
short_description: Hold requests during a gap in which no code of the app may run
description:
  - For what cannot be done beside running code, such as a migration that neither version survives, or another database image.
  - Schedulers and workers are stopped first, as long as their tasks need. The site answers meanwhile.
  - Then new requests to each web container wait, requests under way end, and the processes of the container are frozen.
  - A request that waits longer than O(hold_timeout) gets the maintenance page, with status 503 and C(Retry-After).
  - Requests wait in a small server beside each web container, in the same network namespace. So any proxy, a published port and other
    containers go on to connect where they did. The server has the container's image, and neither its environment nor its mounts.
  - M(evenkeel.deploy.compose_rolling) passes them on to the new containers as soon as it leads other requests there. Nothing else
    has to be called then. O(state=released) is the way back, to the containers that were frozen.
  - A killed call leaves requests waiting, then the page. The same call goes on; O(state=released) ends it.
  - It needs root, C(nft) and a Python in the image of the web service.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.project.attributes
attributes:
  diff_mode:
    support: none
options:
  state:
    description:
      - V(held) begins the gap. V(released) lets the frozen containers go on, waits until they answer, and lets all requests in.
      - V(released) does not start workers and schedulers; M(evenkeel.deploy.compose_rolling) does.
    type: str
    choices: [held, released]
    default: held
  hold_timeout:
    description:
      - Time that a request waits. Keep it below the timeouts of proxies and clients, which are often 30 s.
    type: str
    default: 20s
  expected:
    description:
      - Time that the gap is going to take, if it is known. The maintenance page names it (C(Retry-After)). Where it is longer than
        O(hold_timeout), no request waits, and all get the page at once.
    type: str
    default: 0s
  page:
    description:
      - Path of an HTML file to use as the maintenance page, relative to O(project_src) or absolute. At most 256 KiB, UTF-8.
    type: str
  health_url:
    description:
      - URL of a health check. With O(state=released) its path is asked of containers that go on, before requests are let in.
    type: str
  about:
    description:
      - What is going to be done in the gap. It is kept on the target until the gap is over, and returned by every call, so that
        whoever goes back after a kill knows it. Calls add to it.
    type: dict
    suboptions:
      migrations:
        description:
          - Migrations that are going to be run, by C(app.name).
        type: list
        elements: str
        default: []
      stores:
        description:
          - Services of databases and brokers that are going to be created anew.
        type: list
        elements: str
        default: []
      backups:
        description:
          - Backups that were made in the gap, each with C(database) and C(file).
        type: list
        elements: dict
        default: []
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well (see M(evenkeel.deploy.compose_rolling)).
    type: dict
    default: {}
  progress_id:
    description:
      - Set by the action plugin, which shows what happens meanwhile.
    type: str
"""

EXAMPLES = r"""
- name: Hold requests, and stop all code that uses the database
  evenkeel.deploy.requests_hold:
    project_src: /srv/travel/current
    hold_timeout: 15s

- name: Let the same containers go on
  evenkeel.deploy.requests_hold:
    project_src: /srv/travel/current
    state: released
"""

RETURN = r"""
held:
  description: The services to which requests wait.
  returned: always
  type: list
  elements: str
unheld:
  description: The web services to which requests cannot wait, each with the reason. They still run.
  returned: always
  type: dict
unbroken:
  description: Whether a gap was begun by an earlier call, and no request was answered by the app since.
  returned: always
  type: bool
about:
  description: What O(about) has named since the gap began, empty where none is open.
  returned: always
  type: dict
timeline:
  description: The steps in the order in which they were done, as M(evenkeel.deploy.compose_rolling) returns them.
  returned: always
  type: list
  elements: dict
notes:
  description: What is worth knowing.
  returned: always
  type: list
  elements: str
msg:
  description: What happened, and on failure how it is now and what to do next.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "requests_hold")


if __name__ == "__main__":
    main()
