"""What an error is about, where a task group wrapped it."""

from tidegate.errors import TidegateError


def leaf(error: BaseException) -> BaseException:
    """Return the first of our own errors inside, else the first of all."""
    leaves: list[BaseException] = []

    def collect(each: BaseException) -> None:
        if isinstance(each, BaseExceptionGroup):
            for inner in each.exceptions:
                collect(inner)
        else:
            leaves.append(each)

    collect(error)
    return next((each for each in leaves if isinstance(each, TidegateError)), leaves[0])
