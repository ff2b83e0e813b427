"""Which of ClickHouse's codes say that a row is wrong. Pure.

Only these split a batch (delivery.md O5). The list is short on purpose: a code that is missing holds the
storer back with an alarm, and a person adds it; a code too many would turn an outage into dead letters.
Not in it: what a broken connection can cause (32, 33), what the schema causes (16, 44, 60), and 241 (memory).
"""

from typing import Final

DATA_ERRORS: Final[dict[int, str]] = {
    6: "CANNOT_PARSE_TEXT",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    395: "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
    467: "CANNOT_PARSE_BOOL",
    469: "VIOLATED_CONSTRAINT",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}


def is_data_error(code: int) -> bool:
    """Whether an error with this code is about a row, so that other rows may well be taken."""
    return code in DATA_ERRORS
