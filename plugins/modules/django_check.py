#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: django_check
short_description: Ask Django's own checks, and the app's tests, of an image before anything of it runs
description:
  - Asks the image of a service, in a container of its own with the entrypoint bypassed, what C(check --deploy) and
    C(makemigrations --check) would say. Both are one container. No database is asked, unless for O(plan), and nothing is written.
  - Errors fail, silenced ones (C(SILENCED_SYSTEM_CHECKS)) do not. Warnings are returned in RV(check_warnings).
  - Changes of models that no migration has fail, by the app's name. An app that lies in C(site-packages) is only noted, since
    nobody here can commit a migration for it, unless it is installed there together with the project's settings, or its
    migrations are the project's own (C(MIGRATION_MODULES)).
  - With O(test_command) the app's tests run in the same image, in a scratch copy of the project. Services of kind C(database)
    and C(broker) are started anew from the same images, with the same command and environment, and without their volumes.
    They answer by the same names, network aliases and container names, so settings need no change.
  - Production cannot be reached from there. The scratch copy has one network, which leads nowhere and in which this host has
    no address. The tests get no volume and no folder of the service, but the release's own tree and single files that are
    mounted read-only anyway. What they write is gone with them.
  - The scratch copy is taken away at the end, also where a signal ends the module, and where it was killed by the next call
    that runs tests or is part of an operation.
  - In check mode tests do not run, and the checks only where the image and the project's networks and volumes are there.
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
  service:
    description:
      - The service whose image has the Django project, and with whose environment it is asked.
    type: str
    required: true
  checks:
    description:
      - V(deploy) is C(check --deploy), V(migrations) is C(makemigrations --check --dry-run).
    type: list
    elements: str
    choices: [deploy, migrations]
    default: [deploy, migrations]
  plan:
    description:
      - Whether the same container is asked for the pending migrations as well, which spares another start of Django. Databases are
        read then, in transactions that are read-only. As a part of an operation (O(lock_token)) it is also written down in the
        collection's own table that this code knows what earlier code has migrated, where nothing else is to be done.
    type: bool
    default: false
  bridges:
    description:
      - See M(evenkeel.deploy.django_migrate).
    type: list
    elements: str
    choices: [keep_default, set_default, mirror_column, foreign_key, synonym]
    default: [keep_default, set_default, mirror_column, foreign_key]
  declared_phases:
    description:
      - For O(plan), as M(evenkeel.deploy.django_migrate) takes it.
    type: dict
    default: {}
  allow_data_loss:
    description:
      - For O(plan), as M(evenkeel.deploy.django_migrate) takes it.
    type: list
    elements: str
    default: []
  test_command:
    description:
      - A command that runs the app's tests, as text or as a list of words, without a shell. Without it none are run.
      - It stands in the place of the entrypoint. A first word that ends with C(.py) is run by C(python).
      - The test runner has to be in the image.
      - It is refused where a database of the app's settings is not a database service of the project, since the tests would
        find none, unless the command names settings of its own (C(--settings), C(--ds)).
    type: raw
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, of which C(kind) matters here.
    type: dict
    default: {}
  manage_py:
    description:
      - Path of C(manage.py) in the image, from its working directory.
    type: str
    default: manage.py
  take_over_from:
    description:
      - The host that the database belongs to so far, as the refusal names it (C(machine/project)), where its stack is gone for
        good. Asked with O(plan).
    type: str
  timeout:
    description:
      - Time that the checks may take, and the tests.
    type: str
    default: 1h
  progress_id:
    description:
      - Set by the action plugin, which shows what happens meanwhile.
    type: str
"""

EXAMPLES = r"""
- name: Let Django look at a release before it is rolled out
  evenkeel.deploy.django_check:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    service: api
  register: checked

- name: Run the tests as well, against a scratch database
  evenkeel.deploy.django_check:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    service: api
    test_command: manage.py test --noinput
"""

RETURN = r"""
check_warnings:
  description: What Django warns of and did not silence, and what it says below that.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The check's identifier.
      type: str
      sample: security.W004
    level:
      description: V(debug), V(info) or V(warning); of errors V(error) or V(critical).
      type: str
    message:
      description: What it says.
      type: str
    hint:
      description: What Django advises, may be empty.
      type: str
    object:
      description: What it is about, such as a model; empty for the whole project.
      type: str
check_errors:
  description: What fails the module, of the same form as RV(check_warnings).
  returned: always
  type: list
  elements: dict
missing_migrations:
  description: Own apps with changes that no migration has.
  returned: always
  type: list
  elements: dict
  contains:
    app:
      description: The app's label.
      type: str
    operations:
      description: What a migration would do, in words.
      type: list
      elements: str
notes:
  description: Apps of others whose models differ from their migrations.
  returned: always
  type: list
  elements: str
planned:
  description:
    - With O(plan) what M(evenkeel.deploy.django_migrate) returns with C(state=planned), without its C(timeline).
    - Empty where it could not be told, such as when the database does not answer. That module then says why.
  returned: always
  type: dict
tests:
  description: The C(command) that passed, in how many C(seconds), its C(last_lines), and the C(log) on the host with all of it.
  returned: always, empty where no tests were run to their end
  type: dict
django:
  description: The version of Django in the image.
  returned: when the image was asked
  type: str
timeline:
  description: What was done and how long it took.
  returned: always
  type: list
  elements: dict
msg:
  description: The same in a sentence; where tests fail their last lines, without the values of secret variables.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "django_check")


if __name__ == "__main__":
    main()
