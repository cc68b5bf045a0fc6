"""`make hosts`: the platform on several hosts of this machine, a study across them, and links that are cut.

A host is a set of namespaces of its own: network, processes, mounts and name. All of them hang on one bridge, and lie in
an outer set of namespaces: the machine's own network is never touched, and all ends when the program ends.
"""
