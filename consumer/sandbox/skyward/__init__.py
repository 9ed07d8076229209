"""A stand-in for Skyward: a real HTTP server that enforces Skyward's rules, to be tested against.

A request arrives at `/{district}/...`. It gets a line in the journal; it waits, is turned away
(throttle) or is harmed (a fault of the plan); its path is understood (operations), its token looked
up (tokens), its body read exactly (bodies) and judged (enforcement); it is stored (gradebook) or
refused, and answered in the shapes that real servers use (answers). Behind `/_control/` a test sets
what the district does (behaviour), plays the teacher (acts) and looks at what is held (control).

`StandIn` starts it as a process and drives it.
"""

from consumer.sandbox.skyward.standin import StandIn, StandInDistrict, StandInError

__all__ = ["StandIn", "StandInDistrict", "StandInError"]
