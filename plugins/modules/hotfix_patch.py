#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hotfix_patch
short_description: Make a small change of what runs a release of its own
description:
  - Files, a patch, or a branch that begins at the running revision become a commit in the mirror of the repository, and a
    release C(<UTC time>-<commit of the update>.hN) with images of one more layer on those that run. No container is replaced
    by this module; M(evenkeel.deploy.compose_rolling) does that with RV(release_path).
  - An image is found to have a file by its content, below its working folder. A changed file keeps its owner and
    permissions there, a new one gets those of a neighbour. Services whose image has nothing of it keep theirs. What services mount out of
    the tree they get from a copy of the new tree; what a proxy mounts M(evenkeel.deploy.nginx_reload) brings there.
  - What a front end is built from, in the image of a job or mounted by it, gets there in the same way; RV(jobs) are to be run by
    M(evenkeel.deploy.compose_job) and published by M(evenkeel.deploy.publish_build). Images of the app that merely have such a file
    of the builder's own folder along keep theirs.
  - A translation (C(LC_MESSAGES/*.po)) is compiled beside it in a container of the app's image that is thrown away, by its msgfmt,
    or else by this host's. Where the repository has the compiled form too it has to come with it.
  - Before that the patched modules are imported, the patched templates compiled, and C(manage.py check) is asked, in a
    container of the new image that is thrown away. A model that was changed without a migration is refused.
  - Refused with what to run instead are migrations, dependencies, the Dockerfile, Compose files, files that are taken away, links, what is
    binary (but for pictures, fonts, documents and sounds of static files or of a front end),
    files that a volume is mounted over or that no container has, what a front
    end is built from while its image is made, and what is larger than the limits.
  - Refused are also paths that lead out of the repository, a patch that does not apply, ends of lines that were none before,
    files that somebody has changed by hand in containers (O(capture), O(drop_edits)), and a server's own file, such as C(.env), that is
    another one than the running release was made with.
  - Where something is refused no container, image or release is left of it. As part of an operation what serves is noted in the
    operation's record, for the way back.
  - The hotfix is kept under C(hotfixes/) in O(state_dir), and M(evenkeel.deploy.symlink_release) refuses a later version that
    lacks it.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.hotfix
  - evenkeel.deploy.hotfix.source
  - evenkeel.deploy.staging
  - evenkeel.deploy.operation
  - evenkeel.deploy.smoke_test
  - evenkeel.deploy.project.attributes
options:
  capture:
    description:
      - Take what somebody edited by hand in the app's containers, as far as it is in files of the running revision or beside them in
        its folders, in the place of O(files). Edits that are no such files have to be gone, or O(drop_edits).
    type: bool
    default: false
  revert:
    description:
      - Name of a hotfix of the running release that is taken out of it, in the place of O(files), whatever was put on it since. It is
        refused where a later one has other lines in the same place, and where files would have to go. It is not held to O(max_files),
        O(max_lines) and O(max_chain).
    type: str
  revert_files:
    description:
      - Only these files, by their paths in the repository. Without O(revert) each comes back to what it was before the last hotfix
        that changed it.
    type: list
    elements: str
    default: []
  env:
    description:
      - Variables of the server's own environment file (the first of O(env_files), under C(shared)), set one by one; all else in it stays.
      - The release gets the changed file as its own, and the server's is written when M(evenkeel.deploy.symlink_release) makes the
        release the current one; a rollback from it puts back what was there, unless somebody has changed it since.
      - Values are not logged, returned, or part of a diff.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The variable.
        type: str
        required: true
      text:
        description:
          - Its value, or C(@) and the path of a file on the controller that holds it.
        type: str
      value:
        description:
          - The value in base64, in the place of O(env[].text).
        type: str
  name:
    description:
      - What the hotfix is called. Without it that of O(ref) without C(hotfix/), else one made from the content.
    type: str
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, of which C(kind) matters here.
    type: dict
    default: {}
  django_service:
    description:
      - The service whose image has the Django project.
    type: str
    required: true
  max_chain:
    description:
      - Hotfixes that may lie on one another, V(0) for any number.
    type: int
    default: 5
  drop_edits:
    description:
      - Let changes go that somebody has made by hand in containers that are replaced.
    type: bool
    default: false
  state:
    description:
      - V(made) makes the release. With O(operation), one that changes nginx alone is also loaded and made the current one.
      - V(served) is the end of the operation. The site is asked, O(release) becomes the current one, the repository is told
        (M(evenkeel.deploy.release_refs)), and the lock is given back. Where it does not serve as it should nothing of that is done.
    type: str
    choices: [made, served]
    default: made
  release:
    description:
      - What serves now, with O(state=served).
    type: str
  keep:
    description:
      - How many releases stay once the new one is the current one, V(0) for all.
    type: int
    default: 0
  push:
    description:
      - Whether a hotfix made of files is pushed to the repository as a branch.
    type: bool
    default: true
requirements:
  - git
  - Docker Engine 20.10 or newer
  - Docker Compose 2.24 or newer
  - Docker SDK for Python 5.0 or newer (package C(python3-docker))
"""

EXAMPLES = r"""
- name: Make a corrected view a release
  evenkeel.deploy.hotfix_patch:
    path: /srv/travel
    repo: git@git.example.com:travel/shop.git
    files:
      - path: tours/views.py
        src: views.py
    compose_files: [docker-compose.prod.yml]
    shared: [.env]
    django_service: api
    owner: deploy
  register: hotfix
"""

RETURN = r"""
whole:
  description:
    - Whether it was done as O(operation). Where that is given and this is false, RV(lock_token) is that of what there is more to do,
      or nothing was done, since somebody has to be waited for or the way back of a killed run comes first.
  returned: always
  type: bool
lock_token:
  description: What the rest of the operation shows, up to O(state=served).
  returned: when O(operation) has more to do
  type: str
state_dir:
  description: The folder that has that lock.
  returned: when O(operation) has more to do
  type: str
problem:
  description: Why nginx does not serve as it should with a hotfix of it alone. It is to be taken back under RV(lock_token).
  returned: when so
  type: str
refs:
  description: What was pushed.
  returned: when the release was made the current one
  type: list
  elements: str
name:
  description: What the hotfix is called.
  returned: always
  type: str
release:
  description: Id of the release, empty in check mode; of the current one where that has it already.
  returned: always
  type: str
  sample: 20261121T101500Z-5d33865.h1
release_path:
  description: Its folder.
  returned: always
  type: str
release_state:
  description: V(built), or what it has become since.
  returned: always
  type: str
exists:
  description: Whether the release is there.
  returned: always
  type: bool
revision:
  description: The hotfix's commit.
  returned: always
  type: str
base:
  description: The commit that it was put on, empty where nothing was to be done.
  returned: always
  type: str
current:
  description: Id of the release that serves.
  returned: always
  type: str
current_revision:
  description: Its commit.
  returned: always
  type: str
kinds:
  description:
    - For each kind its files. V(backend) is code and templates, V(static) what Django collects, V(nginx) nginx's configuration,
      V(frontend) what jobs build from, V(env) the names of variables.
  returned: always
  type: dict
  sample: {"backend": ["tours/views.py"]}
jobs:
  description: Services that build a front end from it, and that are to be run.
  returned: always
  type: list
  elements: str
  sample: [frontend_builder]
services:
  description: Services whose containers are to be replaced.
  returned: always
  type: list
  elements: str
service_options:
  description:
    - O(service_options) for module M(evenkeel.deploy.compose_rolling). With static files alone the new containers have the
      code that serves, so C(prove_seconds) and C(monitor) of a web service are 1 second where neither O(service_options)
      nor the Compose file has them.
  returned: always
  type: dict
  sample: {"api": {"prove_seconds": 1.0, "monitor": 1.0}}
files:
  description: All files that are changed.
  returned: always
  type: list
  elements: str
public_paths:
  description:
    - Paths of the site that are other ones, for who keeps copies of them, also of a hotfix that was there already. Static files by
      custom (C(/static/)); of what is built from its files the page at the top, where nginx has it by C(root) or C(alias).
  returned: always
  type: list
  elements: str
summary:
  description: What was done, as the operation's record has it, for people.
  returned: when it was the whole operation, or the last call of it
  type: list
  elements: str
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
timeline:
  description: What was done and how long it took.
  returned: always
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
    runtime.run(AnsibleModule, "hotfix_patch")


if __name__ == "__main__":
    main()
