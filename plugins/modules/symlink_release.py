#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: symlink_release
short_description: Keep releases of an app beside each other and switch between them
description:
  - Exports a revision of a git repository into a folder of its own under C(releases), by way of a bare mirror, and
    switches the link C(current) to it atomically. A plain folder on the target may be the source as well.
  - git runs as O(owner) and never prompts. A release is whole under its name or not there at all.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.project.attributes
options:
  state:
    description:
      - V(present) makes sure that there is a release of O(version) with these O(shared) files and O(inputs). The current one is
        taken where it is that already, then the newest that is.
      - V(found) tells which release O(release) means, and changes nothing.
      - V(built) says that all that O(release) needs to run is there. Only such a release can become the current one.
      - V(next) makes the link C(next) point to O(release), for a server that listens to the host only, so that it can be
        looked at before users meet it. The link goes when the release becomes the current one or bad.
      - V(active) makes C(current) point to O(release) and marks it verified, unless O(verified=false).
      - V(absent) takes O(release) away, unless it is the current one, the one to go back to, or used by a container.
      - V(bad) marks O(release) so that it is not taken up again, unless it is the current one.
    type: str
    choices: [present, found, built, next, active, bad, absent]
    default: present
  repo:
    description:
      - git URL, or path on the target. Needed for O(state=present).
      - A folder on the target that is no repository is copied as it is; its content stands for the commit, and O(version)
        is only a name. A copy during which it changes is refused. On the way to it only links that root made are followed.
    type: str
  version:
    description:
      - Branch, tag or commit.
    type: str
    default: main
  release:
    description:
      - Id of a release. Needed for every O(state) but V(present).
      - With O(state=found) also the beginning of a commit, or what a release was asked for by. Without it the one that was
        found good last before the current one, or the current one where an update ended in the middle.
    type: str
  verified:
    description:
      - With O(state=active), whether it is known that the release serves. V(false) notes it as V(active) before the switch.
        It is made V(verified) by a second call, once what has to be reloaded is reloaded and answers.
    type: bool
    default: true
  asked:
    description:
      - With O(state=active), whether the site was asked (module M(evenkeel.deploy.smoke_test)) and answered as it should.
        Without that nothing calls the release verified. It can be gone back to all the same.
    type: bool
    default: true
  left:
    description:
      - With O(state=active), what becomes of the release that is left. V(bad) marks it before the switch, and notes that
        O(release) is current by a rollback; O(state=found) without a name then means that one.
    type: str
    choices: [kept, bad]
    default: kept
  accept_bad:
    description:
      - With O(state=present), the id or the beginning of the commit of a release that was left as V(bad) (O(left)), of which
        O(version) may bring commits again. Otherwise such a O(version) is refused, unless later commits took them back. Contents
        decide. A commit that says it reverts another has to do so, and the same change under another id is the same. Where that
        cannot be told the version is refused. What is current already, and what it is made from, is not refused.
      - A name of no release on this host is noted and fails nothing, since another host of the play may have it.
    type: str
  drop_hotfixes:
    description:
      - With O(state=present), names of hotfixes (M(evenkeel.deploy.hotfix_patch)) of the current release that O(version) may lose,
        or seven and more digits of their commits. One that this host does not have is noted and fails nothing.
        Otherwise a O(version) that lacks one is refused. Trees are compared, so a hotfix that was merged, squashed or picked
        counts as had, and one that was reverted later as lacking. Where the same lines are other ones nobody can tell, and it is
        refused with the hotfix's change. So is any other O(version) where a hotfix (M(evenkeel.deploy.hotfix_live)) changed files
        that a job builds.
    type: list
    elements: str
    default: []
  drop_edits:
    description:
      - With O(state=present), whether another release may be made where somebody edited files of the repository by hand in containers
        of the current one, and O(version) has them otherwise. Otherwise it is refused. Files that were added count where they are
        code (C(.py)); what entrypoints write at the start, and what is no file of the repository, does not.
    type: bool
    default: false
  activate_at:
    description:
      - With O(state=active) the switch is made at this moment, ISO 8601 with its zone, at most an hour away. Everything but
        the rename itself is done before, so that many hosts switch together. Who comes late switches at once.
    type: str
  keep:
    description:
      - How many releases are to be left when O(release) has become the current one; older ones go, with the images that
        were built for them and the copies of files that only they mount. The current one, the one to go back to, pinned
        ones, and what a container runs or mounts never go. V(0) leaves everything.
      - What could not be taken away is said in RV(notes) and fails nothing.
    type: int
    default: 0
  archive:
    description:
      - With O(state=active), have the images of the release to go back to in files as well, as M(evenkeel.deploy.image_archive)
        does with this policy. A process of the lowest priority writes them, which the module leaves behind. Without it the files that there
        are stay.
      - What is in the way is said in RV(notes) and fails nothing.
    type: str
    choices: [auto, always, never]
  shared:
    description:
      - Files and folders that a release gets as links into C(shared), where they have to be there. Where the content of such a file has
        changed, the same revision is another release.
    type: list
    elements: str
    default: []
  inputs:
    description:
      - What else the release is made from besides its tree, such as the names of its Compose files. The same revision with
        other inputs is another release.
    type: dict
    default: {}
  owner:
    description:
      - The user who owns trees and runs git. Without it the one who runs the module.
    type: str
requirements:
  - git
"""

EXAMPLES = r"""
- name: Have the newest revision of main beside what runs
  evenkeel.deploy.symlink_release:
    path: /srv/travel
    repo: git@git.example.com:travel/shop.git
    version: main
    owner: deploy
    shared: [.env]
  register: release

- name: Say that it can run
  evenkeel.deploy.symlink_release:
    path: /srv/travel
    release: "{{ release.release }}"
    state: built

- name: Make it the current one
  evenkeel.deploy.symlink_release:
    path: /srv/travel
    release: "{{ release.release }}"
    state: active
    keep: 5
"""

RETURN = r"""
release:
  description: The release's id.
  returned: always
  type: str
  sample: 20261120T084911Z-5d33865
release_path:
  description: Its folder.
  returned: always
  type: str
revision:
  description: The commit it is the tree of.
  returned: always
  type: str
exists:
  description: Whether the release is there (not in check mode before it is made).
  returned: always
  type: bool
release_state:
  description: V(preparing), V(built), V(active), V(verified) or V(bad); empty in check mode before it is made.
  returned: always
  type: str
current:
  description: The id that C(current) points to, empty when there is none.
  returned: always
  type: str
current_revision:
  description: The commit of that release.
  returned: always
  type: str
rollback_target:
  description: The release to go back to should this one fail, the one that was found good last; empty when there is none.
  returned: always
  type: str
rollback_target_revision:
  description: The commit of that release.
  returned: always
  type: str
code_alone:
  description: Whether hotfixes of code and templates are all that lies between the current release and this one.
  returned: with O(state=found)
  type: bool
database_hotfixes:
  description: The hotfixes of the database (M(evenkeel.deploy.hotfix_database)) that are in force.
  returned: with O(state=active)
  type: list
  elements: str
upload_hotfixes:
  description: The hotfixes of uploads (M(evenkeel.deploy.hotfix_live)) that are in force.
  returned: with O(state=active)
  type: list
  elements: str
late:
  description: Seconds between O(activate_at) and the switch.
  returned: with O(activate_at), when something was switched
  type: float
removed:
  description: The releases that were taken away.
  returned: with O(keep), when something was switched
  type: list
  elements: str
removed_images:
  description: The names of images that were taken away.
  returned: with O(keep), when something was switched
  type: list
  elements: str
msg:
  description: What was done, empty for nothing.
  returned: always
  type: str
notes:
  description:
    - What could not be taken away, and why. In check mode what cannot be known of O(version) before it is fetched.
      What O(accept_bad) and O(drop_hotfixes) name and this host does not have.
  returned: with O(keep), when something was switched, and where there is something to say
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "symlink_release")


if __name__ == "__main__":
    main()
