#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: django_migrate
short_description: Migrate a database beside the code that serves, and finish when that code is gone
description:
  - Asks the image of a service, in a container of its own, what Django would migrate, and judges each operation by what
    it does to the code from before and to the code that it is for. With O(state=planned) that is all, and nothing is
    changed, in no database and on no disk.
  - O(state=expanded) then runs Django's own C(migrate) in that image, before the code is replaced. What the old code
    would not survive waits. Django's state moves and the migration is recorded, so that a plain C(migrate) of anybody
    does nothing; the operation is kept in a table of the same database (C(evenkeel_migrations)).
  - O(state=contracted) runs what waits, when every container of the app runs code that was made for it.
  - What is judged, run, kept and recorded of a migration is one transaction. Killed at any point, the same call goes on
    from what it finds. What cannot be in a transaction is written down before it begins, and is not begun again unless it
    can be seen whether it has ended.
  - No statement waits for a lock longer than O(lock_timeout), since everybody else waits behind it. What was not given
    its lock is rolled back and tried again O(retries) times; the message then names who was in the way.
  - C(before) means that the old code goes on working once it is made, C(after) that the new code works until it is made,
    C(either) both, C(downtime) neither. C(unknown) is what cannot be looked into and has to be declared, C(refuse) what
    would fail or block.
  - C(between) is what moves rows in batches, when all code that runs was made for it (C(evenkeel_batches), see
    C(docs/migrations.md)). It is put off as well, and takes nothing away.
  - What is C(after) can still be part of the same update. Then only Django's state moves before the code is replaced, and
    the operation itself waits (action C(defer)).
  - A database belongs to the host and project that has migrated it last, which stands in the same table. Another one, or a
    second project on this host, is refused by every state before anything is touched. A copy that was restored from a dump
    belongs to nobody yet, nor does a database in which the app's router lets nothing be migrated.
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
      - V(expanded) runs what the code that serves survives, and puts off the rest. It refuses as a whole where an operation
        can be neither.
      - V(contracted) runs what was put off. It refuses, by name, what code that runs was not made for, and what drops data
        and is not in O(allow_data_loss).
      - V(abandoned) is for after a rollback. A migration of which everything was put off is un-recorded, and so is one of
        which what was run can be taken back without losing a row; the next expand begins with it anew. Others stay
        recorded and are put aside, since the old code works with them; the next expand of a version that has them takes
        them up. It refuses while the release that was expanded runs.
      - V(migrated) runs everything as Django does, whatever it does to code that runs. It is for a first deployment, and
        for a window.
      - V(reversed) takes back what was run after O(target), the last first. It refuses, before anything is touched, what has
        no way back, what loses data and is not in O(allow_data_loss), and what code that runs was made for.
    type: str
    choices: [planned, expanded, contracted, abandoned, migrated, reversed]
    required: true
  release:
    description:
      - The revision that is being brought in. Without it the one that the image is labelled with.
      - With O(state=abandoned) only what was expanded for it is taken back or put aside. Without it everything that waits.
    type: str
  lock_timeout:
    description:
      - Time that a statement may wait for a lock. Queries of the app wait behind it for that long.
      - It is set through the app's own connection, and looked at again in the database. C(statement_timeout) stays as the
        app has it. Builds beside the traffic, behind which nobody waits, may wait thirty times as long.
    type: str
    default: 2s
  retries:
    description:
      - How often a transaction that was not given its locks is tried again, after pauses that grow.
    type: int
    default: 8
  wait:
    description:
      - Time to wait for another migration of the same database.
    type: str
    default: 1m
  allow_data_loss:
    description:
      - Migrations (C(app.migration)) or operations (C(app.migration:index)) that O(state=contracted) may drop data with, and
        migrations that O(state=reversed) may lose data by.
    type: list
    elements: str
    default: []
  additive_only:
    description:
      - Refuse an expand that would put anything off, or drop data.
    type: bool
    default: false
  only:
    description:
      - With O(state=contracted), the migrations (C(app.migration)) that the release has which comes next. What it does not
        have waits, since its code may need what would be taken away. Without this list no other release is about to come.
      - With O(state=reversed), instead of O(target), the migrations to take back, as far as they were run.
    type: list
    elements: str
  only_data_moves:
    description:
      - With O(state=contracted), run only what moves rows in batches, and leave everything else that was put off.
    type: bool
    default: false
  nothing_written:
    description:
      - With O(state=reversed), take back also migrations that have filled a new column or table, since no code has written rows
        after they were run. M(evenkeel.deploy.requests_hold) tells whether that is so (RV(evenkeel.deploy.requests_hold#module:unbroken)).
    type: bool
    default: false
  interrupted:
    description:
      - What is true of an operation that had begun outside of a transaction and was broken off, by
        C(app.migration:index). V(again) runs it once more, V(done) takes it for done.
    type: dict
    default: {}
  progress_id:
    description:
      - Set by the action plugin, which shows what happens meanwhile.
    type: str
  databases:
    description:
      - Aliases of the databases in the order in which they are migrated. Without it all of the settings, but for replicas,
        mirrors of tests, and further names of the same database.
      - Where O(state=expanded) fails in one of several, what it has run there is taken back if no row is lost by it; those
        before it stay expanded, which the code that serves works with, and those after it are not touched.
    type: list
    elements: str
    default: []
  canary_database:
    description:
      - Judge all databases, and run only in this one. The same call without it goes on with the others.
    type: str
  allow_downtime:
    description:
      - With O(state=reversed), take back also what code that runs was made for.
    type: bool
    default: false
  target:
    description:
      - An app, or C(app.migration), up to which it is planned. Without it everything.
      - With O(state=reversed) the migration that stays, or C(app.zero).
    type: str
  declared_phases:
    description:
      - When an operation may run that cannot be judged, by C(app.migration) or C(app.migration:index), as V(before),
        V(after), V(either) or V(between). It goes before C(evenkeel_phase) in the migration's file, which means the same.
      - It also settles what would be C(downtime) only if the code does something that its author knows it does not do, like
        writing two equal rows.
    type: dict
    default: {}
  bridges:
    description:
      - Temporary DDL that may be put up by O(state=expanded) where old and new code cannot both live with a migration, and that
        O(state=contracted) takes down. An empty list refuses such migrations.
      - V(keep_default) keeps the default of a NOT NULL field that comes, which Django would drop at once. V(set_default) gives
        a default to a NOT NULL field that goes, for the rows of code that does not name it any more. V(mirror_column) keeps
        a renamed field (C(RenameField), C(db_column)) under both names, by a trigger. V(foreign_key) empties nullable foreign
        keys that go, and deletes rows of tables that go, where the new code deletes what they refer to. V(synonym), which has to
        be asked for, gives a renamed table (C(RenameModel), C(AlterModelTable)) a second name, by partitioning.
    type: list
    elements: str
    choices: [keep_default, set_default, mirror_column, foreign_key, synonym]
    default: [keep_default, set_default, mirror_column, foreign_key]
  take_over_from:
    description:
      - The host that the database belongs to so far, as the refusal names it (C(machine/project)), where its stack is gone for
        good. It refuses as before where the database belongs to any other.
    type: str
  manage_py:
    description:
      - Path of C(manage.py) in the image, from its working directory.
    type: str
    default: manage.py
  timeout:
    description:
      - Time it may take. A migration that takes longer goes on by itself in its container; the same call again waits
        for it.
    type: str
    default: 1h
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

- name: Run what the code that serves survives, before it is replaced
  evenkeel.deploy.django_migrate:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    service: api
    state: expanded

- name: Take back what was run in a window, while nothing runs
  evenkeel.deploy.django_migrate:
    project_src: /srv/travel/current
    service: api
    state: reversed
    target: tours.0008_remove_tour_subtitle

- name: Drop what nobody uses any more
  evenkeel.deploy.django_migrate:
    project_src: /srv/travel/current
    service: api
    state: contracted
    allow_data_loss: [tours.0008_remove_tour_subtitle]
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
    atomic:
      description: Whether all of it is one transaction.
      type: bool
    operations:
      description:
        - Per operation its C(index) in the migration, C(operation) in words, C(phase), C(action) (V(now), V(defer) or
          V(refuse)), C(reason), C(lock) and C(grows_with_table), C(safe_way) to write it, C(method) where it has to run in a
          form that does not block or in C(batches), C(bridge) (what is put up with it; see O(bridges)) with its C(bridge_sql), C(beware)
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
applied:
  description: How many migrations the databases have recorded.
  returned: when the image is there
  type: int
to_record:
  description: Squashed migrations whose parts have all been run. Only C(migrate) records them, even where nothing is pending.
  returned: when the image is there
  type: list
  elements: dict
open:
  description:
    - What was put off and has not been run, in the order in which it is to be, each with C(app), C(name), C(database),
      C(index), C(operation), C(bridge) (that stands until then) and both in C(words), C(state), C(release) (that it was expanded
      for), C(since), C(drops_data), C(moves) (rows, in batches), C(known) (to this image), and C(waits_for), which is empty where
      it can be contracted now.
  returned: when the image is there
  type: list
  elements: dict
behind:
  description:
    - Migrations that are recorded and that this image does not know, each with C(verdict), C(reason) and C(beware) (what of
      the older code fails with rows that the newer one has written), for whoever wants to go back to this code. V(code only)
      and V(abandon) need nothing of the database, V(reverse) needs O(state=reversed), V(restore) the backup from before;
      V(unknown) was not run by this module.
  returned: when the image is there
  type: list
  elements: dict
schema_compatibility:
  description: The worst of these verdicts.
  returned: when the image is there
  type: str
comes_back:
  description: Whether playbook C(rollback) takes this code back to the database as it is, by that verdict.
  returned: when the image is there
  type: bool
due:
  description: Whether O(state=expanded) has something to do, if only to end what an earlier one has begun.
  returned: when the image is there
  type: bool
changes:
  description: Whether that would change the database, and not only note that this code knows what earlier code has migrated.
  returned: when the image is there
  type: bool
ran:
  description: The migrations that were run, each with C(app), C(name), C(database), C(seconds) and how many are C(deferred).
  returned: when something was to be done
  type: list
  elements: dict
contracted:
  description: The operations that were run at last, each with C(app), C(name), C(database), C(index), C(operation), C(seconds).
  returned: when something was to be done
  type: list
  elements: dict
abandoned:
  description: The migrations that were C(unrecorded), and the others with C(why) they were not.
  returned: when something was to be done
  type: list
  elements: dict
reversed:
  description: The migrations that were taken back, each with C(app), C(name), C(database), C(seconds).
  returned: when something was to be done
  type: list
  elements: dict
reverse:
  description: What V(reversed) takes or would take back, each with C(why) it cannot be and what is C(lost) by it.
  returned: with O(state=reversed)
  type: list
  elements: dict
taken_back:
  description: What was taken back in a database of several that failed.
  returned: when something was to be done
  type: list
  elements: dict
waits:
  description: That it failed only because something that is put off has to wait. Nothing of that was touched.
  returned: with O(state=contracted), when something waits
  type: bool
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

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "django_migrate")


if __name__ == "__main__":
    main()
