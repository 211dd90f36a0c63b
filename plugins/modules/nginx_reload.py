#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_reload
short_description: Change a configuration file of nginx without losing a request
description:
  - Changes one configuration file of a running nginx, in a container or the host's own, and reloads it.
  - The whole configuration is first tested with the new file in a twin, a throw-away copy of the container with its image,
    user, rights, networks and mounts. The running nginx never sees a file that it would refuse.
  - The file is then installed so that the container sees it, nginx is reloaded, and its new workers have to take over and to
    answer O(url). Whatever fails after that brings the file back as it was, and nginx is reloaded with it.
  - A file that already is as wanted, and loaded, is left alone. A call that was killed is finished by the same call again.
  - A file that is mounted by itself is written in place, since a container never sees a rename over it. One in a mounted
    folder or volume is replaced by a rename. One that is part of the container is refused, since it would be lost.
  - A file that belongs to a release (a copy under C(mounts/) or the tree under C(releases/)) is refused too. Its name is
    the digest of its content, and the next release would not have the change. Commit the change and update, or mount a
    folder under C(shared/), which no release owns.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.project.attributes
options:
  service:
    description:
      - The Compose service that is nginx. Without it the host's own nginx, which needs root, a main
        configuration that nobody but root can change, and one of
        O(project_name) and O(state_dir).
    type: str
  src:
    description:
      - File on the target with the new content. Needed unless O(content) is given.
    type: path
  content:
    description:
      - The new content. For a file or template of the controller use C(lookup('file', …)) or C(lookup('template', …)).
      - It is never shown, and the difference is told by line numbers and names of directives only.
    type: str
  dest:
    description:
      - The file as nginx sees it, that is, its path inside the container. It has to be a file that nginx reads.
      - Needed unless O(from_release).
    type: path
  from_release:
    description:
      - Bring all files that the release in O(project_src) has for O(service) to where it mounts them from, at once, and take
        those away that it does not have any more. See O(evenkeel.deploy.compose_project#module:live_dir).
      - What lies outside of nginx's own folder, such as pages, is brought there without a reload.
      - Without O(service), each nginx that leads to another one of the project which was started since is loaded again. It looked
        up where that one is when it was loaded.
    type: bool
    default: false
  backup:
    description:
      - Whether the content from before is kept under C(nginx/backups) in O(state_dir), mode 0600.
    type: bool
    default: true
  keep:
    description:
      - How many backups of this file are kept.
    type: int
    default: 5
  validate_only:
    description:
      - Only test the candidate in the twin. Nothing is changed, also where the file could not be installed.
    type: bool
    default: false
  url:
    description:
      - An address that nginx has to answer after the reload, asked from the target, for example
        V(http://127.0.0.1:8080/health/). Without it new workers that have taken over are the proof.
      - Any status below 400 is good.
    type: str
  url_host:
    description:
      - The Host header of that request, and the server name in TLS. Without it the one in O(url).
    type: str
"""

EXAMPLES = r"""
- name: Give uploads more room, behind the running nginx
  evenkeel.deploy.nginx_reload:
    project_src: /srv/travel/current
    service: nginx
    dest: /etc/nginx/conf.d/default.conf
    content: "{{ lookup('template', 'default.conf.j2') }}"
    url: http://127.0.0.1/health/
    url_host: travel.example

- name: See whether nginx would accept a file
  evenkeel.deploy.nginx_reload:
    project_src: /srv/travel/current
    service: nginx
    dest: /etc/nginx/conf.d/default.conf
    src: /root/default.conf.new
    validate_only: true

- name: Bring nginx to the configuration of a release
  evenkeel.deploy.nginx_reload:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    service: nginx
    from_release: true

- name: Change a site of the host's own nginx
  evenkeel.deploy.nginx_reload:
    project_src: /srv/travel/current
    project_name: travel
    dest: /etc/nginx/sites-enabled/travel
    content: "{{ lookup('file', 'travel.nginx') }}"
  become: true
"""

RETURN = r"""
dest:
  description: The file as nginx sees it, or the first of those of a release.
  returned: unless a release has none
  type: str
timeline:
  description: The steps in the order in which they were done.
  returned: always
  type: list
  elements: dict
  contains:
    step:
      description: One of C(validate), C(backup), C(install), C(reload), C(prove) and C(restore).
      type: str
      returned: always
    service:
      description: The service, empty for the host's own nginx.
      type: str
      returned: always
    container:
      description: The container.
      type: str
      returned: always
    started:
      description: When it began, ISO 8601 in UTC.
      type: str
      returned: always
    seconds:
      description: How long it took.
      type: float
      returned: always
    result:
      description: V(ok) or V(failed), and V(undone) for a step of the way back.
      type: str
      returned: always
serving:
  description: The container that runs and the beginning of the SHA-256 of the file that nginx serves with. The version is V(none)
    where it serves without that file, and V(unknown) where the file was written since nginx loaded it, or lies in the container itself.
  returned: always, unless nginx was not looked at
  type: dict
  sample: {"nginx": [{"container": "travel-nginx-1", "version": "9f86d081884c"}]}
refusal:
  description: Why nginx refuses the candidate.
  returned: when it does
  type: dict
  contains:
    reason:
      description: One of V(upstream), V(syntax), V(include), V(certificate), V(key), V(permission), V(unread) and V(other).
      type: str
      returned: always
    file:
      description: The file that nginx names, empty when it names none.
      type: str
      returned: always
    line:
      description: The line in it, V(0) when nginx names none.
      type: int
      returned: always
backup_file:
  description: Where the content from before is kept on the target.
  returned: when there was one and it was replaced
  type: str
rolled_back:
  description: Whether everything is as it was before the call.
  returned: on failure
  type: bool
msg:
  description: What happened, and on failure how it is now and what to do next.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "nginx_reload")


if __name__ == "__main__":
    main()
