# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container of our own may do: no more than its task takes, whatever a dump or an image has in it.

A one-off of the app's image runs as its service does, and is left as that is.
"""

from __future__ import annotations

#: For the engine (``SecurityOpt``) and for Compose (``security_opt``).
NO_NEW_PRIVILEGES = "no-new-privileges:true"
#: Processes and threads at once: of a server or client of PostgreSQL, of one ``nginx -T``.
OF_POSTGRES, OF_TWIN = 256, 64
#: What entrypoints of PostgreSQL's images do as root before they become another user: make the folder of the data that one's.
MAKES_CLUSTER = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
