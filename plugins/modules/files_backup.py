#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: files_backup
short_description: Back up a folder or a file of an app, such as its uploads or its environment file
description:
  - Writes O(path) as a tar archive to O(dest) while the app goes on writing to it. The archive has its name only when it is
    whole, was read to its end, and its manifest with size and checksum is written. Whatever fails before that leaves no file that
    looks like a backup.
  - Files that are written to or vanish while they are read are named. Sockets, pipes and devices are left out, and named.
    Links are kept as links. Owners, modes and times are kept, extended attributes are not.
  - All that is written has mode 0600.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.project.attributes
attributes:
  idempotent:
    support: partial
    description: Each call with O(state=present) makes a backup.
options:
  name:
    description:
      - What the files are called, such as V(media). The backups' names begin with it.
    type: str
    required: true
  path:
    description:
      - The folder or file on the target, absolute. That of a volume is told by C(docker volume inspect).
      - Name the folder that is mounted into containers, not one below it. No link in it is followed, and on the way to it only
        links that root made.
  dest:
    description:
      - Folder of the backups on the target, absolute. It is made with mode 0700.
    type: path
    required: true
  state:
    description:
      - V(present) makes a backup.
      - V(restored) puts back what of O(backup) is missing in O(path), each file whole. What is there besides stays.
    type: str
    choices: [present, restored]
    default: present
  backup:
    description:
      - The file in O(dest), which O(state=restored) needs.
    type: str
  replace:
    description:
      - With O(state=restored), write also the files that are another in O(path) than in O(backup). Without it they are named.
    type: bool
    default: false
  encrypt_to:
    description:
      - Public keys of C(age) (V(age1...)) or of SSH, for which the archive is encrypted. It needs C(age) on the target, and is
        refused where that is not installed. Such a backup is not read again, and is decrypted where the private key is.
    type: list
    elements: str
    default: []
  vault_password:
    description:
      - A password of Ansible Vault, with which the archive is encrypted, for what is small (16 MiB at most), such as an environment
        file. It needs C(python3-cryptography) on the target, and is refused where that is not installed. C(ansible-vault decrypt)
        reads it again. It cannot be set beside O(encrypt_to).
    type: str
  keep:
    description:
      - How many backups of these files are left. V(0) leaves all.
    type: int
    default: 7
  min_free:
    description:
      - What is left free on the disk of O(dest), such as V(1G).
    type: str
    default: 256M
  state_dir:
    description:
      - Private folder of this collection on the target, for locks and records. Without it C(.evenkeel) under O(dest).
"""

EXAMPLES = r"""
- name: Back up what users have uploaded
  evenkeel.deploy.files_backup:
    name: media
    path: /srv/travel/shared/media
    dest: /srv/travel/backups

- name: Back up the environment file, to be read by ansible-vault decrypt
  evenkeel.deploy.files_backup:
    name: env
    path: /srv/travel/shared/.env
    dest: /srv/travel/backups
    vault_password: "{{ backup_vault_password }}"

- name: Put back what of it is missing
  evenkeel.deploy.files_backup:
    name: media
    path: /srv/travel/shared/media
    dest: /srv/travel/backups
    backup: media-20261120T084911Z.tar
    state: restored
"""

RETURN = r"""
backup:
  description: The backup, with C(path), C(bytes), C(sha256), C(seconds) and C(started).
  returned: success
  type: dict
files:
  description: How many files are in it.
  returned: when a backup was made
  type: int
files_changed:
  description: The files that were written to while they were read.
  returned: when a backup was made
  type: list
  elements: str
differing:
  description: The files that are another than in the backup and were left as they are.
  returned: with O(state=restored)
  type: list
  elements: str
removed:
  description: The backups that are no longer kept.
  returned: success
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
    runtime.run(AnsibleModule, "files_backup")


if __name__ == "__main__":
    main()
