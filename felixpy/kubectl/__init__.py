"""A running cluster as manifests: what ``kubectl get --raw`` answers, and what ``kubectl exec`` shows of its nodes.

client      runs kubectl, with read-only verbs only; its answers as values, its failures as exceptions
answers     what the API server sends as values, and in words what is none
proxy       one kubectl that stays, for lists of many pages
resources   which resources felixpy asks for, and what an answer lacks without them
trim        which fields of an object felixpy keeps; the rest is never written down
listing     all resources of a cluster, in pages, side by side
watch       what changes in a cluster, as it happens
nodes       the rules and sets in the kernels of nodes, read through their calico-node pods or ssh
"""

from __future__ import annotations

from felixpy.kubectl.client import Kubectl
from felixpy.kubectl.listing import Listing, list_cluster

__all__ = ["Kubectl", "Listing", "list_cluster"]
