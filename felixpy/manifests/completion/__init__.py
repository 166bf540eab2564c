"""What the input leaves out: pods of workloads, nodes and addresses of pods, namespaces that must exist."""
