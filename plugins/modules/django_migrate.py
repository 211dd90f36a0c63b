#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: django_migrate
short_description: Tell which migrations of a new version can run beside the code that serves
description:
  - Asks the image of a service, in a container of its own, what Django would migrate, and judges each operation by what
    it does to the code from before and to the code that it is for. Nothing is changed, in no database and on no disk.
  - C(before) means that the old code goes on working once it is made, C(after) that the new code works until it is made,
    C(either) both, C(downtime) neither. C(unknown) is what cannot be looked into and has to be declared, C(refuse) what
    would fail or block.
  - What is C(after) can still be part of the same update. Then only Django's state moves before the code is replaced, and
    the operation itself waits (action C(defer)).
  - Only PostgreSQL is judged.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.project.attributes
options:
  service:
    description:
      - The service whose image has the Django project, and whose environment leads to its databases.
    type: str
    required: true
  state:
    description:
      - V(planned) tells what is pending and when each operation may run. It reads and changes nothing, with or without
        check mode.
    type: str
    choices: [planned]
    required: true
  databases:
    description:
      - Aliases of the databases in the order in which they are migrated. Without it all of the settings, but for replicas,
        mirrors of tests, and further names of the same database.
    type: list
    elements: str
    default: []
  target:
    description:
      - An app, or C(app.migration), up to which it is planned. Without it everything.
    type: str
  declared_phases:
    description:
      - When an operation may run that cannot be judged, by C(app.migration) or C(app.migration:index), as V(before),
        V(after) or V(either). It goes before C(evenkeel_phase) in the migration's file, which means the same.
      - It also settles what would be C(downtime) only if the code does something that its author knows it does not do, like
        writing two equal rows.
    type: dict
    default: {}
  manage_py:
    description:
      - Path of C(manage.py) in the image, from its working directory.
    type: str
    default: manage.py
  timeout:
    description:
      - Seconds it may take.
    type: float
    default: 300.0
"""

EXAMPLES = r"""
- name: See which migrations of a release can run beside the code that serves
  evenkeel.deploy.django_migrate:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    service: api
    state: planned
  register: pending

- name: Say of a data migration that the old code works with what it does
  evenkeel.deploy.django_migrate:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    service: api
    state: planned
    declared_phases:
      tours.0007_fill_slugs: before
"""

RETURN = r"""
plan:
  description: The pending migrations in the order in which they run, database by database.
  returned: always
  type: list
  elements: dict
  contains:
    app:
      description: The app.
      type: str
    name:
      description: The migration's name.
      type: str
    database:
      description: The alias of the database.
      type: str
    phase:
      description: The strictest phase of its operations; C(before) where some are C(before) and others C(after).
      type: str
    operations:
      description:
        - Per operation its C(index) in the migration, C(operation) in words, C(phase), C(action) (V(now), V(defer) or
          V(refuse)), C(reason), C(lock) and C(grows_with_table), C(safe_way) to write it, C(method) where it has to run in a
          form that does not block, C(bridge) (what would let both codes live on one schema; none is made yet), C(beware)
          (what to expect of rows that the other code has written), C(drops_data), C(reversible), C(atomic), C(opaque),
          C(declared), and C(sql) without any value, if it can be known.
      type: list
      elements: dict
refused:
  description: The operations that cannot run in an update without a gap, each with the reason and the way out.
  returned: always
  type: list
  elements: dict
pending:
  description: How many migrations are pending.
  returned: always
  type: int
to_record:
  description: Squashed migrations whose parts have all been run. Only C(migrate) records them, even where nothing is pending.
  returned: when the image is there
  type: list
  elements: dict
django:
  description: The version of Django in the image.
  returned: when the image is there
  type: str
notes:
  description: Databases that were left out, and why.
  returned: when the image is there
  type: list
  elements: str
timeline:
  description: What was done and how long it took.
  returned: when the image is there
  type: list
  elements: dict
msg:
  description: The same in a sentence.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.host.call_result import finish
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.migrate_call import migrate
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.project import PROJECT_ARGUMENTS


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **PROJECT_ARGUMENTS,
            "service": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["planned"], "required": True},
            "databases": {"type": "list", "elements": "str", "default": []},
            "target": {"type": "str"},
            "declared_phases": {"type": "dict", "default": {}},
            "manage_py": {"type": "str", "default": "manage.py"},
            "timeout": {"type": "float", "default": 300.0},
        },
        supports_check_mode=True,
    )
    finish(module, migrate)


if __name__ == "__main__":
    main()
