"""Starts, watches and stops a platform on one machine.

plan       which processes, with which variables: pure
process    one child in its own process group: start, wait, stop
supervise  the order of starting, restarts, the state file
cli        `python -m services [...]` and `python -m services stop`
"""
