"""Starts, watches and stops a platform on one machine.

plan       which processes, with which variables: pure
kin        all processes of one platform, known by a mark that they inherit
lock       one platform per data folder
process    one child in its own process group: start, wait, stop
supervise  the order of starting, restarts, the state file
cli        `python -m services [...]` and `python -m services stop`
"""
