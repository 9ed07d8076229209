"""Store -> Skyward, one district at a time: read what decides, decide, send, settle, report.

``night`` holds what a run decides with and walks what is to be decided; ``line_items`` sees to it
that a line item stands before its results; ``sending`` carries decisions to Skyward and settles
what became of them; ``adopting`` learns what a run before left in doubt; ``run`` is one run from
its lease to its report; ``schedule`` says which districts are due and runs them side by side.
"""
