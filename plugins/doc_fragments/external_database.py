# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of modules that work with a database which is no service of the project."""

from __future__ import annotations


class ModuleDocFragment:
    """See the module's text."""

    DOCUMENTATION = r"""
options:
  database_host:
    description:
      - Host of the server that backups are of, over what the app's settings say, for example the one behind a pooler. Where it is
        V(localhost) or V(127.0.0.1), it is this host. For a backup Django is not asked where user and database are named as well; TLS
        is then used where the server has it, else as the app's settings say.
      - It must not be set where the database is a service.
    type: str
  database_port:
    description:
      - Its port. Without it that of the app's settings where they name the same host, else 5432.
    type: str
  database_user:
    description:
      - As whom to connect. Without it as the app does.
    type: str
  database_password:
    description:
      - That user's password. Without it that of the app, where it is the same user.
    type: str
  database_password_file:
    description:
      - A file on the target whose first line is the password. It is refused where everybody may read it.
    type: path
  client_image:
    description:
      - An image that has C(pg_dump), C(pg_restore) and C(psql) of the server's major version or a newer one, and to restore into
        a server that is thrown away that server with the extensions of the database as well.
      - Best of the very same major version. What a newer one dumps an older one cannot read, and to put a backup in the place of
        the database a newer one is refused, since it sets what an older server does not know.
      - Without it C(postgres) with the major version that the app's Django sees as its tag. Where it is not on the target it is
        pulled, for ten minutes at most, but not in check mode.
      - It is given the credentials of the database. A digest (C(postgres@sha256:…)) says which image that is; a tag says whose.
    type: str
  client_network:
    description:
      - A network, or V(host), from which the server is reached. Without it the networks, hosts and name servers of the service whose
        Django is asked, and those of this host where O(database_host) is this host or there is no such service.
    type: str
"""
