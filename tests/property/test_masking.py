# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the secrets and the text: none is left, no name is lost, and what reads as words stays readable."""

from __future__ import annotations

import base64
import json
import random
import re
import string
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.masking import Mask, without_credentials
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.secret_values import looks_random, secret_parts
from tests.property.seeded_histories import FIRST

TEXT_OF_WORDS = """
shop travel tours api web celery worker beat nginx settings production config orders payments customer accounts django
contrib auth backends model static media uploads health debug info json gunicorn europe berlin internal example prefork
"""
WORDS = TEXT_OF_WORDS.split()
SEPARATORS = ["-", "_", ".", "/", ":", " ", ","]
LETTERS = string.ascii_letters + string.digits
PASSWORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=8, max_size=40).filter(
    lambda text: text == text.strip() and "<" not in text
)
TEXTS = st.text(max_size=40)


def drawn(seed: int, length: int, alphabet: str = LETTERS) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


@given(st.lists(PASSWORDS, min_size=1, max_size=4), st.data())
def test_no_secret_of_eight_characters_is_left_in_any_form(values: list[str], data: st.DataObject) -> None:
    known = {value: f"S{i}" for i, value in enumerate(values)}
    mask = Mask(known)
    value = data.draw(st.sampled_from(values))
    forms = [value, quote(value, safe=""), json.dumps(value)[1:-1], value.replace("$", "$$"), value.replace("'", "''")]
    # Of its last character in base64 what follows the value decides too, unless its bytes come in threes.
    raw = value.encode()
    forms += [base64.b64encode(raw).decode()[: len(raw) * 8 // 6]]
    form = data.draw(st.sampled_from(forms))
    said = data.draw(TEXTS) + form + data.draw(TEXTS)
    told = mask.text(said)
    for label in known.values():
        told = told.replace(f"<{label}>", "\0")
    assert value not in told and form not in told


@given(st.lists(PASSWORDS, min_size=1, max_size=4), TEXTS)
def test_masking_twice_is_masking_once(values: list[str], text: str) -> None:
    mask = Mask({value: f"SECRET_{i}" for i, value in enumerate(values)})
    once = mask.text(text + values[0])
    assert mask.text(once) == once


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6),
    st.sampled_from(SEPARATORS),
    st.sampled_from(WORDS),
    st.integers(0, 99999),
)
def test_words_numbers_paths_hosts_and_modules_are_readable(
    words: list[str], separator: str, name: str, number: int
) -> None:
    for value in (
        separator.join(words),
        f"/{'/'.join(words)}",
        f"{'.'.join(words)}:{number}",
        str(number),
        "".join(map(str.title, words)),
    ):
        assert secret_parts(f"APP_{name.upper()}".replace("AUTH", "X"), value) == set()


@pytest.mark.parametrize("length", [20, 24, 32, 50])
def test_what_a_machine_has_drawn_is_secret_whatever_its_name(length: int) -> None:
    # Of letters without a digit a few in 10,000 read as CamelCase: a rule that caught those would hide real names.
    values = [(drawn(seed, length), WORDS[seed % len(WORDS)].upper()) for seed in range(FIRST, FIRST + 2000)]
    missed = [v for v, name in values if not (looks_random(v) and v in secret_parts(name, v))]
    assert len(missed) <= 14, missed


@given(st.integers(), st.sampled_from(["DB_PWD", "SMTP_PW", "MY_SECRET", "API_KEY"]), st.integers(4, 30))
def test_whatever_a_secret_name_holds_is_secret(seed: int, name: str, length: int) -> None:
    value = drawn(seed, length, string.ascii_lowercase + "$&*")
    assert value in secret_parts(name, value)


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3), st.lists(st.sampled_from(WORDS), min_size=1, max_size=5)
)
def test_no_name_of_the_project_is_lost(words: list[str], passwords: list[str]) -> None:
    name = "-".join(words)
    mask = Mask(dict.fromkeys(passwords, "DB_PASSWORD"), [name])
    said = f"{name} {name}-1 /srv/{name}: 3"
    assert mask.text(said) == said


@given(
    st.sampled_from(["postgres", "redis", "amqp", "mongodb+srv", "https"]),
    st.text(LETTERS, max_size=8),
    st.text(LETTERS + "/@:?#$&%+=.", min_size=1, max_size=20),
    st.sampled_from(["db", "10.0.0.1", "a.example.com"]),
)
def test_no_password_of_an_address_is_left(scheme: str, user: str, password: str, host: str) -> None:
    # https://shop:80/a@b and https://shop:80#a@b are pages, not passwords.
    assume(scheme != "https" or not re.match("[0-9]+[/?#]", password))
    assume(scheme != "https" or (password[0] not in "/?#" and user))
    assert without_credentials(f"at {scheme}://{user}:{password}@{host}/x: no") == f"at {scheme}://…@{host}/x: no"


@given(st.text(max_size=200))
def test_any_text_can_be_masked(text: str) -> None:
    assert isinstance(Mask({"abcdefgh": "A"}).text(text), str)
    assert isinstance(without_credentials(f"a://{text}"), str)
