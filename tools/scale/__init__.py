"""What 100,000 studies a day on 1,000 GPUs ask of each part of the platform (`make scale` writes docs/scale.md).

load       a study's demands, and the installation's parts
simulation the studies of some hours as events (simpy, in an environment of its own)
database   what transactions take of PostgreSQL, measured
page       docs/scale.md
"""
