# SPDX-License-Identifier: GPL-3.0-or-later
VERSION = "v1"
