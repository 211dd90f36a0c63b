#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_restart
short_description: Restart Compose services without losing a request
description:
  - What C(docker restart) is used for. Nothing about the services is changed.
  - The containers of a web service, worker or scheduler are replaced by new ones as M(evenkeel.deploy.compose_rolling) does it.
  - nginx starts its workers anew, and old ones finish what they have. Its container goes on, since no second one can have its ports.
  - A job, such as one that builds a front end, is run again for this release; M(evenkeel.deploy.publish_build) shows what it built.
  - Databases and brokers are refused, with the command for it.
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
  services:
    description:
      - Their names in the project.
      - Web services, workers and schedulers are replaced together, in the order in which a roll does it. Jobs come next, then nginx.
    type: list
    elements: str
    required: true
  generation:
    description:
      - Name of this request, for example V(2026-11-20-a). What was started after the request was first made is left alone, so the
        same name again finishes what was killed, and otherwise changes nothing.
    type: str
    required: true
  drop_edits:
    description:
      - Let changes go that somebody made by hand, in containers that are replaced, to files of the release. Otherwise they stop it.
    type: bool
    default: false
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well (see M(evenkeel.deploy.compose_rolling)).
    type: dict
    default: {}
  django_service:
    description:
      - See M(evenkeel.deploy.compose_job).
    type: str
  prove:
    description:
      - Requests that a new container has to answer rightly, as in M(evenkeel.deploy.compose_rolling).
    type: list
    elements: dict
  timeout:
    description:
      - Time that a job may take.
    type: str
    default: 30m
"""

EXAMPLES = r"""
- name: Have a worker that is stuck replaced by a new one
  evenkeel.deploy.compose_restart:
    project_src: /srv/travel/current
    services: [celery]
    generation: 2026-11-20-a

- name: Build the front end again
  evenkeel.deploy.compose_restart:
    project_src: /srv/travel/current
    services: [frontend_builder]
    generation: 2026-11-20-b
"""

RETURN = r"""
kinds:
  description: What each service is, such as V(web), V(worker), V(proxy) or V(job), by which it was decided what to do.
  returned: always
  type: dict
  sample: {"celery": "worker"}
timeline:
  description: The steps in the order in which they were done, as M(evenkeel.deploy.compose_rolling) returns them.
  returned: always
  type: list
  elements: dict
notes:
  description: What is worth knowing.
  returned: when there is anything
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
    runtime.run(AnsibleModule, "compose_restart")


if __name__ == "__main__":
    main()
