# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations as ``nginx -T`` prints them, and the routes that they lead to."""

from __future__ import annotations

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import Route, routes
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import load


def dumped(text: str, **files: str) -> str:
    parts = {"/etc/nginx/nginx.conf": text, **{k.replace("__", "/"): v for k, v in files.items()}}
    return "".join(f"# configuration file {path}:\n{body}\n" for path, body in parts.items())


def routes_of(text: str) -> tuple[Route, ...]:
    return routes(load(dumped(text)))
