"""Why the stand-in says no."""


class Refusal(Exception):
    """A request that the stand-in refuses, as the answer will tell it.

    minor is OneRoster's code minor (`invaliddata`, `forbidden`, ...), description names the thing
    that is wrong. headers go with the answer.
    """

    def __init__(
        self, status: int, minor: str, description: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(description)
        self.status = status
        self.minor = minor
        self.description = description
        self.headers = headers or {}


def invalid(description: str, status: int = 400) -> Refusal:
    """A body or parameter that cannot be taken as it is."""
    return Refusal(status, "invaliddata", description)


def unknown(description: str, status: int = 404) -> Refusal:
    """Something that is named and does not exist."""
    return Refusal(status, "unknownobject", description)


def forbidden(description: str) -> Refusal:
    """The caller may not do this."""
    return Refusal(403, "forbidden", description)
