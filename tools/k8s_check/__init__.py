"""What can be said of the manifests without a cluster.

objects     documents, findings, the pods of any kind
pods        rules for every pod: Pod Security, images, resources, variables, probes
references  what names something: accounts, Secrets, ConfigMaps, selectors, ports
variables   what a process is told, against the settings class that it reads
ray         rules for KubeRay's kinds
quota       a queue's quotas, against what trainings ask for
network     who may talk to whom, read back out of the NetworkPolicies
rendering   overlays and components, by kubectl
schemas     Kubernetes' own schemas and KubeRay's (in an environment of its own)
faults      planted faults: what they are, and who finds them
"""
