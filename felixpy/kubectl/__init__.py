"""Reading a running cluster: objects with ``kubectl get --raw``, the rules of its nodes with ``kubectl exec``.

client      runs kubectl, with read-only verbs; its failures as exceptions
answers     parsing responses of the API server, and describing unexpected ones
proxy       a long-running kubectl, for lists of many pages
resources   the resources that felixpy lists, and what is unknown without each
trim        the fields of an object that felixpy keeps; the rest is never stored
listing     all resources of a cluster, in pages, in parallel
watch       changes in a cluster, as they happen
nodes       the rules and sets in the kernels of nodes, read through their calico-node pods or ssh
"""

from __future__ import annotations

from felixpy.kubectl.client import Kubectl
from felixpy.kubectl.listing import Listing, list_cluster

__all__ = ["Kubectl", "Listing", "list_cluster"]
