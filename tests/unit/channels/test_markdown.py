"""What is code stays as it is; all else is changed, whatever pretends to be code."""

from __future__ import annotations

import pytest

from inturn.channels.markdown import MAX_LINES, outside_code


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("@a\n```\n@b\n```\n@c", "#a\n```\n@b\n```\n#c"),
        ("- ```\n  @code\n  ```\n@after", "- ```\n  @code\n  ```\n#after"),
        ("- ```\n  @code\n@after\n```\n@b", "- ```\n  @code\n#after\n```\n@b"),
        ("text\n    @not code", "text\n    #not code"),
        ("text\n\n    @indented", "text\n\n    #indented"),
        ("`@inline`", "`#inline`"),
        ("````\n```\n@b\n````\n@c", "````\n```\n@b\n````\n#c"),
        ("@a\r\n~~~\r@b\n~~~", "#a\n~~~\n@b\n~~~"),
        ("```\n@open", "```\n@open"),
        ("", ""),
    ],
)
def test_only_blocks_of_code_are_left_alone(text: str, changed: str) -> None:
    assert outside_code(text, lambda part: part.replace("@", "#")) == changed


def test_of_a_text_of_very_many_lines_nothing_counts_as_code() -> None:
    assert outside_code("```\n@\n" * MAX_LINES, lambda part: part.replace("@", "#")) == "```\n#\n" * MAX_LINES
