import contextvars

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servicekit import identity
from servicekit.errors import Invalid, NotFound


def as_caller(kind: str, project: str, name: str) -> str:
    def call() -> str:
        identity.set_caller(identity.Caller(kind, "x", project))
        return identity.authorize(name)

    return contextvars.copy_context().run(call)


@pytest.mark.parametrize("name", ["projects/p", "projects/p/models/m", "projects/p/models/m/operations/o"])
def test_names_of_the_own_project(name: str) -> None:
    assert as_caller("user", "projects/p", name) == "projects/p"


@pytest.mark.parametrize("project", ["projects/q", "projects/pp", "projects/", "", "projects"])
def test_others_find_nothing(project: str) -> None:
    with pytest.raises(NotFound, match="projects/p/models/m does not exist"):
        as_caller("user", project, "projects/p/models/m")


def test_an_operator_sees_all() -> None:
    assert as_caller("operator", "*", "projects/p/models/m") == "projects/p"


def test_of_two_tokens_the_first_is_shown_and_both_are_taken() -> None:
    assert identity.tokens("new, old") == ("new", "old")
    assert identity.tokens("one") == ("one",)
    assert [identity.is_one_of(shown, "new,old") for shown in ("new", "old", "new,old", "", "ne")] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("setting", [",", " , ", "new,", "new"])
def test_an_empty_token_is_let_in_by_no_setting_but_none(setting: str) -> None:
    assert not identity.is_one_of("", setting)
    assert identity.is_one_of("", "")  # on loopback, for tests


@pytest.mark.parametrize("name", ["", "p", "projects", "projects/", "/projects/p", "x" * 300, "projects/p\0"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(Invalid):
        as_caller("operator", "*", name)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_name_leads_into_another_project(project: str, rest: str) -> None:
    try:
        allowed = as_caller("user", "projects/mine", f"projects/{project}/{rest}")
    except (NotFound, Invalid):
        return
    assert allowed == "projects/mine"
    assert project == "mine" or project.startswith("mine/")


def test_who_calls_decides_over_addresses() -> None:
    def seen(kind: str) -> bool:
        identity.set_caller(identity.Caller(kind, "x", "*"))
        return identity.is_service()

    assert [contextvars.copy_context().run(seen, kind) for kind in ("user", "service", "operator")] == [
        False,
        True,
        False,
    ]
