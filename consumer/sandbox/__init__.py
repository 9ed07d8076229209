"""A whole school district on one machine: a real Postgres, a real Kafka, a stand-in Skyward and a
school day of events. Nothing imports it but ``cli/demo`` and the tests.
"""
