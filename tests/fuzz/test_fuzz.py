"""Every bad input of the tables beside this file ends in the sentence that the table says (see `harness.py`)."""

from collections import Counter

import pytest

from fuzz.harness import Case, Workshop, all_cases, problems

CASES = all_cases()


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Workshop:
    """The folder of all cases, with what they find there made once."""
    return Workshop(tmp_path_factory.mktemp("fuzz"), lambda: request.getfixturevalue("migrated_database"))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(case: Case, workshop: Workshop) -> None:
    found = problems(case, workshop.run(case), workshop.folder)
    assert not found, "\n".join(found)


def test_cases_have_names_of_their_own() -> None:
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []
