# SPDX-License-Identifier: GPL-3.0-or-later
"""Break every branch of the reconciler's pure files, one at a time, and see whether the simulated histories notice.

Single decisions that no history can show are what ``tests/unit/rolling/`` are for: they are asked where the first few
histories notice nothing, and the many others after them, which take longer. A mutant that survives all is a rule that
nobody holds, or code that does nothing.

Run: ``python -m tests.property.mutants`` (``--only next_step:_join``, ``--list``, ``--histories 100``).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import dataclasses
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import next_step, stack, undo
from tests.property import crashing_rolls, rolling_invariants
from tests.property.seeded_histories import FIRST, HISTORIES

MODULES: tuple[ModuleType, ...] = (next_step, stack, undo)
CHECKS: tuple[Callable[[int], object], ...] = (
    rolling_invariants.check,
    rolling_invariants.check_a_change_of_mind,
    crashing_rolls.check,
)
#: What is asked of single decisions.
UNITS = sorted((Path(__file__).parents[1] / "unit/rolling").glob("test_rolling*.py"))
SINGLE = "single decisions"
#: Histories of each kind before these: most mutants end here, in less time than the single decisions take.
FEW = 20
#: Seconds of one history after which it counts as one that never ends.
PATIENCE = 20
_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one expression.

    :ivar where: module and function, as ``rolling:_join``; ``line`` is that of the expression.
    :ivar before: the expression as it is, ``after``: as it is made; ``turn``: which of several that read the same.
    """

    where: str
    line: int
    before: str
    after: str
    turn: int
    code: CodeType = dataclasses.field(compare=False, repr=False)

    @property
    def key(self) -> str:
        """How it is listed: without a line, which any change above it would move."""
        again = f" ({self.turn})" if self.turn > 1 else ""
        return f"{self.where}: {self.before} -> {self.after}{again}"


def _short(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _alternatives(node: ast.AST) -> Iterator[ast.expr]:
    """What an expression is replaced by: less of it, or the opposite."""
    if isinstance(node, ast.BoolOp):
        for number in range(len(node.values)):
            rest = [*node.values[:number], *node.values[number + 1 :]]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield ast.Compare(node.left, [_OPPOSITE[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        yield node.left
        yield node.right
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        yield node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in ("sorted", "reversed"):
            yield node.args[0]
        elif node.func.id in ("any", "all"):
            other = ast.Name("all" if node.func.id == "any" else "any", ast.Load())
            yield ast.Call(other, node.args, node.keywords)


def _conditions(node: ast.AST) -> Iterator[tuple[ast.AST, str, int]]:
    """The conditions that a node has, as (holder, field, index)."""
    if isinstance(node, (ast.If, ast.While)):
        yield node, "test", -1
    if isinstance(node, ast.comprehension):
        for number in range(len(node.ifs)):
            yield node, "ifs", number


def _changes(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int, ast.expr]]:
    """Every change as (holder, field, index in the field or -1, the new expression)."""
    for holder in ast.walk(tree):
        for condition in _conditions(holder):
            for constant in (True, False):
                yield *condition, ast.Constant(constant)
        if isinstance(holder, ast.Return) and isinstance(holder.value, ast.Call):
            yield holder, "value", -1, ast.Constant(None)
        for name, value in ast.iter_fields(holder):
            if name in ("annotation", "returns", "decorator_list", "bases"):
                continue
            for number, node in enumerate(value) if isinstance(value, list) else [(-1, value)]:
                if isinstance(node, ast.AST):
                    for other in _alternatives(node):
                        yield holder, name, number, other


def _field(holder: ast.AST, name: str, index: int) -> ast.expr:
    value = getattr(holder, name)
    found: ast.expr = value if index < 0 else value[index]
    return found


def _code_of(whole: CodeType, qualified: str) -> CodeType | None:
    for constant in whole.co_consts:
        if isinstance(constant, CodeType):
            found = constant if constant.co_qualname == qualified else _code_of(constant, qualified)
            if found:
                return found
    return None


def _function_of(tree: ast.Module) -> dict[ast.AST, str]:
    """The qualified name of the outermost function that each node is part of."""
    found: dict[ast.AST, str] = {}
    for top in tree.body:
        for node in top.body if isinstance(top, ast.ClassDef) else [top]:
            if isinstance(node, ast.FunctionDef):
                name = f"{top.name}.{node.name}" if isinstance(top, ast.ClassDef) else node.name
                for statement in node.body:
                    found.update(dict.fromkeys(ast.walk(statement), name))
    return found


def mutants_of(module: ModuleType) -> Iterator[Mutant]:
    """Every mutant of a module's functions; those that compile to what is there already are left out."""
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    tree = ast.parse(text)
    functions, original = _function_of(tree), compile(tree, "", "exec")
    met: Counter[tuple[str, str, str]] = Counter()
    for holder, name, index, other in list(_changes(tree)):
        qualified = functions.get(holder)
        if qualified is None:
            continue
        before = _field(holder, name, index)
        new = ast.copy_location(copy.deepcopy(other), before)
        _put(holder, name, index, new)
        code = _code_of(compile(ast.fix_missing_locations(tree), f"mutant of {module.__name__}", "exec"), qualified)
        _put(holder, name, index, before)
        known = _code_of(original, qualified)
        if code and known and (code.co_code, code.co_consts) != (known.co_code, known.co_consts):
            where = f"{module.__name__.rpartition('.')[2]}:{qualified}"
            change = where, _short(before), _short(other)
            met[change] += 1
            yield Mutant(where, before.lineno, *change[1:], met[change], code)


def _put(holder: ast.AST, name: str, index: int, node: ast.expr) -> None:
    if index < 0:
        setattr(holder, name, node)
    else:
        getattr(holder, name)[index] = node


def _become(mutant: Mutant) -> None:
    """Give the function in this process the mutant's code: whoever imported it has it then."""
    module_name, _colon, qualified = mutant.where.partition(":")
    found: Any = next(m for m in MODULES if m.__name__.endswith(f".{module_name}"))
    for part in qualified.split("."):
        found = vars(found)[part]
    function: FunctionType = found.fget if isinstance(found, property) else found
    function.__code__ = mutant.code


def killed_by(mutant: Mutant, histories: int) -> str:
    """Which history notices a mutant, as check and its number; empty where none does. For a process of its own."""
    _become(mutant)

    def never_ends(*_args: object) -> None:
        raise TimeoutError("never ends")

    signal.signal(signal.SIGALRM, never_ends)
    few = min(FEW, histories)
    return _noticed(range(few)) or ("" if _units_pass() else SINGLE) or _noticed(range(few, histories))


def _noticed(numbers: range) -> str:
    for number in numbers:
        for check in CHECKS:
            signal.alarm(PATIENCE)
            try:
                check(FIRST + number)
            except Exception as error:
                why = str(error).partition("\n")[0] or type(error).__name__
                return f"{check.__module__.rpartition('.')[2]} {number}: {why[:90]}"
            finally:
                signal.alarm(0)
    return ""


def _units_pass() -> bool:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        ended = pytest.main(["-qx", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:xdist", *map(str, UNITS)])
    if ended not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"{SINGLE} could not be run: {ended!r}")
    return ended == pytest.ExitCode.OK


def _judge(job: tuple[int, int]) -> tuple[int, str]:
    return job[0], killed_by(_ALL[job[0]], job[1])


_ALL: list[Mutant] = []


def main() -> int:
    """Run them all; returns 0 where each is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="those whose name begins so, as rolling:_join")
    parser.add_argument("--histories", type=int, default=HISTORIES)
    parser.add_argument("--list", action="store_true", help="name them and end")
    given = parser.parse_args()
    _ALL.extend(m for module in MODULES for m in mutants_of(module) if m.where.startswith(given.only))
    if given.list:
        print("\n".join(m.key for m in _ALL))
        return 0
    for number in range(given.histories):
        for check in CHECKS:
            check(FIRST + number)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        if not pool.apply(_units_pass):
            raise SystemExit(f"{SINGLE} fail without any change")
    began = time.monotonic()
    survivors, killed, by_units = 0, 0, 0
    jobs = [(number, given.histories) for number in range(len(_ALL))]
    # One process for each: a mutant must not outlive its judgement.
    with multiprocessing.get_context("fork").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for number, why in pool.imap(_judge, jobs, chunksize=1):
            mutant = _ALL[number]
            killed += bool(why)
            by_units += why == SINGLE
            if not why:
                survivors += 1
                print(f"SURVIVES {mutant.where}:{mutant.line}  {mutant.before}  ->  {mutant.after}", flush=True)
    print(
        f"{len(_ALL)} mutants: {killed} killed, {by_units} of them by {SINGLE} (asked after {FEW} histories of each kind), "
        f"{survivors} surviving; {given.histories} histories of {len(CHECKS)} kinds from seed {FIRST}, {time.monotonic() - began:.0f} s"
    )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
