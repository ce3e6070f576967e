"""Handing a job to a cluster: a Ray cluster's job server, Slurm, or Kubernetes with KubeRay."""
