#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: smoke_test
short_description: Check that an app serves, as its users see it
description:
  - Requests O(health_url) and the paths of O(prove) as users would, so redirects are followed and certificates are checked.
  - A name is asked of this server, whatever DNS says, with that name as C(Host) and in TLS. It is asked as DNS says only if
    nothing listens on its port here, and RV(notes) says so. No proxy of the environment is used.
  - The certificate of this server has to be for that name and in date. Who issued it does not matter, since the connection
    does not leave the machine. Asked as DNS says, the issuer has to be known as well.
  - An address of this server, such as C(127.0.0.1), may be refused by a strict C(server_name) or C(ALLOWED_HOSTS). It is
    then asked by the C(server_name) that leads to the app in nginx's configuration, if there is exactly one, and
    RV(notes) says what to write as O(health_url). With several the failure names them.
  - An answer that waiting can heal is asked for again, a second apart. A certificate, a redirect to where nothing listens
    and status 4xx fail at once (408, 425 and 429 do not, and 404 fails after three tries).
  - Fails as well if a container of O(project_name) is restarting or dead. A failure shows the last log lines.
  - Changes nothing. In check mode nothing is asked.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.smoke_test
  - evenkeel.deploy.project.attributes
options:
  project_name:
    description:
      - Name of the Compose project. Without it, only the site is asked, and no Docker is needed.
    type: str
  service:
    description:
      - The service whose log lines a failure shows. Without it, those of all services.
    type: str
  tries:
    description:
      - How often the site is asked until it answers as it should, where waiting can heal what it answers.
    type: int
    default: 6
  brief:
    description:
      - Ask the site alone. Containers, and what would happen after a crash, are not looked at.
    type: bool
    default: false
  advice:
    description:
      - What a failure says to do next.
    type: str
    default: look at the messages above and run the same command again
  state_dir:
    description:
      - Where the operation's record is, see M(evenkeel.deploy.deploy_lock).
    type: path
  lock_token:
    description:
      - Token of the operation in whose record the result is kept.
    type: str
attributes:
  diff_mode:
    support: none
requirements:
  - Docker SDK for Python 5.0 or newer (package C(python3-docker)), with O(project_name)
"""

EXAMPLES = r"""
- name: Check that the shop serves
  evenkeel.deploy.smoke_test:
    project_name: travel
    service: api
    health_url: http://127.0.0.1/health/
    prove:
      - {path: /api/tours/, contains: Lisbon}
"""

RETURN = r"""
asked:
  description: The URL that was asked, without user, password and secret parameters; empty where none is known.
  returned: always
  type: str
notes:
  description: What is worth knowing, such as that nginx would not find a container again that moves.
  returned: always
  type: list
  elements: str
msg:
  description: What was found.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "smoke_test")


if __name__ == "__main__":
    main()
