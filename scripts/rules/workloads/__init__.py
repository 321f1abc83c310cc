"""Rules about what makes pods: places, amounts, lifecycle, volumes, variables, jobs."""
