"""W3C Trace Context: which `traceparent` is valid, and what `traceresponse` says."""

import re

import pytest

from serving.api.trace_context import SpanContext, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = {
    f"00-{TRACE}-{SPAN}-01": 1,
    f"00-{TRACE}-{SPAN}-00": 0,
    f"00-{TRACE}-{SPAN}-03": 3,
    # Reserved flags are masked where they are used.
    f"00-{TRACE}-{SPAN}-ff": 255,
    f"00-{TRACE}-{SPAN}-09": 9,
    f"01-{TRACE}-{SPAN}-01": 1,
    f"cc-{TRACE}-{SPAN}-01": 1,
    f"fe-{TRACE}-{SPAN}-01-what-comes-later": 1,
    f"cc-{TRACE}-{SPAN}-01-": 1,
}
INVALID = [
    # More than version 00 has, and what no version may have.
    *(f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}-01-", f"cc-{TRACE}-{SPAN}-01.more"),
    *(f"cc-{TRACE}-{SPAN}-011", f"cc-{TRACE}-{SPAN}-01-a b", f"cc-{TRACE}-{SPAN}-01-\x7f"),
    *(f"cc-{TRACE}-{SPAN}-01-\u00e4", f"ff-{TRACE}-{SPAN}-01"),
    # Ids of zeros, and digits that are none.
    *(f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01"),
    *(f"00-{TRACE}-{SPAN.upper()}-01", f"0A-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-0A"),
    *(f"00-{TRACE}-{SPAN}-0g", f"0\u0660-{TRACE}-{SPAN}-01", f"00-{TRACE[:-1]}\u0661-{SPAN}-01"),
    # Wrong lengths and separators.
    *(f"00-{TRACE[:-1]}-{SPAN}-01", f"00-{TRACE}0-{SPAN}-01", f"00-{TRACE}-{SPAN}0-01"),
    *(f"00-{TRACE}-{SPAN}-1", f"0-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}", f"00-{TRACE}", "00", "", "-"),
    *(f"00_{TRACE}_{SPAN}_01", f"00{TRACE}{SPAN}01", f"00-{TRACE}-{SPAN}-01\n", f" 00-{TRACE}-{SPAN}-01"),
    # Two headers, as WSGI joins them.
    *(f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01"),
    *(f"cc-{TRACE}-{SPAN}-01,cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-x,cc-{TRACE}-{SPAN}-01-x"),
    # Other fields, and nonsense.
    *(f'00-{TRACE}-{SPAN}-01","x":"y', f"00-{TRACE}-{SPAN}-01;x", "x" * 5000, "0" * 5000, "-" * 5000),
]


@pytest.mark.parametrize("text", VALID)
def test_valid(text: str) -> None:
    assert parse_traceparent(text) == SpanContext(TRACE, SPAN, VALID[text])


@pytest.mark.parametrize("text", INVALID)
def test_invalid(text: str) -> None:
    assert parse_traceparent(text) is None


def test_child_is_of_the_same_trace_and_not_recorded() -> None:
    parent = SpanContext(TRACE, SPAN, 0b11)
    children = [parent.child() for _ in range(50)]
    assert {(child.trace_id, child.flags) for child in children} == {(TRACE, 0b10)}
    assert all(re.fullmatch("[0-9a-f]{16}", child.span_id) for child in children)
    assert len({SPAN, *(child.span_id for child in children)}) == 51


def test_response_has_no_reserved_flags() -> None:
    assert SpanContext(TRACE, SPAN, 0xFF).traceresponse == f"00-{TRACE}-{SPAN}-03"
    assert SpanContext(TRACE, SPAN, 0x0C).traceresponse == f"00-{TRACE}-{SPAN}-00"
