"""A real control plane and a real Argo CD, as processes of this machine, for as long as wanted."""
