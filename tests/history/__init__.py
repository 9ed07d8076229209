"""The judge of every fault test: was everything that Skyward received, and all we wrote, legal?

``published`` reads what was published, ``evidence`` gathers the rest, ``clauses`` holds the law:
a function a clause. ``judged`` fails a test with every finding, a sentence each.
"""
