"""Fuzzing what strangers write: Otus' events, Skyward's answers, districts' files.

``targets`` says what must hold for any bytes; the ordinary tests ask it of mutated seeds, and
``make fuzz`` of what a coverage-guided fuzzer makes of them. What it finds becomes a seed in
``seeds/TARGET``, and so a test for ever.
"""
