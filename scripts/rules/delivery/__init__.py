"""Rules about Argo CD: projects, Applications, sync waves, and whose object is whose."""
