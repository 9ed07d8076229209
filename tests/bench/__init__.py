"""How fast we are, as ratios to ceilings and peers that are measured in the same run.

A part is a module with ``async def measure(bench: Bench) -> Figures``; ``__main__`` lists them.
Absolute figures depend on the machine, so only ratios are compared.
"""
