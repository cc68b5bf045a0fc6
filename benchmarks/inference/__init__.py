"""`make bench-inference`: the engine and the platform beside what else there is, on one machine in one run.

Every contender is a process of its own with the same model, the same texts and one thread; they take turns (A B B A ...), and what is
reported are ratios of neighbouring turns. Answers are compared before anything is timed.
"""
