# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a backup in the place of the database: restored beside it, compared, and given its name in one transaction.

Until that transaction nothing of the database is touched; after it the one before is still there, under another name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...base.errors import BadInput
from ...engine.host.engine import EngineFailed
from ...engine.host.project import state_dir_of
from ...migrations.host.database_host import refuse_other_host_at
from ...operation.host.journal import Fence
from ...operation.host.progress import Progress
from ...postgres import external_database
from ...postgres.access import differences as access_differences
from ...postgres.host.server import PSQL, PostgresFailed, access_of, inventory_of, rights_of
from ...postgres.programs import quoted
from ...traffic.host.firewall import FirewallFailed
from ..plain_dumps import is_plain_name
from .dump import Dump
from .hold_requests import Hold
from .pause_workers import Pause, queued
from .proof import Proof
from .request import Request
from .restorable import Restorable, restorable
from .source import Source
from .store import BackupStore
from .summary import BackupFailed, Timeline, unchanged

# Somebody may connect in the moment between the end of all sessions and the lock; then it is tried again.
_TRIES = 20
_KNOWN = """\
SELECT pg_catalog.to_jsonb(d) || jsonb_build_object('owner', pg_catalog.pg_get_userbyid(datdba), 'number', d.oid::bigint,
  'size', pg_catalog.pg_database_size(d.oid), 'folder', (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'))
FROM pg_catalog.pg_database d WHERE datname = :'old';
"""
# What a killed call has begun may go on for a while. Nobody but a superuser may end what the server does by itself in a
# database (autovacuum); dropping and renaming end that themselves.
_MAY = "(usesysid IS NOT NULL OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))"
_DROP = f"""\
SELECT FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :'new' AND {_MAY}) ended;
DROP DATABASE IF EXISTS :"new";
"""
_CREATE = """\
SELECT format('CREATE DATABASE %I TEMPLATE template0 OWNER %I ENCODING %L LC_COLLATE %L LC_CTYPE %L', :'new',
  pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype)
  || CASE to_jsonb(d) ->> 'datlocprovider'
    WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'))
    WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', to_jsonb(d) ->> 'datlocale')
    ELSE '' END
FROM pg_database d WHERE datname = :'old' \\gexec
"""
# What belongs to the database itself, and is in no dump without its name: who may connect, and its settings.
_ALIKE = """\
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'new') FROM pg_database WHERE datname = :'old' AND datacl IS NOT NULL \\gexec
SELECT format('GRANT %s ON DATABASE %I TO %s%s', a.privilege_type, :'new', CASE a.grantee WHEN 0 THEN 'PUBLIC'
  ELSE quote_ident(pg_get_userbyid(a.grantee)) END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = :'old' AND a.grantee <> d.datdba \\gexec
SELECT CASE s.setrole WHEN 0 THEN format('ALTER DATABASE %I', :'new')
  ELSE format('ALTER ROLE %I IN DATABASE %I', pg_get_userbyid(s.setrole), :'new') END
  || format(' SET %I TO ', split_part(c, '=', 1)) || CASE WHEN split_part(c, '=', 1) IN ('search_path', 'temp_tablespaces',
    'local_preload_libraries', 'session_preload_libraries') THEN substr(c, strpos(c, '=') + 1)
    ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c WHERE d.datname = :'old' \\gexec
"""
_BUSY = """\
SELECT count(*) FROM pg_stat_activity WHERE datname = :'old' AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND state <> 'idle';
"""
# Renaming locks the database against whoever connects, and waits for the sessions that were ended.
_SWAP = f"""\
BEGIN;
SELECT FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname IN (:'old', :'new') AND pid <> pg_backend_pid() AND {_MAY}) ended;
ALTER DATABASE :"old" RENAME TO :"before";
ALTER DATABASE :"new" RENAME TO :"old";
COMMIT;
"""


class Restoring:
    """A backup that is put in the place of the database.

    :param spare: bytes that are to be left on the database's disk.
    """

    def __init__(
        self,
        request: Request,
        source: Source,
        store: BackupStore,
        spare: int,
        proof: Proof,
        progress: Progress,
    ) -> None:
        self._request, self._source, self._store, self._spare = request, source, store, spare
        self._proof, self._progress = proof, progress
        self._timeline = Timeline(source)
        self._old = source.server.database
        self._directory = state_dir_of(request.lock, source.project)
        # A name that nobody else gives: what has it is dropped.
        self._short = self._old.encode()[:38].decode("utf-8", "ignore")
        self._new = f"{self._short}_evenkeel_restoring"
        self._beside = "template1" if self._old == "postgres" else "postgres"

    def restored(self, fence: Fence | None) -> dict[str, Any]:
        """Carry it out, or tell what would be done; see :meth:`_restored`."""
        if fence is None:
            return self._restored(None, None)
        pause = Pause(self._source, self._directory, fence)
        problems: list[str] = []
        try:
            result = self._restored(fence, pause)
        finally:
            problems += pause.end()
        return {**result, "msg": "; ".join([result["msg"], *problems])}

    def _restored(self, fence: Fence | None, pause: Pause | None) -> dict[str, Any]:
        """Carry it out.

        :param fence: None to tell what would be done.
        :raises BadInput: it was not done; the database is as it was.
        """
        request = self._request
        refuse_other_host_at(self._source.engine, self._source.project, self._source.server, request.take_over_from)
        dump = restorable(request.backup, request.timeout, self._source, self._store, self._proof, self._directory)
        try:
            self._refuse_without_rights()
            known = self._known()
            with self._timeline.step("look"):
                dump.look()
            if dump.restored_as == known["number"] and not request.again:
                text = f"{self._old} is what was restored from {dump.name} at {dump.restored_at}, and what was written since"
                return {**unchanged(), "backup": dump.facts(), "msg": text}
            now = inventory_of(self._source.server)
            since = dump.written_since(now["rows"])
            access = access_of(self._source.server)
        except PostgresFailed as error:
            raise BackupFailed(f"{self._old} could not be asked: {error}", now="nothing was touched") from error
        waiting, queue_text = queued(self._source)
        if self._source.is_external:
            queue_text += f"; whether {self._source.service} has room for a second database cannot be seen from here"
        hold = Hold(self._source)
        lost = "; ".join(since[:5]) + (f"; and {len(since) - 5} more tables" if len(since) > 5 else "")
        written = f"since {dump.since} there was written: {lost or 'nothing that changes how many rows there are'}; {queue_text}"
        if not request.allow_downtime:
            raise BadInput(
                f"restoring {dump.name} takes {self._old} away from all who are connected, and goes back behind what was "
                f"written: {written}. {hold.words[0].upper()}{hold.words[1:]}",
                "the same with allow_downtime: true (restore_allow_downtime in a playbook); a dump of now is made first, and "
                "the database of now is kept under another name",
            )
        result = {**unchanged(), "changed": True, "backup": dump.facts(), "written_since": since, "queued": waiting}
        if fence is None or pause is None:
            return {**result, "msg": f"{dump.name} would be restored as {self._old}; {written}; {hold.words}"}
        with self._timeline.step("read"):
            dump.read()
        self._refuse_without_room(known, dump.size)
        # Nothing is removed now: what is restored could be the one that is too old.
        keeping = replace(request, keep=0)
        safety = Dump(keeping, self._source, self._store, self._spare, self._progress).present(fence, None)
        before, differs = self._put(fence, pause, dump, access)
        other = f"; it differs from the one before: {'; '.join(differs[:5])}" if differs else ""
        other += f"; and {len(differs) - 5} more" if len(differs) > 5 else ""
        return {
            **result,
            "safety": safety["backup"].get("path", ""),
            "replaced": before,
            "differs": differs,
            "timeline": safety["timeline"] + self._timeline.entries,
            "diff": {"before": f"{self._old}: {known['number']}\n", "after": f"{self._old}: {dump.name}\n"},
            "msg": f"{self._old} is what was dumped at {dump.since}{other}; the one before is kept as {before}, and in "
            f"{safety['backup'].get('path')}; {written}. When it is not needed any more: {self._dropping(before)}",
        }

    def _dropping(self, database: str) -> str:
        """How somebody takes a database away."""
        if self._source.is_external:
            return f"DROP DATABASE {quoted(database)}; at {self._source.service}, as {self._source.server.user}"
        box = str(self._source.inspection.get("Name") or "").lstrip("/")
        return f"docker exec {box} dropdb -U {self._source.server.user} {database}"

    def _refuse_without_rights(self) -> None:
        """Look, before anything is made, whether all of it may be done by whom the app connects as.

        :raises BadInput: it may not; what is to be granted, and how to do it by hand.
        """
        away = self._source.is_external
        if away is None:
            return
        rights = rights_of(self._source.server)
        self._beside = str(rights.get("beside") or self._beside)
        lacking, grants = external_database.missing_rights(rights)
        if not lacking:
            return
        name = self._request.backup
        path = name if name.startswith("/") else self._store.path(name)
        hand = external_database.by_hand(path, is_plain_name(name), away.connection, away.image, away.reach.networks)
        granted = (
            f"as an administrator of {self._source.service}: {' '.join(grants)} and the same command again; or "
            if grants
            else ""
        )
        raise BadInput(
            f"{self._source.server.user} may not put a backup in the place of {self._old} at {self._source.service}: it "
            f"{'; it '.join(lacking)}",
            f"{granted}{hand}",
        )

    def _put(self, fence: Fence, pause: Pause, dump: Restorable, access: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Restore it beside the database, and give it its name; returns the name of the one before, and where it differs.

        :param access: of the database of now.
        """
        new = replace(self._source.server, database=self._new)
        timeout = self._request.timeout
        moment = time.strftime("%Y%m%dt%H%M%Sz", time.gmtime())
        before = f"{self._short}_before_{moment}"
        try:
            with self._timeline.step("restore"):
                with fence.act(f"make {self._new}"):
                    self._sql(_DROP + _CREATE)
                self._progress.say(f"{dump.name} is being restored beside {self._old}", "restore", self._source.service)
                dump.fill(new, timeout)
                self._sql(_ALIKE)
            with self._timeline.step("compare"):
                wrong = dump.differences(inventory_of(new))
                if wrong:
                    raise PostgresFailed(f"what was restored is not what was dumped: {'; '.join(wrong[:3])}")
                differs = access_differences(access, access_of(new))
                new.run([*new.words(*PSQL), "--dbname", self._new, "--command", "ANALYZE"], timeout=timeout)
            with self._timeline.step("pause"):
                # Before it: whoever comes after a kill knows by this that it was done.
                dump.note(int(self._known(self._new)["number"]))
                pause.stop()
            self._progress.say(Hold(self._source).words, "swap", self._source.service)
            with self._timeline.step("swap"), Hold(self._source).held(fence, self._is_busy):
                self._swap(fence, before)
        except (PostgresFailed, EngineFailed, FirewallFailed) as error:
            self._take_away(fence)
            raise BackupFailed(
                f"{dump.name} could not be put in the place of {self._old}: {error}",
                "make that right, or restore another backup; the same command begins anew",
                f"{self._old} is the database that it was, a dump of it was made",
            ) from error
        return before, differs

    def _swap(self, fence: Fence, before: str) -> None:
        """Exchange the names, all or nothing."""
        for left in reversed(range(_TRIES)):
            with fence.act(f"swap {self._new} for {self._old}"):
                try:
                    self._sql(_SWAP, before=before)
                    return
                except PostgresFailed as error:
                    if not left or "being accessed by other users" not in error.stderr:
                        raise
            time.sleep(0.2)

    def _is_busy(self) -> bool:
        """Whether a statement or a transaction is under way in the database."""
        return self._sql(_BUSY).strip() != "0"

    def _take_away(self, fence: Fence) -> None:
        try:
            with fence.act(f"drop {self._new}"):
                self._sql(_DROP)
        except PostgresFailed:
            # The next call begins with that.
            return

    def _known(self, database: str = "") -> dict[str, Any]:
        """What the server knows of a database."""
        printed = self._sql(_KNOWN, old=database or self._old).strip()
        if not printed:
            raise PostgresFailed(f"there is no database {database or self._old}")
        return dict(json.loads(printed))

    def _sql(self, script: str, **names: str) -> str:
        """Run a script in another database than the one that is exchanged; names are quoted by psql."""
        given = {"old": self._old, "new": self._new, **names}
        server = self._source.server
        words = [*server.words(*PSQL), "--dbname", self._beside]
        for key, value in given.items():
            words += ["--set", f"{key}={value}"]
        return server.run(words, f"SET search_path = pg_catalog;\n{script}".encode())

    def _refuse_without_room(self, known: Mapping[str, Any], size: int) -> None:
        """Look whether another one fits on the disk of the database, which would stop where that is full."""
        if self._source.is_external:
            return
        code, said = self._source.engine.run_inside(
            self._source.server.container, ["df", "-P", "-k", str(known["folder"])]
        )
        fields = said.splitlines()[-1].split() if code == 0 else []
        if len(fields) < 4 or not fields[3].isdecimal():
            return
        free, needed = int(fields[3]) * 1024, size or int(known["size"])
        if needed + needed // 4 + self._spare > free:
            raise BackupFailed(
                f"the disk of {self._source.service} has {free // 2**20} MiB free, a second database takes about "
                f"{needed // 2**20} MiB, and {self._spare // 2**20} MiB are to be left",
                "make room there",
                f"{self._old} is the database that it was",
            )
