"""What can go wrong, as a tree: each class says who must stop.

A class stands here only because a caller treats it differently. An item that Skyward
refuses is no error at all but an ``Outcome`` (see ``gradebook``); Postgres' and Kafka's own
exceptions are not wrapped except where a person reads them, at the top.

Every message says what happened, to which thing, and what to do, in one sentence, and
holds no name, score, raw student id or secret.
"""


class PassbackError(Exception):
    """The root: one clear sentence for the person who reads it."""


class EventUnreadable(PassbackError):
    """One Kafka record stops (goes to quarantine); intake goes on.

    ``reason`` is one of the closed set in ``events.QuarantineReason``.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class DistrictStopped(PassbackError):
    """One district's run stops and keeps its rows; all other districts go on.

    ``reason`` is a ``gradebook.Reason`` of kind defer.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class LeaseLost(PassbackError):
    """This replica may no longer flush the district: stop at once, settle nothing more."""


class UsageError(PassbackError):
    """Wrong usage or invalid input: exit status 2."""


class ServiceUnavailable(PassbackError):
    """Postgres or Kafka does not answer, or is not as we need it: exit status 3."""
