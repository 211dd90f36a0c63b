#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hotfix_database
short_description: Replace a function, view or trigger of the app's PostgreSQL database, and take that back
description:
  - Statements C(CREATE) and C(DROP) of functions, procedures, views and triggers are run in one transaction, by the server's own
    C(psql) in its container, or in one of O(client_image) where the database is no service of the project. No container of the app
    is touched. Membership in the group C(docker) is enough.
  - Any other statement is refused by name before the server is asked, such as one that changes a table or rows, one that begins or
    ends a transaction, and commands of C(psql). Refused are also C(CASCADE), materialized views and constraint triggers.
  - What is there is kept before it is changed. In the same transaction the server is asked whether anything else was changed; the whole
    way back is gone, compared and forgotten; and O(check) is asked. Only then it is committed. What could not be taken back exactly
    as it was is refused.
  - What is replaced keeps its owner, grants and comment, also where it is dropped and made anew. What is new belongs to the role that
    has Django's tables.
  - A lock is waited for O(lock_timeout) seconds, since whoever comes later waits behind it, and asked for again O(retries) times.
    Functions need none.
  - A migration with the same change and its way back is written for the repository, which may also be run where the hotfix is in force.
  - A call that was killed is taken up by the same call.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.hotfix
  - evenkeel.deploy.external_database
  - evenkeel.deploy.staging
  - evenkeel.deploy.project.attributes
options:
  check:
    description:
      - One C(SELECT) that has to be true with the change, or nothing is changed. It is asked in the transaction, and can write nothing.
    type: str
  name:
    description:
      - What the hotfix is called. Without it a name made from the content.
    type: str
  state:
    description:
      - V(reverted) brings back what the hotfix O(name) has replaced. What somebody replaced since is left, and named. It is refused
        where another hotfix lies on the same object, or something else needs what would go.
      - V(checked) changes nothing in the database, and tells of each hotfix that is in force whether a migration has it by now, or
        something has replaced it.
    type: str
    choices: [applied, reverted, checked]
    default: applied
  optional:
    description:
      - With O(state=reverted), that it is no failure where O(name) is no hotfix of the database. RV(found) tells.
    type: bool
    default: false
  migration_app:
    description:
      - The app in whose folder C(migrations) the migration belongs. Without it the only one that the release has.
    type: str
  service:
    description:
      - The service that is the database. Without it the only one of the kind C(database), or what the app's settings name.
    type: str
  database:
    description:
      - The database's name. Without it the one of the container's C(POSTGRES_DB), or the one of Django's alias C(default).
    type: str
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, of which C(kind) matters here.
    type: dict
    default: {}
  django_service:
    description:
      - The service whose Django is asked for its database, where the project has none as a service.
    type: str
  lock_timeout:
    description:
      - Time that the first lock is waited for. The others have to be there at once.
    type: str
    default: 2s
  retries:
    description:
      - How often a lock that was not given is asked for again, a second later.
    type: int
    default: 5
  statement_timeout:
    description:
      - Time that each statement, and the check, may take.
    type: str
    default: 5s
  take_over_from:
    description:
      - The host that the database belongs to so far, as the refusal names it (C(machine/project)), where its stack is gone for
        good. It refuses as before where the database belongs to any other.
    type: str
  timeout:
    description:
      - Time that one attempt may take.
    type: str
    default: 2m
requirements:
  - PostgreSQL 11 or newer
  - Docker Engine 20.10 or newer
  - Docker Compose 2.24 or newer
  - Docker SDK for Python 5.0 or newer (package C(python3-docker))
"""

EXAMPLES = r"""
- name: Correct a function
  evenkeel.deploy.hotfix_database:
    path: /srv/travel
    files:
      - path: price.sql
        src: price.sql
    check: SELECT price_of(1) > 0
    name: price

- name: Take it back
  evenkeel.deploy.hotfix_database:
    path: /srv/travel
    name: price
    state: reverted
"""

RETURN = r"""
name:
  description: What the hotfix is called.
  returned: always
  type: str
kind:
  description: V(database).
  returned: always
  type: str
found:
  description: Whether there is such a hotfix of the database.
  returned: always
  type: bool
objects:
  description: What changes, such as C(function public.price_of(integer)). In check mode as the statements name it.
  returned: always
  type: list
  elements: str
migration:
  description: A migration that does the same.
  returned: always, empty where nothing was applied
  type: str
migration_path:
  description: Where in the repository it belongs.
  returned: always, empty where nothing was applied
  type: str
migration_file:
  description: Where on the target it is kept.
  returned: always, empty where nothing was applied
  type: str
next:
  description: Lines for the end of the operation, such as the command that takes it back.
  returned: always
  type: list
  elements: str
notes:
  description: What is worth knowing.
  returned: always
  type: list
  elements: str
msg:
  description: The same in a sentence.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "hotfix_database")


if __name__ == "__main__":
    main()
