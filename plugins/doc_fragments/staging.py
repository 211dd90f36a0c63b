# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of what has to be tried on staging before."""

from __future__ import annotations


class ModuleDocFragment:
    """See the module's text."""

    DOCUMENTATION = r"""
options:
  staging:
    description:
      - What the staging hosts know of hotfixes, of which one has to have tried this one. Without any it is not asked for.
      - The same is what has the same content, on the same content before it, whatever its name and its commit are there.
      - Texts, templates, translations, static files and uploads are let through with a note.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description:
          - The host's name.
        type: str
        required: true
      tried:
        description:
          - RV(evenkeel.deploy.deploy_info#module:info.tried) of it.
        type: list
        elements: dict
        default: []
      problem:
        description:
          - Why it could not be asked.
        type: str
  staging_max_age:
    description:
      - Time since it was found good there, V(0) for any.
    type: str
    default: 24h
  skip_staging:
    description:
      - Why it cannot wait until it was tried. It is recorded.
    type: str
"""
