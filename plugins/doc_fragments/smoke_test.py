# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of modules that ask the site as its users do."""

from __future__ import annotations


class ModuleDocFragment:
    """See the module's text."""

    DOCUMENTATION = r"""
options:
  health_url:
    description:
      - What is asked as users would, once something has changed where anything is to be, and has to answer with 200.
        Without it nothing is asked.
      - A name is asked of this server, see M(evenkeel.deploy.smoke_test). C(user:password@) is sent as basic authentication.
    type: str
  prove:
    description:
      - What has to be answered rightly as well, by the host of O(health_url), each C({path, status, contains, method}).
    type: list
    elements: dict
"""
