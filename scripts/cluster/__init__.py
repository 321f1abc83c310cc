"""Run a real control plane and a real Argo CD as processes of this machine."""
