#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_job
short_description: Run the jobs of a Compose project once per release
description:
  - A job is a service that runs to completion, such as a builder of a front end. It is known by C(kind) in C(x-evenkeel) or
    O(service_options), by another service that waits for its end (C(service_completed_successfully)), or by a command that
    ends, such as C(npm run build) or C(manage.py loaddata).
  - Each job runs once for a release, in the order of C(depends_on), in a one-off container with the limits, environment and
    networks of its service. Exit code 0 is success. That it ran is written down in C(.evenkeel/jobs/) of O(project_src), for
    this definition, environment and image. Going back to a release that ran its jobs does not run them again.
  - A mount of the job that a proxy serves from, and that no other service may write to, is what it builds for users. The job
    gets a fresh volume in its place, so that nobody sees it half done; M(evenkeel.deploy.publish_build) puts the files beside
    the live ones. C(publish) in C(x-evenkeel) says V(false) where a job has to write in place, and V(true) where the web
    server is none of the project's.
  - A job of nothing but C(manage.py migrate), C(collectstatic) and C(check) is left to the update, which has its own steps for
    these. One that migrates and does something else as well is refused.
  - What a killed call left is stopped, removed and run again.
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
      - Jobs to run. Without it all there are.
    type: list
    elements: str
    default: []
  point:
    description:
      - V(before) runs the jobs that need no more than a database and a broker, V(after) those that depend on another service
        of the app, which is the new version only after the roll, V(all) both.
    type: str
    choices: [before, after, all]
    default: all
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, of which C(kind) and C(publish) matter here.
    type: dict
    default: {}
  django_service:
    description:
      - The service whose migrations and static files the update sees to. Jobs of another image that migrate are refused.
    type: str
  timeout:
    description:
      - Time that each job may take.
    type: str
    default: 30m
  state:
    description:
      - V(present) runs what has not run for this release.
    type: str
    choices: [present]
    default: present
"""

EXAMPLES = r"""
- name: Build the front end of a release
  evenkeel.deploy.compose_job:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    services: [frontend_builder]
    django_service: api
"""

RETURN = r"""
ran:
  description: The jobs that were run, in check mode those that would be.
  returned: always
  type: list
  elements: str
present:
  description: The jobs that had run for this release already.
  returned: always
  type: list
  elements: str
left:
  description: The jobs that are left to the update.
  returned: always
  type: list
  elements: str
timeline:
  description: The jobs in the order in which they were run.
  returned: always
  type: list
  elements: dict
  contains:
    step:
      description: Always V(job).
      type: str
    service:
      description: The job.
      type: str
    container:
      description: The container it ran in.
      type: str
    started:
      description: When it began (ISO 8601, UTC).
      type: str
    seconds:
      description: How long it took.
      type: float
    result:
      description: V(ok) or V(failed).
      type: str
notes:
  description: What is worth knowing, such as mounts that a job writes to in place.
  returned: always
  type: list
  elements: str
msg:
  description: The same in a sentence; where a job fails its last log lines without the values of secret variables.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "compose_job")


if __name__ == "__main__":
    main()
