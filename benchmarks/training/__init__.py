"""`make bench-training`: the trainer's step beside TRL's, and inside Ray and DeepSpeed beside itself without them.

Every contender is a process of its own with the same model of random weights, the same texts and one thread; they take turns (A B B A
...), and what is reported are ratios of neighbouring turns. That both learn the same is checked before anything is timed.
"""
