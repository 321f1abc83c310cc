"""What Argo CD is given: waves, projects, applications, and who must confirm."""
