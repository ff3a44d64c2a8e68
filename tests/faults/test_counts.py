"""The page of promises shows the counts of the last full run, and no others."""

import json

from faults.full import BEGIN, DOCS, END, HERE, PARTS, table


def test_the_page_has_the_counts_of_the_last_full_run() -> None:
    found = json.loads((DOCS / "faults.json").read_text())
    page = (DOCS / "guarantees.md").read_text()
    assert page.partition(BEGIN)[2].partition(END)[0].strip() == table(found)


def test_the_full_form_leaves_no_file_of_tests_out() -> None:
    named = {argument for arguments in PARTS.values() for argument in arguments if argument.endswith(".py")}
    assert named == {path.name for path in HERE.glob("test_*.py")} - {"test_counts.py"}
